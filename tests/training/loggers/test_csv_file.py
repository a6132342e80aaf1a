"""The metrics of a run, on disk whatever happens to the disk or to the run."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.utilities import rank_zero_only

from candelabra.training.loggers import csv_file
from candelabra.training.loggers.csv_file import MetricsFile
from helpers.full_disks import full_disk
from helpers.toys import Splits, fit, tiny, toy_model, toy_module

Calls = Sequence[tuple[int, Mapping[str, Any]]]
TRAINING: Calls = [
    (0, {"lr": 0.1}),
    (0, {"train/loss": 0.5, "epoch": 0}),
    (1, {"train/loss": torch.tensor(0.25), "epoch": 0}),
    (1, {"val/score": 1 / 3, "val/n": torch.tensor(3), "epoch": 0}),
    (2, {"train/loss": float("nan"), "a, b": 1e-12, "epoch": 1}),
]


def log(logger: Logger, calls: Calls) -> None:
    """As Lightning does, which saves after each row."""
    for step, metrics in calls:
        logger.log_metrics(dict(metrics), step)
        logger.save()


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == csv_file.__name__]


def test_holds_what_lightnings_own_file_would(tmp_path: Path) -> None:
    log(MetricsFile(folder=tmp_path / "a"), TRAINING)
    log(CSVLogger(tmp_path / "b", name="", version=""), TRAINING)
    ours, lightnings = ((tmp_path / name / "metrics.csv").read_text() for name in "ab")
    assert ours == lightnings
    assert [list(row) for row in read(tmp_path / "a")] == [sorted(read(tmp_path / "a")[0])] * 5


def test_a_row_is_appended_and_a_new_column_replaces_the_file(tmp_path: Path) -> None:
    logger, file, inodes = MetricsFile(folder=tmp_path), tmp_path / "metrics.csv", []
    for call in [*TRAINING, *TRAINING]:
        log(logger, [call])
        inodes.append(file.stat().st_ino)
    assert len({*inodes[:5]}) > 1
    assert inodes[5:] == [inodes[4]] * 5
    assert list(tmp_path.iterdir()) == [file]


def test_an_old_file_is_replaced_by_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("old")
    logger = MetricsFile(folder=tmp_path)
    logger.save()
    logger.finalize("success")
    assert (tmp_path / "metrics.csv").read_text() == "old"
    log(logger, [(0, {"x": 1.0})])
    assert read(tmp_path) == [{"step": "0", "x": "1.0"}]


def test_without_rows_there_is_no_file(tmp_path: Path) -> None:
    logger = MetricsFile(folder=tmp_path)
    logger.log_hyperparams({"seed": 0})
    logger.flush()
    logger.finalize("success")
    assert not list(tmp_path.iterdir())


def test_only_rank_zero_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = MetricsFile(folder=tmp_path)
    logger.resume_at(1)
    log(logger, TRAINING)
    logger.flush()
    logger.finalize("success")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [0, 1, 2, 3, 9])
def test_a_resume_keeps_the_earlier_steps(tmp_path: Path, step: int) -> None:
    log(MetricsFile(folder=tmp_path), TRAINING)
    text = (tmp_path / "metrics.csv").read_text()
    logger = MetricsFile(folder=tmp_path)
    logger.resume_at(step)
    assert (tmp_path / "metrics.csv").read_text() == text
    log(logger, [(9, {"x": 1.0})])
    kept = [each for each, _ in TRAINING if each < step]
    assert [int(row["step"]) for row in read(tmp_path)] == [*kept, 9]


def test_a_repeated_row_takes_the_old_ones_place(tmp_path: Path) -> None:
    log(MetricsFile(folder=tmp_path), [*TRAINING[:4], (1, {"drawn": 7.0})])
    text = (tmp_path / "metrics.csv").read_text()
    logger = MetricsFile(folder=tmp_path)
    logger.resume_at(2)
    log(logger, TRAINING[3:4])
    assert (tmp_path / "metrics.csv").read_text() == text
    logger.log_metrics({**TRAINING[3][1]}, 1)
    logger.save()
    assert len(read(tmp_path)) == 6, "once: a run may log the same columns twice"

    logger = MetricsFile(folder=tmp_path)
    logger.resume_at(2)
    log(logger, [(2, {"lr": 0.1}), (1, {**TRAINING[3][1], "val/score": 0.75})])
    scores = [row["val/score"] for row in read(tmp_path)]
    assert scores == ["", "", "", "0.75", "", str(1 / 3), ""]


def test_a_resume_without_a_file_starts_one(tmp_path: Path) -> None:
    logger = MetricsFile(folder=tmp_path)
    logger.resume_at(3)
    log(logger, [(3, {"x": 1.0})])
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize("torn", ["1,0.", "\0\0\0\0", "1,2,3,4,5\n", "x\n", "\xff,\n"])
def test_a_resume_drops_what_is_no_whole_row(tmp_path: Path, torn: str) -> None:
    log(MetricsFile(folder=tmp_path), TRAINING[:1])
    with (tmp_path / "metrics.csv").open("a", encoding="latin-1") as stream:
        stream.write(torn)
    logger = MetricsFile(folder=tmp_path)
    logger.resume_at(1)
    log(logger, TRAINING[2:3])
    assert [row["lr"] for row in read(tmp_path)] == ["0.1", ""]


def test_a_flush_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger, synced = MetricsFile(folder=tmp_path), []
    log(logger, TRAINING)
    monkeypatch.setattr("os.fsync", lambda number: synced.append(number))
    log(logger, TRAINING)
    assert not synced, "a training step does not wait for the disk"
    logger.flush()
    assert len(synced) == 1


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_costs_one_warning_and_no_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    logger, file = MetricsFile(folder=tmp_path), tmp_path / "metrics.csv"
    log(logger, TRAINING)
    text = file.read_text()
    with full_disk(len(text) + room):
        log(logger, TRAINING)
        logger.flush()
        log(logger, [(3, {"new": 1.0})])
        assert file.read_text() == text, "no half row, which would read as a wrong number"
        assert list(tmp_path.iterdir()) == [file]
    (warning,) = warnings_of(caplog)
    assert str(file) in warning
    assert "File too large" in warning
    log(logger, [(4, {"lr": 0.1})])
    logger.finalize("success")
    assert [int(row["step"]) for row in read(tmp_path)] == [0, 0, 1, 1, 2] * 2 + [3, 4]
    assert len(warnings_of(caplog)) == 1


def test_the_end_tells_what_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = MetricsFile(folder=tmp_path)
    log(logger, TRAINING[:1])
    with full_disk((tmp_path / "metrics.csv").stat().st_size):
        log(logger, TRAINING[1:])
        logger.finalize("failed")
    assert "lacks the last 4 rows" in warnings_of(caplog)[-1]
    assert len(read(tmp_path)) == 1


def test_a_file_that_cannot_be_restored_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    logger, file = MetricsFile(folder=tmp_path), tmp_path / "metrics.csv"
    log(logger, TRAINING)
    monkeypatch.setattr("os.truncate", fail)
    with full_disk(file.stat().st_size + 3):
        log(logger, TRAINING)
    assert not file.read_text().endswith("\n")
    log(logger, [(3, {"lr": 0.1})])
    assert [int(row["step"]) for row in read(tmp_path)] == [0, 0, 1, 1, 2] * 2 + [3]


def test_a_file_that_someone_deleted_is_written_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = MetricsFile(folder=tmp_path)
    log(logger, TRAINING)
    (tmp_path / "metrics.csv").unlink()
    log(logger, [*TRAINING, *TRAINING])
    assert len(read(tmp_path)) == 15


class Places(pl.Callback):
    """Saves checkpoints at given places, with the file as a SIGKILL right after would leave it."""

    def __init__(self, logger: MetricsFile, folder: Path) -> None:
        self.logger, self.folder = logger, folder

    def _save(self, trainer: pl.Trainer, place: str) -> None:
        self.logger.before_checkpoint(trainer)
        trainer.save_checkpoint(self.folder / f"{place}.ckpt", weights_only=False)
        shutil.copy(self.logger.path, self.folder / f"{place}.csv")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step in (3, 5):
            self._save(trainer, f"step-{trainer.global_step}")

    def on_validation_start(self, trainer: pl.Trainer, *_: object) -> None:
        self._save(trainer, f"validation-{trainer.global_step}")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.validating:
            # Else Lightning takes the validation for done.
            loops = checkpoint["loops"]["fit_loop"]
            progress = loops["epoch_loop.val_loop.batch_progress"]["total"]
            progress.update({key: progress[key] + 1 for key in ("ready", "started")})


class EpochEnd(pl.Callback):
    """Logs at the end of an epoch, too."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.log("drawn", float(trainer.global_step))


def train(toys: Splits, logger: Sequence[Logger], every: int, **kwargs: Any) -> None:
    callbacks = [LearningRateMonitor("step"), EpochEnd(), *kwargs.pop("callbacks", [])]
    given = {"max_epochs": 2, "val_check_interval": 4, "log_every_n_steps": every}
    fit(
        toys,
        toy_module(toy_model(tiny(dropout=0.3))),
        **{**given, "logger": list(logger), "callbacks": callbacks, **kwargs},
    )


@pytest.fixture(scope="module", params=[1, 3])
def unbroken(
    toys: Splits, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[int, Path]:
    """The logging interval, and a run of 16 steps with its checkpoints."""
    folder = tmp_path_factory.mktemp("unbroken")
    logger = MetricsFile(folder=folder)
    lightnings = CSVLogger(folder / "lightnings", name="", version="")
    places = Places(logger, folder)
    train(toys, [logger, lightnings], request.param, callbacks=[places])
    return request.param, folder


def test_a_run_logs_what_lightnings_own_file_has(unbroken: tuple[int, Path]) -> None:
    _, folder = unbroken
    assert read(folder) == read(folder / "lightnings")
    assert len(list(folder.glob("*.ckpt"))) == 6


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
@pytest.mark.parametrize("killed", ["at once", "at the end"])
@pytest.mark.parametrize("place", ["step-3", "step-5", "validation-4", "validation-8"])
def test_a_resumed_run_has_each_row_once(
    toys: Splits, tmp_path: Path, unbroken: tuple[int, Path], place: str, killed: str
) -> None:
    every, folder = unbroken
    left = folder / (f"{place}.csv" if killed == "at once" else "metrics.csv")
    shutil.copy(left, tmp_path / "metrics.csv")
    logger = MetricsFile(folder=tmp_path)
    logger.resume_at(int(place.partition("-")[2]))
    train(toys, [logger], every, ckpt_path=str(folder / f"{place}.ckpt"))
    assert (tmp_path / "metrics.csv").read_text() == (folder / "metrics.csv").read_text()
