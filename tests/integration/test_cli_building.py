"""Settings that only the construction can refuse: one message each, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.command_line import SMALL, wrong

BUILT = {
    "layers": (
        ["freeze=lower_layers", "freeze.num_layers=99"],
        ["freeze.num_layers must lie between 0 and 2", "got 99"],
    ),
    "layers of a part": (
        [
            *("freeze=lower_layers_and_head", "freeze.parts.head.head=movie"),
            "freeze.parts.lower_layers.num_layers=99",
        ],
        ["freeze.parts.lower_layers.num_layers must lie between 0 and 2", "got 99"],
    ),
    "validations": (
        ["trainer.limit_train_batches=3", "trainer.val_check_interval=4"],
        ["trainer.val_check_interval must be at most 3, the micro-batches of an epoch", "got 4"],
    ),
    "head": (["head@tasks.sentiment.head=tagging"], ["needs the label 'O'"]),
    "frozen adapters": (["adapter=lora", "freeze=encoder"], ["the freeze option freezes all"]),
    "argument of the trainer": (["+trainer.foo=1"], ["Trainer", "'foo'", "(trainer)"]),
    "positions": (["encoder.max_length=9999"], ["encoder.max_length must be at most 512"]),
    "float16 on a CPU": (
        ["trainer=cpu", "trainer.precision=16-mixed"],
        ["trainer.precision=16-mixed", "float16 on a CPU", "bf16-mixed or 32-true"],
    ),
}


@pytest.mark.parametrize("case", BUILT)
def test_what_cannot_be_built_is_one_message(case: str, tmp_path: Path) -> None:
    overrides, parts = BUILT[case]
    message = wrong(*SMALL, *overrides, f"hydra.run.dir={tmp_path / 'run'}")
    for part in parts:
        assert part in message
    assert '"status": "failed"' in (tmp_path / "run" / "run.json").read_text()
    assert not (tmp_path / "run" / "checkpoints").exists()
