"""The files of a checkpoint: whole, harmless, and of this run."""

from __future__ import annotations

import io
import os
import pickle
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from candelabra.errors import TrainingError
from candelabra.model.backbones import Tiny
from candelabra.training.callbacks import checkpoints
from candelabra.training.callbacks.checkpoints import (
    RESUME_FILE,
    AtomicCheckpointIO,
    ResumeCheckpoint,
    read_checkpoint,
)
from candelabra.training.module import MultiTaskModule
from helpers.full_disks import full_disk
from helpers.toys import Splits, difference, fit, sgd, toy_model, toy_module

WHOLE = {"steps_done": 0, "weights": torch.ones(200, 10)}


class Canary:
    """What a pickle may hold: unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.folder),)


def test_round_trip(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(WHOLE, tmp_path / "new" / "x.ckpt")
    found = AtomicCheckpointIO().load_checkpoint(tmp_path / "new" / "x.ckpt", weights_only=False)
    assert found.keys() == WHOLE.keys()
    assert found["weights"].equal(WHOLE["weights"])
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["x.ckpt"]


@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_names_the_file_and_leaves_the_last_one(tmp_path: Path, before: bool) -> None:
    file, checkpoints = tmp_path / "x.ckpt", AtomicCheckpointIO()
    if before:
        checkpoints.save_checkpoint({**WHOLE, "steps_done": 1}, file)
    kept = "the previous one is kept" if before else "there is no earlier one"
    said = rf"could not be written \(\[Errno 27\] File too large.*\); {kept}"
    with full_disk(2000), pytest.raises(TrainingError, match=said) as caught:
        checkpoints.save_checkpoint({**WHOLE, "steps_done": 2}, file)
    assert str(file) in str(caught.value)
    assert list(tmp_path.iterdir()) == ([file] if before else [])
    assert not before or checkpoints.load_checkpoint(file)["steps_done"] == 1


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # before torch refuses it
@pytest.mark.parametrize("wrap", [lambda canary: canary, lambda canary: {**WHOLE, "x": canary}])
@pytest.mark.parametrize("by", [torch.save, pickle.dump])
def test_nothing_in_a_checkpoint_is_executed(
    tmp_path: Path, wrap: Callable[[Canary], object], by: Callable[..., None]
) -> None:
    canary, file = tmp_path / "canary", tmp_path / "x.ckpt"
    with file.open("wb") as stream:
        by(wrap(Canary(canary)), stream)
    with pytest.raises(TrainingError, match="cannot be read") as caught:
        AtomicCheckpointIO().load_checkpoint(file, weights_only=False)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # before torch refuses it
def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    stream, random, file = io.BytesIO(), Random(0), tmp_path / "x.ckpt"
    torch.save(WHOLE, stream)
    whole = stream.getvalue()
    cut = [whole[:end] for end in range(0, len(whole), 200)]
    for damaged in [*cut, b"", b"no zip", random.randbytes(500)]:
        file.write_bytes(damaged)
        with pytest.raises(TrainingError, match="cannot be read") as caught:
            AtomicCheckpointIO().load_checkpoint(file)
        assert str(file) in str(caught.value)
    for _ in range(300):
        spoilt = bytearray(whole)
        for place in random.sample(range(900), 4):
            spoilt[place] = random.randrange(256)
        file.write_bytes(spoilt)
        try:
            read_checkpoint(file)
        except TrainingError:
            continue


def assert_flips_are_noticed(file: Path, cases: int) -> None:
    stream, random = io.BytesIO(), Random(cases)
    torch.save(WHOLE, stream)
    whole, refused = stream.getvalue(), 0
    for _ in range(cases):
        spoilt = bytearray(whole)
        spoilt[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        file.write_bytes(spoilt)
        try:
            found = read_checkpoint(file)
        except TrainingError:
            refused += 1
            continue
        # What is between the parts has no meaning, such as the padding.
        assert found["steps_done"] == WHOLE["steps_done"]
        assert found["weights"].equal(WHOLE["weights"])
    assert refused > cases / 2


def test_a_flipped_bit_is_noticed_or_means_nothing(tmp_path: Path) -> None:
    assert_flips_are_noticed(tmp_path / "x.ckpt", 300)


@pytest.mark.slow
def test_many_flipped_bits_are_noticed_or_mean_nothing(tmp_path: Path) -> None:
    assert_flips_are_noticed(tmp_path / "x.ckpt", 5000)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.ckpt")
    with pytest.raises(TrainingError, match="it is not a file"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_another_file_is_no_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "x.ckpt"
    torch.save([1], file)
    with pytest.raises(TrainingError, match="it must contain a dict"):
        AtomicCheckpointIO().load_checkpoint(file)
    for missing in (tmp_path / "no.ckpt", "https://127.0.0.1:9/x.ckpt"):
        with pytest.raises(TrainingError, match="No such file"):
            AtomicCheckpointIO().load_checkpoint(missing)


def test_the_interval_is_one_step_or_more(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every_n_train_steps must be 1 or more, got 0"):
        ResumeCheckpoint(dirpath=tmp_path, every_n_train_steps=0)
    with pytest.raises(ValueError, match="minutes must be more than 0, got 0"):
        ResumeCheckpoint(dirpath=tmp_path, minutes=0)


IN_FILES = {"enable_checkpointing": True, "plugins": [AtomicCheckpointIO()]}


class StoppedError(Exception):
    """Ends a run; the folder stays as a kill would leave it."""


class Steps(ResumeCheckpoint):
    """Notes the steps of its checkpoints."""

    def __init__(self, folder: Path, **kwargs: Any) -> None:
        super().__init__(dirpath=folder, **kwargs)
        self.steps: list[int] = []

    def save(self, trainer: Any) -> None:
        super().save(trainer)
        self.steps.append(trainer.global_step)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_slow_steps_are_saved_by_the_clock(
    toys: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    """Looks at the clock every 10 steps, of a minute each; step 40 ends an epoch of 8."""
    module = toy_module(optimizer=sgd)
    clock = SimpleNamespace(monotonic=lambda: 60.0 * module.steps_done)
    monkeypatch.setattr(checkpoints, "time", clock)
    callback = Steps(tmp_path, minutes=11.5)
    settings = {"accumulate_grad_batches": accumulate, "limit_val_batches": 0, "max_epochs": 6}
    fit(toys, module, callbacks=[callback], data={"steps_per_epoch": 8}, **settings, **IN_FILES)
    assert callback.steps == [20, 41]


class StopAfter(ResumeCheckpoint):
    """Ends the run after the first checkpoint of a step."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(dirpath=folder, every_n_train_steps=1)
        self.step = step

    def save(self, trainer: Any) -> None:
        super().save(trainer)
        if trainer.global_step == self.step:
            raise StoppedError


def stopped(toys: Splits, folder: Path, step: int, **kwargs: Any) -> Path:
    """The checkpoint of a run that ended after `step`."""
    callbacks = [*kwargs.pop("callbacks", []), StopAfter(folder, step)]
    with pytest.raises(StoppedError):
        fit(toys, toy_module(optimizer=sgd), callbacks=callbacks, **IN_FILES, **kwargs)
    return folder / RESUME_FILE


def resumed(toys: Splits, file: Path, module: MultiTaskModule, **kwargs: Any) -> MultiTaskModule:
    """Goes on to the run's end."""
    callbacks = [*kwargs.pop("callbacks", []), ResumeCheckpoint(dirpath=file.parent)]
    return fit(toys, module, ckpt_path=str(file), callbacks=callbacks, **IN_FILES, **kwargs)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
@pytest.mark.parametrize(("step", "before", "after"), [(2, 1, 2), (3, 1, 2), (3, 4, 2), (4, 2, 3)])
def test_more_or_fewer_micro_batches_go_on_with_the_same_steps(
    toys: Splits, tmp_path: Path, step: int, before: int, after: int
) -> None:
    """From the middle of an epoch, its end, and the one after."""
    settings = {"data": {"steps_per_epoch": 3}, "max_epochs": 2}
    whole = fit(toys, toy_module(optimizer=sgd), **settings)
    file = stopped(toys, tmp_path, step, accumulate_grad_batches=before, **settings)
    module = resumed(
        toys, file, toy_module(optimizer=sgd), accumulate_grad_batches=after, **settings
    )
    assert module.steps_done == whole.steps_done == 6
    assert module.examples_seen == whole.examples_seen
    assert difference(whole, module) < 1e-6


@pytest.mark.parametrize(
    "broken", [{}, {"accumulate_grad_batches": 0}, {"accumulate_grad_batches": 1, "loops": {}}]
)
def test_a_checkpoint_without_progress_is_refused(broken: dict[str, Any], tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(ckpt_path="x.ckpt", accumulate_grad_batches=1)
    with pytest.raises(TrainingError, match=r"the checkpoint x\.ckpt"):
        ResumeCheckpoint(dirpath=tmp_path).on_load_checkpoint(trainer, toy_module(), broken)


def test_a_checkpoint_of_another_model_is_refused(toys: Splits, tmp_path: Path) -> None:
    file = stopped(toys, tmp_path, 2)
    wider = toy_module(toy_model(Tiny(max_length=32, width=32).load()), optimizer=sgd)
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6.6"}, tmp_path / "x.ckpt")
    with pytest.raises(TrainingError, match=r"x.ckpt lacks \['loops', 'callbacks', .*'losses'"):
        resumed(toys, tmp_path / "x.ckpt", toy_module())
    with pytest.raises(
        TrainingError, match=r"of another model: .* \[.*16.*\] in the checkpoint, and \[.*32"
    ):
        resumed(toys, file, wider)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")  # that is a resume
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
def test_no_file_out_of_the_folder_is_removed(toys: Splits, tmp_path: Path) -> None:
    """Lightning removes what the checkpoint names once there is a better one."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    settings = {"data": {"steps_per_epoch": 3}, "max_epochs": 3}
    best = {"monitor": "val/score", "mode": "max", "filename": "{step}"}
    run = tmp_path / "run"
    file = stopped(toys, run, 4, callbacks=[ModelCheckpoint(run, **best)], **settings)
    found = torch.load(file, weights_only=True)
    state = found["callbacks"][ModelCheckpoint(run, **best).state_key]
    path = str(run / ".." / "precious")
    state |= {"best_model_path": path, "kth_best_model_path": path}
    state |= {"best_k_models": {path: torch.tensor(-1.0)}, "kth_value": torch.tensor(-1.0)}
    torch.save(found, file)
    with pytest.raises(TrainingError, match="precious, which is not in"):
        resumed(
            toys,
            file,
            toy_module(optimizer=sgd),
            callbacks=[ModelCheckpoint(run, **best, enable_version_counter=False)],
            **settings,
        )
    assert precious.read_text() == "precious"


def test_a_death_is_told_when_the_checkpoint_is_written(tmp_path: Path) -> None:
    """torch's handler raises; inside of a write it would spoil that."""

    def tell(*_: object) -> None:
        raise RuntimeError("a worker is dead")

    class Dies:
        def __reduce__(self) -> tuple[type, tuple[()]]:
            signal.raise_signal(signal.SIGCHLD)
            return (dict, ())

    before = signal.signal(signal.SIGCHLD, tell)
    try:
        with pytest.raises(RuntimeError, match="a worker is dead"):
            AtomicCheckpointIO().save_checkpoint({"dies": Dies()}, tmp_path / "resume.ckpt")
        assert signal.getsignal(signal.SIGCHLD) is tell
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert zipfile.is_zipfile(tmp_path / "resume.ckpt")
