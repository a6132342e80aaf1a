"""How W&B runs end: by how the block ended that trained."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest
import pytorch_lightning as pl

from candelabra.errors import PrunedError, TrainingError
from candelabra.training.loggers.tracking import tracked
from candelabra.training.loggers.wandb_tracker import WandbTracker


class Ends(WandbTracker):
    """A tracker that keeps the exit codes it was finished with."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    def log_config(self, *_: object) -> None: ...

    def define_axes(self, *_: object) -> None: ...

    def finish(self, exit_code: int) -> None:
        self.codes.append(exit_code)


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (PrunedError("low"), 0), (TrainingError("nan"), 1), (KeyboardInterrupt(), 1)],
)
def test_a_pruned_run_did_not_fail(error: BaseException | None, code: int) -> None:
    tracker = Ends()
    trainer = cast("pl.Trainer", SimpleNamespace(loggers=[tracker]))
    with suppress(type(error) if error else ()), tracked(trainer, {}, ["movie"]):
        if error is not None:
            raise error
    assert tracker.codes == [code]
