"""Ranges of settings, checked before any data are read."""

from __future__ import annotations

import pytest
from omegaconf import MISSING

from candelabra.config.schema import SCHEMAS
from candelabra.config.validation import GROUPS
from helpers.command_line import wrong

CASES = {
    "batch_size=99999999999999999999": "batch_size must be at most",
    "trainer.log_every_n_steps=[]": "trainer.log_every_n_steps must be a whole number",
    "trainer.num_nodes=0": "trainer.num_nodes must be a whole number of at least 1, got 0",
    "callbacks.gradients.every_n_steps=0": "callbacks.gradients.every_n_steps must be a whole",
    "pooling=null": "pooling takes the name of an option, got 'null'",
    "experiment=null": "experiment takes the name of an option, got 'null'",
}


@pytest.mark.parametrize("override", CASES)
def test_value_outside_its_range_is_one_message(override: str) -> None:
    message = wrong(override)
    assert CASES[override] in message


@pytest.mark.parametrize("command", SCHEMAS)
def test_schema_holds_types_alone(command: str) -> None:
    names = SCHEMAS[command].__dataclass_fields__
    groups = {name for name, field in names.items() if field.default is None}
    assert groups <= {*GROUPS}, "None says that no option of the group is chosen"
    assert {name for name, field in names.items() if field.default != MISSING} == groups
