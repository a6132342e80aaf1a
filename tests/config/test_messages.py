"""Errors of Hydra and OmegaConf become messages about what was typed."""

from __future__ import annotations

import pytest

from candelabra.config.messages import explained
from candelabra.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+init_heads.x=1", "no key 'init_heads.x': init_heads is null, which has no 'x'"),
        ("seed=1", "^an override names a key below a list that is null"),
    ],
)
def test_a_key_below_a_list_that_is_null(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message), explained([override]):
        raise AssertionError("Unexpected type for root: NoneType")
