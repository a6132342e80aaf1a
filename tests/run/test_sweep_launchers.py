"""Sweeps whose trials are called in other processes: Hydra's joblib and submitit launchers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.command_line import Done, python, started
from helpers.stand_in_trials import Trials, table

JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
SUBMITIT = ["hydra/launcher=submitit_local"]
LAUNCHERS = pytest.mark.parametrize("launcher", [JOBLIB, SUBMITIT], ids=["joblib", "submitit"])

SMALL = [
    "encoder=tiny",
    "logger=csv",
    "callbacks=plain",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
]


def swept(folder: Path, *overrides: str) -> Done:
    return started("train", "-m", "hydra.sweep.dir=s", *overrides, folder=folder)


def status(folder: Path, number: int) -> str:
    found = json.loads((folder / "s" / str(number) / "run.json").read_text())["status"]
    assert isinstance(found, str)
    return found


@pytest.mark.slow
def test_joblib_trains(tmp_path: Path) -> None:
    done = swept(tmp_path, *JOBLIB, *SMALL, "seed=1,2")
    assert (done.status, done.err) == (0, "")
    rows = table(tmp_path / "s")
    assert {row["status"] for row in rows} == {"finished"}
    assert {Path(row["folder"]).name for row in rows} == {"0", "1"}
    assert (tmp_path / "s" / "1" / "bundle" / "config.json").is_file()
    assert done.out.count("\nsweep ") == 1


@pytest.mark.slow
def test_submitit_trains(tmp_path: Path) -> None:
    layers = ["freeze=lower_layers", "freeze.num_layers=99,1"]
    done = swept(tmp_path, *SUBMITIT, *SMALL, *layers)
    assert done.status == 1
    good, bad = table(tmp_path / "s")
    assert 0 <= float(good["val/score"]) <= 1
    assert "must lie between 0 and 2" in bad["error"]
    logs = [file.read_text() for file in (tmp_path / "s" / ".submitit").glob("*/*_log.err")]
    assert [log for log in logs if "must lie between 0 and 2" in log]


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    return Trials(tmp_path / "site", monkeypatch)


@pytest.mark.slow
@LAUNCHERS
def test_failed_trials_are_recorded_and_finished_ones_skipped(
    launcher: list[str], trials: Trials, tmp_path: Path
) -> None:
    words = [*launcher, "seed=1,3,4,2", "freeze=none"]
    assert swept(tmp_path, *words).status == 1
    rows = table(tmp_path / "s")
    assert [row["overrides"].split()[0] for row in rows] == ["seed=2", "seed=1", "seed=3", "seed=4"]
    assert [row["error"] for row in rows] == ["", "", "exit status -9", "exit status 3"]
    assert [status(tmp_path, number) for number in range(4)] == [
        "finished",
        "failed",
        "failed",
        "finished",
    ]
    assert len(trials.commands) == 4
    assert swept(tmp_path, *words).status == 1
    assert len(trials.commands) == 6
    assert [row["val/score"] for row in table(tmp_path / "s")] == ["0.7", "0.2", "", ""]


def test_wrong_trial_is_a_failed_one(trials: Trials, tmp_path: Path) -> None:
    assert swept(tmp_path, *JOBLIB, "seed=1", "freeze=none,head").status == 1
    good, bad = table(tmp_path / "s")
    assert (good["status"], bad["status"]) == ("finished", "failed")
    assert "freeze.head must be given" in bad["error"]
    assert len(trials.commands) == 1


@pytest.mark.slow
@LAUNCHERS
def test_dead_process_of_the_launcher_hides_nothing(
    launcher: list[str], trials: Trials, tmp_path: Path
) -> None:
    done = swept(tmp_path, *launcher, "seed=5,1")
    assert done.status == 1
    assert "error: the launcher gave up: " in done.err
    assert "Traceback" not in done.err
    statuses = {row["overrides"]: row["status"] for row in table(tmp_path / "s")}
    assert statuses["seed=5"] == "running"


@pytest.mark.slow
def test_own_yamls_go_on_to_the_trials(trials: Trials, tmp_path: Path) -> None:
    (tmp_path / "mine" / "task").mkdir(parents=True)
    yaml = "defaults: [sample_reviews@_here_, _self_]\nlimit: {train: 50}\n"
    (tmp_path / "mine" / "task" / "few.yaml").write_text(yaml)
    own = ["--config-dir", "mine", "task@tasks.sentiment=few", "seed=1"]
    assert swept(tmp_path, *SUBMITIT, *own).status == 0
    assert trials.commands[0][-2:] == ["--config-dir", str(tmp_path / "mine")]


@pytest.mark.parametrize(
    ("word", "extra"),
    [
        ("hydra/launcher=joblib", "launchers"),
        ("hydra/launcher=submitit_local", "launchers"),
        ("hydra/launcher=submitit_slurm", "launchers"),
    ],
)
def test_without_the_extra_the_message_says_how_to_install_it(
    word: str, extra: str, tmp_path: Path
) -> None:
    code = (
        "import sys; sys.modules['hydra_plugins'] = None; from candelabra.cli import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = python("-c", code, "train", "-m", word, "seed=1,2", folder=tmp_path)
    assert done.status == 2
    assert done.message == f'{word} needs its extra: pip install "candelabra[{extra}]"'


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+hydra.launcher.foo=1", "hydra.launcher: Unknown argument 'foo' for executor 'local'"),
        ("hydra.launcher.foo=1", "no key 'hydra.launcher.foo'"),
    ],
)
def test_unknown_setting_of_submitit_is_one_message(
    word: str, message: str, tmp_path: Path
) -> None:
    done = swept(tmp_path, *SUBMITIT, word, "seed=1,2")
    assert done.status == 2
    assert [line for line in done.err.splitlines() if line.startswith("candelabra: error:")] == [
        done.err.splitlines()[-1]
    ]
    assert message in done.err
    assert "Traceback" not in done.err


def test_folder_of_submitit_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = swept(tmp_path, *SUBMITIT, "hydra.launcher.submitit_folder=taken", "seed=1,2")
    assert done.status == 1
    assert "error: the launcher gave up: FileExistsError: " in done.err
    assert "Traceback" not in done.err


def test_no_trials_at_a_time_is_one_message(tmp_path: Path) -> None:
    done = swept(tmp_path, "hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "seed=1,2")
    assert (done.status, done.message) == (2, "n_jobs == 0 in Parallel has no meaning")
