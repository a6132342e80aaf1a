from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from candelabra.processes import TRIAL
from candelabra.run.sweep import Sweep, with_table
from helpers.command_line import Done, called, started
from helpers.stand_in_trials import Trials, table

NAME = "my sw\u00ebep, 1"
"""A folder's name that Hydra's grammar takes in quotes only."""

SMALL = [
    "encoder=tiny",
    "logger=csv",
    "callbacks=plain",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
    "freeze=lower_layers",
]


def swept(folder: Path, *overrides: str) -> Done:
    where = f'hydra.sweep.dir="{folder / NAME}"'
    return started("train", "-m", *SMALL, where, *overrides, folder=folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("swept")


@pytest.fixture(scope="module")
def first(root: Path) -> Done:
    """Two trials, of which the first asks for layers that the encoder lacks."""
    return swept(root, "freeze.num_layers=99,1")


@pytest.fixture(scope="module")
def folder(root: Path, first: Done) -> Path:
    return root / NAME


def test_failed_trial_neither_stops_nor_hides(first: Done, folder: Path) -> None:
    assert first.status == 1
    assert "Traceback" not in first.err
    good, bad = table(folder)
    assert [good["status"], bad["status"]] == ["finished", "failed"]
    assert (good["folder"], bad["folder"]) == (str(folder / "1"), str(folder / "0"))
    assert 0 <= float(good["val/score"]) <= 1
    assert (bad["val/score"], bad["test/score"]) == ("", "")
    assert "freeze.num_layers=99" in bad["overrides"]
    assert "must lie between 0 and 2" in bad["error"]
    assert good["error"] == ""


def test_table_stands_at_the_end(first: Done, folder: Path) -> None:
    shown = first.out[first.out.rindex("sweep ") :]
    good, bad = shown.index("finished"), shown.index("failed")
    assert good < bad
    assert "got 99" in shown
    metrics = json.loads((folder / "1" / "metrics.json").read_text())
    assert f"{metrics['val/score']:.4f}" in shown


def test_every_trial_has_its_run_folder(folder: Path) -> None:
    records = [json.loads((folder / name / "run.json").read_text()) for name in ("0", "1")]
    assert [record["status"] for record in records] == ["failed", "finished"]
    assert "must lie between 0 and 2" in records[0]["error"]
    assert records[0]["run_id"] != records[1]["run_id"]
    assert (folder / "1" / "bundle" / "config.json").is_file()
    assert f"group: {NAME}" in (folder / "1" / "config.yaml").read_text()


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    monkeypatch.chdir(tmp_path)
    return Trials(tmp_path / "site", monkeypatch)


def test_table_is_sorted_by_score(trials: Trials) -> None:
    done = called("train", "-m", "seed=1,3,2", "hydra.sweep.dir=s")
    assert done.status == 1
    rows = table(Path("s"))
    assert [row["overrides"] for row in rows] == ["seed=2", "seed=1", "seed=3"]
    assert [row["val/score"] for row in rows] == ["0.7", "0.2", ""]
    assert "failed: exit status -9" in done.out


def test_metrics_of_its_own_stand_first_and_figures_of_others_below(trials: Trials) -> None:
    sweep = "+hydra.callbacks.sweep"
    given = [
        f"{sweep}.columns=[val/movie/f1]",
        f"{sweep}.published={{title:theirs,rows:{{ranking:[0.81]}}}}",
    ]
    done = called("train", "-m", "seed=2,1", *given, "hydra.sweep.dir=s")
    assert done.status == 0
    rows = table(Path("s"))
    assert list(rows[0])[:2] == ["val/movie/f1", "val/score"]
    assert [row["overrides"] for row in rows] == ["seed=1", "seed=2"]
    ours, theirs = done.out.split("theirs")
    assert ours.index("0.8000") < ours.index("0.3000")
    assert "0.8100" in theirs


def test_all_finished_is_success(trials: Trials) -> None:
    done = called("train", "-m", "seed=1,2", "hydra.sweep.dir=s")
    assert (done.status, done.err) == (0, "")


def test_a_sweep_that_cannot_begin_says_why(trials: Trials) -> None:
    done = called("train", "-m", "pooling=1,2", "hydra.sweep.dir=s")
    assert done.status == 2
    assert done.message.startswith("pooling takes the name of an option, got '1,2'")


def test_table_has_the_trials_of_this_start_only(trials: Trials) -> None:
    assert called("train", "-m", "seed=1,2,3", "hydra.sweep.dir=s").status == 1
    assert called("train", "-m", "seed=1", "hydra.sweep.dir=s").status == 0
    assert [row["overrides"] for row in table(Path("s"))] == ["seed=1"]


def test_a_single_run_after_a_sweep_shows_no_table(trials: Trials) -> None:
    assert called("train", "-m", "seed=1", "hydra.sweep.dir=s").status == 0
    assert called("train", "freeze=head").message.startswith("freeze.head must be given")
    assert Sweep().folder is None


def test_a_sweep_is_no_single_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "sweep=freeze_pooling", "freeze=head"]
    message = called(*words).message
    assert message == "sweep=freeze_pooling is many runs: add -m to the same command"
    monkeypatch.setenv(TRIAL, "1")
    assert called(*words).message.startswith("freeze.head must be given")


def test_a_sweep_has_one_folder_whatever_is_swept(trials: Trials, tmp_path: Path) -> None:
    done = called("train", "-m", "seed=1,2", "tasks=sample", "paths.output_dir=out")
    assert done.status == 0
    (folder,) = (tmp_path / "out" / "sweeps").iterdir()
    assert {file.name for file in folder.iterdir()} >= {"0", "1", "sweep.csv"}


def test_folders_may_be_named_by_what_is_swept(trials: Trials) -> None:
    subdir = "hydra.sweep.subdir=seeds/${seed}"
    assert called("train", "-m", "seed=2,1", "hydra.sweep.dir=s", subdir).status == 0
    assert [Path(row["folder"]).name for row in table(Path("s"))] == ["2", "1"]


def begin(folder: Path, numbers: list[int]) -> None:
    """What Hydra and the processes of a launcher do."""
    Sweep().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}}))
    for number in numbers:
        Sweep().begin(number, folder / str(number), [f"seed={number}"])


def test_trials_come_in_their_order(tmp_path: Path) -> None:
    begin(tmp_path, [10, 2, 1])
    assert [row["overrides"] for row in Sweep().outcomes()] == [["seed=1"], ["seed=2"], ["seed=10"]]
    assert {row["status"] for row in Sweep().outcomes()} == {"not started"}


def test_launcher_that_gives_up_hides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def start() -> None:
        begin(tmp_path, [0, 1])
        raise RuntimeError("A worker process\nwas terminated")

    assert with_table(start) == 1
    assert len(table(tmp_path)) == 2
    printed = capsys.readouterr()
    assert "gave up: RuntimeError: A worker process was terminated" in printed.err
    assert f"hydra.sweep.dir={tmp_path}" in printed.err
    assert "sweep " in printed.out


def test_stopped_sweep_shows_what_there_is(tmp_path: Path) -> None:
    def start() -> None:
        begin(tmp_path, [0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_table(start)
    assert len(table(tmp_path)) == 1


def test_error_outside_of_a_sweep_is_its_own() -> None:
    def start() -> None:
        raise RuntimeError("CUDA")

    with pytest.raises(RuntimeError, match="CUDA"):
        with_table(start)
