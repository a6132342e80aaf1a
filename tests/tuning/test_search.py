"""Searches by Optuna: what they try, what they store, and how they go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from candelabra.build.search_storage import open_storage
from candelabra.run.place import run_lock
from candelabra.tuning import takeover
from candelabra.tuning.takeover import OWNER
from helpers.command_line import Done, called, started
from helpers.stand_in_trials import Trials, table

SEARCH = ["hydra/sweeper=optuna", "hydra.sweep.dir=s", "hydra.sweeper.sampler.seed=0"]
SEARCH += ["hydra.sweeper.n_jobs=1"]
SEEDS = "seed=choice(1,2)"


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    monkeypatch.chdir(tmp_path)
    return Trials(tmp_path / "site", monkeypatch)


def search(*words: str, n_trials: int = 4) -> Done:
    return called("train", "-m", *SEARCH, f"hydra.sweeper.n_trials={n_trials}", *words)


def study(storage: str = "s/search.journal", name: str = "s") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=open_storage(storage))


def states(found: optuna.Study) -> list[str]:
    return [trial.state.name for trial in found.trials]


def best() -> dict[str, object]:
    content = yaml.safe_load(Path("s/optimization_results.yaml").read_text())
    assert isinstance(content, dict)
    return content


def test_the_best_parameters_are_stored(trials: Trials) -> None:
    assert search(SEEDS).status == 0
    assert (best()["best_params"], best()["best_value"]) == ({"seed": 2}, 0.7)
    assert len(table(Path("s"))) == 4
    assert sorted({trial.values[0] for trial in study().trials}) == [0.2, 0.7]


def test_as_many_trials_are_suggested_together_as_run_at_a_time(trials: Trials) -> None:
    assert search(SEEDS, "hydra.sweeper.n_jobs=null", "hydra.launcher.n_jobs=2").status == 0
    assert len(list(Path("s").glob("*/output.log"))) == 4
    assert states(study()) == ["COMPLETE"] * 4


def test_a_finished_search_started_again_trains_nothing(trials: Trials) -> None:
    words = [SEEDS, "batch_size=range(1,99)"]
    assert [search(*words).status for _ in range(2)] == [0, 0]
    assert len(trials.commands) == 4
    assert len(table(Path("s"))) == 4


@pytest.mark.slow
def test_a_longer_search_repeats_no_suggestion(trials: Trials) -> None:
    words = ["seed=2", "batch_size=range(1,99)", "hydra/sweeper/sampler=random"]
    for n_trials in (3, 6):
        assert search(*words, n_trials=n_trials).status == 0
    sizes = [trial.params["batch_size"] for trial in study().trials]
    assert sizes[:3] != sizes[3:]
    assert len(trials.commands) == 6


def test_failed_trials_stop_nothing(trials: Trials) -> None:
    assert search("seed=choice(3,4)", n_trials=2).status == 1
    assert [row["status"] for row in table(Path("s"))] == ["failed"] * 2
    assert states(study()) == ["FAIL"] * 2
    assert {trial.user_attrs["error"] for trial in study().trials} <= {
        "exit status -9",
        "exit status 3",
    }
    assert best()["best_params"] is None


def test_a_trial_that_does_not_compose_is_a_failed_one(trials: Trials) -> None:
    # A list is not checked before the first trial.
    done = search("batch_size=choice(8,[1])", "seed=1", "hydra/sweeper/sampler=random")
    assert done.status == 1
    rows = {row["status"]: row for row in table(Path("s"))}
    assert set(rows) == {"finished", "failed"}
    assert "batch_size" in rows["failed"]["error"]
    assert set(states(study())) == {"COMPLETE", "FAIL"}


def test_pruned_trials_are_no_failures(trials: Trials) -> None:
    assert search("seed=choice(2,6)").status == 0
    assert {row["status"] for row in table(Path("s"))} == {"finished", "pruned"}
    assert set(states(study())) == {"COMPLETE", "PRUNED"}
    assert len(trials.commands) == 4


def test_several_objectives_give_a_pareto_front(trials: Trials) -> None:
    words = [
        "hydra.sweeper.objectives=[val/score,fit_seconds]",
        "hydra.sweeper.direction=[maximize,minimize]",
        "hydra/sweeper/pruner=none",
    ]
    assert search(SEEDS, *words).status == 0
    solutions = best()["solutions"]
    assert isinstance(solutions, list)
    assert {tuple(each["values"]) for each in solutions} == {(0.2, 2.0), (0.7, 7.0)}


def test_an_objective_that_no_trial_has_ends_the_search(trials: Trials) -> None:
    done = search(SEEDS, "hydra.sweeper.objectives=[val/movie/f2]")
    assert done.status == 2
    assert "trial 0: its metrics.json has no val/movie/f2" in done.err
    assert len(trials.commands) == 1


def test_an_objective_that_the_first_trial_refuses_ends_the_search(trials: Trials) -> None:
    done = search("seed=7", "batch_size=range(1,99)")
    assert done.status == 2
    message = "hydra.sweeper.objectives must be metrics of every trial; trial 0: hydra.sweeper"
    assert f"{message}.objectives[0] must be one of a, b" in done.err
    assert len(trials.commands) == 1
    assert states(study()) == ["FAIL"]


@pytest.mark.parametrize("storage", ["s.db", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_a_search_that_was_killed_goes_on(storage: str, trials: Trials, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/x.db" if storage == "sqlite" else str(tmp_path / storage)
    words = ["seed=5", "batch_size=range(1,99)", f'hydra.sweeper.storage="{place}"']
    command = ["train", "-m", *SEARCH, "hydra.sweeper.n_trials=2", *words]
    assert started(*command, folder=tmp_path).status == -9
    trials.end(5, "finished", 0.3)
    assert called(*command).status == 0
    found = study(place)
    assert states(found) == ["FAIL", "COMPLETE", "COMPLETE"]
    first, again, other = found.trials
    assert first.user_attrs["interrupted"]
    assert again.params == first.params
    assert again.user_attrs["folder"] == str(tmp_path / "s" / "0")
    assert other.params != first.params
    assert len(table(Path("s"))) == 2


def test_a_database_has_a_write_ahead_log(trials: Trials, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/x.db"
    assert search(SEEDS, f'hydra.sweeper.storage="{place}"', n_trials=1).status == 0
    # The version of the format for reading and writing: 2 is the write-ahead log.
    assert (tmp_path / "x.db").read_bytes()[18:20] == b"\x02\x02"


@pytest.mark.slow
def test_two_processes_share_a_search(trials: Trials, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "candelabra", "train", "-m", SEEDS]
    command += ["hydra/sweeper=optuna", "hydra.sweep.dir=s", "hydra.sweeper.n_trials=6"]
    both = [subprocess.Popen(command, env={**os.environ}) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert len(states(study())) in (6, 7)  # both may have asked for the last trial
    assert set(states(study())) == {"COMPLETE"}
    folders = [trial.user_attrs["folder"] for trial in study().trials]
    assert len(set(folders)) == len(folders) == len(trials.commands)


def test_a_trial_of_a_living_process_is_left_alone(trials: Trials, tmp_path: Path) -> None:
    assert search(SEEDS, n_trials=1).status == 0
    running, owner = study().ask(), Path("s/.trials/other").absolute()
    running.set_user_attr(OWNER, str(owner))
    command = ["train", "-m", *SEARCH, "hydra.sweeper.n_trials=2", SEEDS]
    with run_lock(owner, writes=True):
        assert started(*command, folder=tmp_path).status == 0
    assert study().trials[running.number].state is TrialState.RUNNING


def test_a_trial_without_an_owner_is_given_up_after_a_minute(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert search(SEEDS, n_trials=1).status == 0
    orphan = study().ask()
    assert search(SEEDS, n_trials=2).status == 0
    assert study().trials[orphan.number].state is TrialState.RUNNING
    monkeypatch.setattr(takeover, "NEW_SECONDS", 0)
    assert search(SEEDS, n_trials=3).status == 0
    assert study().trials[orphan.number].state is TrialState.FAIL


def test_a_trial_whose_taker_was_killed_counts_once(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert search(SEEDS, n_trials=1).status == 0
    study().ask().set_user_attr(takeover.INTERRUPTED, True)
    monkeypatch.setattr(takeover, "NEW_SECONDS", 0)
    assert search(SEEDS, n_trials=2).status == 0
    assert len(trials.commands) == 2


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hydra.sweeper.direction=up", "hydra.sweeper.direction must be maximize or minimize, or"),
        ("hydra.sweeper.direction=[maximize,minimize]", "direction for each of the 1 objectives"),
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials must be a whole number of at least 1"),
        ("hydra.sweeper.objectives=[]", "hydra.sweeper.objectives must name a metric"),
        ("hydra.sweeper.objectives=[loss]", "hydra.sweeper.objectives[0] must be a metric such as"),
        ("hydra.sweeper.objectives=[val/f1]", "hydra.sweeper.objectives[0] must be a metric such"),
        ("hydra.sweeper.objectives=[test/score]", "add hydra/sweeper/pruner=none"),
        ("+hydra.sweeper.trials=3", "hydra.sweeper has no key 'trials'; did you mean 'n_trials'?"),
        ("hydra.sweeper.sampler.seed=-1", "hydra.sweeper.sampler.seed must be a whole number"),
        ("hydra.sweeper.storage=nosql://x", "hydra.sweeper.storage=nosql://x: cannot be opened"),
        ("hydra.sweeper.storage=nosql://u:SECRET@x", "storage=nosql://***@x: cannot be opened"),
        ("optimizer.lr=interval(1e-3,1e-4)", "optimizer.lr: `low <= high` must hold"),
        ("optimizer.lr=interval(-1e-3,1e-4)", "optimizer.lr must be a number"),
        ("optimzer.lr=interval(1e-4,1e-3)", "no key 'optimzer'"),
        ("pooling=choice(mean,meen)", "pooling has no option 'meen'; did you mean 'mean'?"),
        ("hydra/sweeper/sampler=grid", "hydra/sweeper/sampler has no option 'grid'"),
    ],
)
def test_a_wrong_setting_is_one_message_before_the_first_trial(
    word: str, message: str, trials: Trials
) -> None:
    done = search(SEEDS, word)
    assert done.status == 2
    assert message in done.message
    assert trials.commands == []


def test_a_search_that_goes_on_keeps_what_its_scores_depend_on(trials: Trials) -> None:
    assert search(SEEDS, "batch_size=8", n_trials=1).status == 0
    for words, message in (
        ([SEEDS, "batch_size=9"], "must keep its overrides, batch_size=8 batch_size=9 differs"),
        (["seed=choice(1,2,6)", "batch_size=8"], "seed must keep its choices"),
        (
            ["trainer.max_epochs=range(1,5)", "batch_size=8"],
            "must vary the same keys, not seed",
        ),
        ([SEEDS, "batch_size=8", "hydra.sweeper.direction=minimize"], "must stay ['maximize']"),
        (
            [SEEDS, "batch_size=8", "hydra.sweeper.objectives=[val/movie/f1]"],
            "hydra.sweeper.objectives must stay ['val/score']",
        ),
    ):
        assert message.replace("'", '"') in search(*words).message.replace("'", '"')
    assert len(trials.commands) == 1


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_a_study_in_the_folder_of_another_one_replaces_no_run(trials: Trials, status: str) -> None:
    assert search(SEEDS, n_trials=2).status == 0
    record = json.loads(Path("s/0/run.json").read_text())
    Path("s/0/run.json").write_text(json.dumps(record | {"status": status}))
    Path("s/0/checkpoints").mkdir()
    Path("s/0/checkpoints/resume.ckpt").touch()
    done = search("seed=choice(2,6)", "hydra.sweeper.study_name=another")
    assert done.status == 2
    assert "0 is no trial of the study another: name another hydra.sweep.dir" in done.message
    assert len(trials.commands) == 2
    assert json.loads(Path("s/0/run.json").read_text())["status"] == status


def test_the_table_is_ranked_by_the_objective(trials: Trials) -> None:
    words = ["hydra.sweeper.objectives=[val/movie/f1]", "hydra/sweeper/sampler=random"]
    assert search(SEEDS, *words, n_trials=6).status == 0
    scores = [float(row["val/movie/f1"]) for row in table(Path("s"))]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 2


def test_without_optuna_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("candelabra.tuning.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = search(SEEDS)
    message = 'hydra/sweeper=optuna needs its extra: pip install "candelabra[search]"'
    assert (done.status, done.message) == (2, message)


def test_the_record_of_a_trial_is_a_run_of_the_sweep(trials: Trials) -> None:
    assert search(SEEDS, n_trials=1).status == 0
    (row,) = table(Path("s"))
    record = json.loads((Path(row["folder"]) / "run.json").read_text())
    assert record["status"] == "finished"
    assert row["overrides"] in " ".join(record["overrides"])
