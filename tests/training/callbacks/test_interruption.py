"""Ctrl-C and SIGTERM: where a run ends, what it says, and that it goes on as if unbroken."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from candelabra.training.callbacks import interruption
from candelabra.training.callbacks.checkpoints import (
    RESUME_FILE,
    AtomicCheckpointIO,
    ResumeCheckpoint,
)
from candelabra.training.callbacks.interruption import StopOnSignal
from candelabra.training.module import MultiTaskModule
from helpers.toys import Splits, difference, fit, tiny, toy_model, toy_module

HALF_STEPS = {"val_check_interval": 3, "accumulate_grad_batches": 2}
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


class Send(pl.Callback):
    """Sends a signal to this process when a hook is called for the n-th time."""

    def __init__(self, hook: str, number: int, signals: list[signal.Signals]) -> None:
        self.left = number
        self.signals = signals
        setattr(self, hook, self._send)

    def _send(self, *_: Any, **__: Any) -> None:
        if self.left == 0:
            for number in self.signals:
                signal.raise_signal(number)
        self.left -= 1


def train(toys: Splits, folder: Path, *callbacks: pl.Callback, **kwargs: Any) -> MultiTaskModule:
    resume = [ResumeCheckpoint(dirpath=folder)] if kwargs.pop("keeps", True) else []
    return fit(
        toys,
        toy_module(toy_model(tiny(dropout=0.3))),
        data={"steps_per_epoch": 3},
        max_epochs=2,
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
        callbacks=[*callbacks, *resume, StopOnSignal("candelabra train resume=X")],
        **kwargs,
    )


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
@pytest.mark.parametrize(
    ("hook", "number", "settings", "steps"),
    [
        ("on_train_batch_start", 1, {}, (2, 2)),
        # In the midst of a step.
        ("on_train_batch_start", 2, {"accumulate_grad_batches": 2}, (2, 2)),
        ("on_before_optimizer_step", 2, {}, (3, 3)),  # a validation follows
        ("on_validation_batch_end", 2, {}, (3, 3)),
        ("on_train_batch_end", 2, {"limit_val_batches": 0}, (4, 4)),  # an epoch ends
        # It ends without a validation.
        ("on_train_batch_start", 2, {"val_check_interval": 2}, (4, 4)),
        # The third validation lies in the midst of a step.
        ("on_validation_batch_end", 11, HALF_STEPS, (4, 3)),
    ],
)
def test_a_run_ends_with_its_step_and_goes_on(
    toys: Splits,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    hook: str,
    number: int,
    settings: dict[str, Any],
    steps: tuple[int, int],
) -> None:
    whole = train(toys, tmp_path / "whole", **settings)
    sent = list(STATUS)[number % 3]
    before = signal.getsignal(sent)
    with pytest.raises(SystemExit) as caught:
        train(toys, tmp_path, Send(hook, number, [sent]), **settings)
    assert caught.value.code == STATUS[sent]
    assert signal.getsignal(sent) is before
    _, noted, ended, go_on = capsys.readouterr().err.splitlines()
    assert noted == f"candelabra: {sent.name}: finishing the step"
    file = tmp_path / RESUME_FILE
    assert ended.startswith(f"candelabra: {sent.name}: ended after step {steps[0]}; ")
    assert ended.endswith(f"step {steps[1]} is saved in {file}")
    assert go_on == "  go on with: candelabra train resume=X"
    resumed = train(toys, tmp_path, ckpt_path=str(file), **settings)
    assert difference(whole, resumed) == 0


@pytest.mark.parametrize("settings", [{}, {"limit_val_batches": 0}])
def test_a_signal_at_the_very_end_is_not_lost(
    toys: Splits, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]
) -> None:
    with pytest.raises(SystemExit) as caught:
        train(toys, tmp_path, Send("on_train_epoch_end", 1, [signal.SIGTERM]), **settings)
    assert caught.value.code == 143
    said = "nothing is saved" if settings else f"step 6 is saved in {tmp_path / RESUME_FILE}"
    assert f"ended after step 6; {said}" in capsys.readouterr().err


def test_a_run_without_checkpoints_says_so(
    toys: Splits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train(toys, tmp_path, Send("on_train_batch_start", 1, [signal.SIGTERM]), keeps=False)
    *_, last = capsys.readouterr().err.splitlines()
    assert last == "candelabra: SIGTERM: ended after step 2; nothing is saved"


def test_only_a_second_signal_after_a_while_ends_at_once(
    toys: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher may pass one Ctrl-C on twice."""
    twice = Send("on_train_batch_start", 1, [signal.SIGINT, signal.SIGTERM])
    with pytest.raises(SystemExit) as caught:
        train(toys, tmp_path, twice)
    assert caught.value.code == 130
    assert (tmp_path / RESUME_FILE).is_file()
    (tmp_path / RESUME_FILE).unlink()
    monkeypatch.setattr(interruption, "AGAIN_AFTER_SECONDS", -1.0)
    twice = Send("on_train_batch_start", 1, [signal.SIGINT, signal.SIGTERM])
    with pytest.raises(SystemExit) as caught:
        train(toys, tmp_path, twice)
    assert caught.value.code == 143
    assert not (tmp_path / RESUME_FILE).exists()


def test_an_error_gives_the_signals_back(toys: Splits, tmp_path: Path) -> None:
    class Fail(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            raise ArithmeticError

    before = [signal.getsignal(number) for number in STATUS]
    with pytest.raises(ArithmeticError):
        train(toys, tmp_path, Fail())
    assert [signal.getsignal(number) for number in STATUS] == before
