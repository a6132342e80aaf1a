"""Trainings killed with SIGKILL and resumed, against the same training that nobody touched."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import psutil
import pytest
import torch

from helpers.forking import Forks
from helpers.killing import HALF_WRITTEN, MILLISECONDS, POINT, RENAMED

KILLED = -9
ENDS: dict[str, tuple[int, str, list[str]]] = {
    "KILL": (KILLED, "running", []),
    "TERM": (
        143,
        "interrupted",
        ["SIGTERM: finishing the step", "SIGTERM: ended after step", "go on with: candelabra"],
    ),
    "DISK": (2, "failed", ["resume.ckpt could not be written ([Errno 27] File too large"]),
    "WORKERS": (2, "failed", ["a process that prepares batches has died: "]),
}
"""The exit status, what run.json says, and the lines on standard error."""
LIMITS = {"train": (24, 14), "validation": (12, 8), "test": (12, 8)}
COMMON = [
    *("encoder=tiny", "logger=csv", "callbacks=kill", "--config-dir", "mine"),
    *("trainer.max_epochs=2", "batch_size=8", "eval_batch_size=4", "optimizer.lr=2e-2"),
    *("trainer.log_every_n_steps=1", "callbacks.checkpoint.every_n_train_steps=2"),
    *(f"tasks.sentiment.limit.{split}={sizes[0]}" for split, sizes in LIMITS.items()),
    *(f"tasks.movie.limit.{split}={sizes[1]}" for split, sizes in LIMITS.items()),
]
GAP = ["balancing=gap_driven", "balancing.shares.references={sentiment: .9, movie: .7}"]
CONFIGURATIONS = {
    # Validations lie in the midst of an epoch, some of them in the midst of a step.
    "everything": [
        *("trainer.precision=32-true", "trainer.accumulate_grad_batches=2", *GAP),
        *("trainer.val_check_interval=3", "weighting=uncertainty"),
    ],
    "float32": ["trainer.precision=32-true", "num_workers=2", "logger=default"],
    "bf16": ["trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2"],
    "alternate": [
        *("trainer.precision=bf16-mixed", "step=alternate", "weighting=uncertainty"),
        *("num_workers=2", "trainer.val_check_interval=3"),
    ],
    "early stopping": ["callbacks=kill_stopping", "trainer.max_epochs=6", "num_workers=2", *GAP],
    "two processes": ["trainer=ddp_cpu", "trainer.precision=32-true", *GAP],
}
"""All of them with dropout, as the tiny encoder and the heads have it."""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    root = tmp_path_factory.mktemp("killed")
    (root / "mine" / "callbacks").mkdir(parents=True)
    for name, text in {
        "kill": "defaults: [plain, _self_]\nkill: {_target_: helpers.killing.Kill}\n",
        "kill_stopping": "defaults: [early_stopping, kill, _self_]\nprogress: null\n",
    }.items():
        (root / "mine" / "callbacks" / f"{name}.yaml").write_text(text)
    forks = Forks(root)
    yield forks
    forks.close()


@pytest.fixture(scope="module")
def unbroken(forks: Forks) -> Callable[[str], Path]:
    """The run folder of a configuration that nobody killed."""

    @cache
    def train(name: str) -> Path:
        done = forks("train", *COMMON, *CONFIGURATIONS[name], f"hydra.run.dir=whole {name}")
        assert (done.status, done.err) == (0, "")
        return forks.folder / f"whole {name}"

    return train


def killed_and_resumed(forks: Forks, name: str, *points: str) -> Path:
    """Killed at the first point, resumed and killed at the next, and resumed to the end."""
    folder = forks.folder / f"{name} {' '.join(points)}"
    words = [*COMMON, *CONFIGURATIONS[name], f"hydra.run.dir={folder.name}"]
    for point in points:
        _, _, action = point.partition(":")[2].partition(":")
        workers = ["num_workers=1"] if action == "WORKERS" else []
        done = forks("train", *words, *workers, **{POINT: point})
        status, record, parts = ENDS[action or "KILL"]
        assert done.status == status, done.err
        assert json.loads((folder / "run.json").read_text())["status"] == record
        lines = done.err.strip().splitlines()
        assert len(lines) == len(parts), done.err
        assert all(part in line for part, line in zip(parts, lines, strict=True)), done.err
        assert_metrics_reach_the_checkpoint(folder)
        words = [f"resume={folder}", "allow=[helpers.killing.Kill]"]
    done = forks("train", *words)
    assert (done.status, done.err) == (0, "")
    return folder


def assert_metrics_reach_the_checkpoint(run: Path) -> None:
    step = torch.load(run / "checkpoints" / "resume.ckpt", weights_only=True)["steps_done"]
    with (run / "metrics.csv").open() as stream:
        logged = {int(row["step"]) for row in csv.DictReader(stream) if row["train/loss"]}
    assert logged >= set(range(step))


def assert_same(run: Path, whole: Path) -> None:
    """Every file of results has the same bytes, but for names and times."""
    patterns = ("bundle/*.*", "bundle/encoder/*", "predictions/*", "metrics.*")
    files = [file.relative_to(whole) for pattern in patterns for file in whole.glob(pattern)]
    assert len(files) >= 12
    for file in files:
        assert (run / file).read_bytes() == (whole / file).read_bytes(), file
    one, other = (
        torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
        for folder in (run, whole)
    )
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(tensor.equal(other["state_dict"][key]) for key, tensor in one["state_dict"].items())
    assert one["scores"] == other["scores"]
    assert {file.name for file in run.rglob(".*") if file.is_file()} == set(), "a draft is left"
    record, untouched = (json.loads((f / "run.json").read_text()) for f in (run, whole))
    for key in ("status", "steps", "steps_per_epoch", "fingerprints", "precision"):
        assert record[key] == untouched[key]
    assert record["resumed"]


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(
            ("on_train_batch_start:9:TERM", "on_before_optimizer_step:2"), marks=pytest.mark.slow
        ),
        pytest.param(
            ("on_train_batch_end:9:DISK", "on_validation_batch_end:8"), marks=pytest.mark.slow
        ),
        (f"{HALF_WRITTEN}:3", "on_train_batch_start:1:WORKERS"),
    ],
)
def test_a_killed_run_ends_as_if_nobody_had_killed_it(
    forks: Forks, unbroken: Callable[[str], Path], points: tuple[str, ...]
) -> None:
    run = killed_and_resumed(forks, "everything", *points)
    assert_same(run, unbroken("everything"))


ONE_PROCESS = [name for name in CONFIGURATIONS if name != "two processes"]
IN_A_STEP = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end")
IN_A_VALIDATION = ("on_validation_start:1", "on_validation_batch_end:7", "on_validation_end:1")
AT_AN_END = ("on_train_epoch_end:0", "on_train_epoch_end:1", "on_test_batch_end:1")
IN_A_CHECKPOINT = (f"{HALF_WRITTEN}:2", f"{HALF_WRITTEN}:5", f"{RENAMED}:1", f"{RENAMED}:4")


def points_of(name: str) -> list[tuple[str, ...]]:
    """Where six runs of a configuration are killed, one of them twice and one three times."""
    random = Random(name)
    steps = [f"{random.choice(IN_A_STEP)}:{random.randrange(4, 6)}" for _ in range(3)]
    again = [f"{random.choice(IN_A_STEP)}:{random.randrange(1, 2)}" for _ in range(3)]
    kinds = [random.choice(kind) for kind in (IN_A_VALIDATION, AT_AN_END, IN_A_CHECKPOINT)]
    return [(steps[0],), *((kind,) for kind in kinds), (steps[1], again[0]), (steps[2], *again[1:])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "points"), [(name, points) for name in ONE_PROCESS for points in points_of(name)]
)
def test_any_configuration_killed_anywhere(
    forks: Forks, unbroken: Callable[[str], Path], name: str, points: tuple[str, ...]
) -> None:
    assert_same(killed_and_resumed(forks, name, *points), unbroken(name))


@pytest.mark.slow
def test_a_run_is_killed_until_it_is_done(forks: Forks, unbroken: Callable[[str], Path]) -> None:
    """Wherever its time is over, in W&B's hands or anywhere else."""
    random, folder = Random(0), forks.folder / "again and again"
    words = [*COMMON, *CONFIGURATIONS["float32"], f"hydra.run.dir={folder.name}"]
    lives, record = 0, {"status": "not begun"}
    while lives < 60 and record["status"] != "finished":
        if (folder / "checkpoints" / "resume.ckpt").exists():
            words = [f"resume={folder}", "allow=[helpers.killing.Kill]"]
        # Longer lives from time to time: a slow machine gets to a checkpoint, too.
        at = f"{MILLISECONDS}:{random.randrange(50, 300 + 100 * lives)}"
        done = forks("train", *words, **{POINT: at})
        assert done.status in (0, KILLED), done.err
        record = json.loads((folder / "run.json").read_text())
        lives += 1
    assert lives > 2
    assert_same(folder, unbroken("float32"))
    links = [link.name for link in (forks.folder / "outputs" / "wandb").glob("offline-run-*")]
    assert len([name for name in links if name.endswith(record["run_id"])]) > 2


@pytest.mark.slow
def test_the_launcher_of_two_processes_is_killed(
    forks: Forks, unbroken: Callable[[str], Path]
) -> None:
    """Its processes end by themselves; the resumed run starts two new ones, or another number."""
    whole = unbroken("two processes")
    resumes = {
        "on_train_batch_end:6": "cpu",
        "on_validation_batch_end:4": "ddp_cpu",
    }
    for point, trainer in resumes.items():
        run = forks.folder / point
        words = [*COMMON, *CONFIGURATIONS["two processes"], f"hydra.run.dir={run.name}"]
        assert forks("train", *words, **{POINT: point}).status == KILLED
        end = time.monotonic() + 15
        while left := [p for p in psutil.process_iter(["cmdline"]) if belongs(p, run)]:
            assert time.monotonic() < end, left
            time.sleep(0.1)
        resume = [f"resume={run}", "allow=[helpers.killing.Kill]", f"trainer={trainer}"]
        done = forks("train", *resume)
        # A dying process has no command any more while it still holds the lock of the run.
        while "is still running" in done.err and time.monotonic() < end:
            done = forks("train", *resume)
        assert done.status == 0, done.err
        if trainer == "cpu":
            # The same examples, and the same steps; sums of other parts differ in the last bits.
            assert columns(run, "step", "examples") == columns(whole, "step", "examples")
        else:
            assert_same(run, whole)


def columns(run: Path, *parts: str) -> list[dict[str, str]]:
    """The columns of metrics.csv whose names end so."""
    with (run / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return [{key: cell for key, cell in row.items() if key.endswith(parts)} for row in rows]


def belongs(process: psutil.Process, run: Path) -> bool:
    return any(str(run.name) in word for word in process.info["cmdline"] or [])
