from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from candelabra import __version__
from candelabra.cli import COMMANDS
from candelabra.config.targets import conf_dir
from helpers.command_line import HEAVY_AFTER, SMALL, called, python, started, wrong
from helpers.full_disks import full_disk


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_the_commands(arguments: tuple[str, ...]) -> None:
    done = called(*arguments)
    assert (done.status, done.err) == (0, "")
    for name, text in COMMANDS.items():
        assert f"{name:<12}{text}" in done.out


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_of_a_command_is_our_own(command: str, flag: str) -> None:
    done = called(command, flag)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"candelabra {command} ")
    assert "Hydra" not in done.out


def test_version() -> None:
    assert called("--version").out == f"candelabra {__version__}\n"


def test_unknown_command_names_the_nearest() -> None:
    done = called("trian")
    assert done.status == 2
    assert done.message == (
        f"no command 'trian'; did you mean 'train'? (commands: {', '.join(COMMANDS)})"
    )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["train", "pooling=meen"], 2),
        (["train", "trainer.max_epoch=3"], 2),
        (["train", "experiment=imdb_mit_movie", "data_dir=/nope"], 2),
        (["predict", "bundle=/nope", "text=x"], 2),
        (["evaluate", "bundle=/nope"], 2),
        (["export", "bundle=/nope", "format=onnx", "output=x"], 2),
    ],
)
def test_answers_before_anything_heavy_is_imported(
    arguments: list[str], status: int, tmp_path: Path
) -> None:
    done = python("-c", HEAVY_AFTER, *arguments, folder=tmp_path)
    assert done.status == status
    assert done.out.splitlines()[-1].split() == ["heavy:"]


def test_wrong_option_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = started("train", "pooling=meen", folder=tmp_path)
    assert (done.status, done.out) == (2, "")
    options = ", ".join(sorted(file.stem for file in (conf_dir() / "pooling").glob("*.yaml")))
    assert done.message == (
        f"pooling has no option 'meen'; did you mean 'mean'? (options: {options})"
    )
    assert list(tmp_path.iterdir()) == []


CASES = {
    "unknown experiment": (
        ["experiment=nope"],
        ["experiment has no option 'nope'", "imdb_mit_movie", "quickstart"],
    ),
    "options of a group": (["pooling=help"], ["pooling is a group (options: attention, cls"]),
    "unknown key": (
        ["trainer.max_epoch=3"],
        ["no key 'trainer.max_epoch'", "did you mean 'max_epochs'?", "gradient_clip_val"],
    ),
    "unknown key at the top": (
        ["sede=3"],
        ["no key 'sede'; did you mean 'seed'? (keys: encoder, pooling"],
    ),
    "key of a group at the top": (["lr=3"], ["no key 'lr'; did you mean 'optimizer.lr'? (keys"]),
    "key of the trainer at the top": (["max_epochs=5"], ["did you mean 'trainer.max_epochs'?"]),
    "key of every task": (
        ["tasks.loss_weight=2"],
        ["did you mean 'tasks.sentiment.loss_weight' or 'tasks.movie.loss_weight'?"],
    ),
    "added key of a group": (["+lr=3"], ["has no key 'lr'; did you mean 'optimizer.lr'? (keys"]),
    "added key": (["+foo=1"], ["no key 'foo'", "batch_size"]),
    "added key with a typo": (["+poling=mean"], ["no key 'poling'", "did you mean 'pooling'?"]),
    "added key of a task": (["+tasks.movie.los=1"], ["tasks.movie has no key 'los'", "'loss'"]),
    "dropped key": (["~seed"], ["seed must not be dropped"]),
    "dropped group": (["~pooling"], ["pooling must be given: add pooling=VALUE"]),
    "wrong type": (["batch_size=abc"], ["batch_size must be of type Integer, got 'abc'"]),
    "no list": (["tags=a"], ["tags: ", "str is not a"]),
    "null": (["seed=null"], ["seed", "not Optional"]),
    "null for a group": (
        ["pooling=null"],
        ["pooling takes the name of an option, got 'null'", "mean_sqrt_len"],
    ),
    "learning rate": (["optimizer.lr=-1"], ["optimizer.lr must be a number above 0, got -1"]),
    "null for a group of Hydra": (
        ["+task@tasks.t=imdb", "hydra/launcher=null"],
        ["hydra/launcher takes the name of an option, got 'null'"],
    ),
    "several options without a sweep": (
        ["encoder=tiny,minilm"],
        ["encoder=tiny,minilm has several values: -m trains each of them"],
    ),
    "a setting of files that the yaml lacks": (
        ["tasks.sentiment.source.word_column=1"],
        ["no key 'tasks.sentiment.source.word_column' in the yaml of this task; +tasks."],
    ),
    "data that no task reads": (
        ["data_dir=FOLDER"],
        ["data_dir=FOLDER is read by no task of sentiment, movie: tasks=NAME or experiment=NAME"],
    ),
    "number for a group": (["freeze=3"], ["freeze takes the name of an option, got '3'"]),
    "no task": (["~tasks.sentiment", "~tasks.movie"], ["tasks must hold at least one task"]),
    "ghost task": (
        ["+tasks.x.loss_weight=2"],
        ["tasks.x has no source", "task@tasks.x=OPTION", "does not make a task by itself"],
    ),
    "ghost of a preset": (
        ["tasks=none", "+task@tasks.a=sample_reviews", "+tasks.movie.loss_weight=2"],
        ["tasks.movie has no source", "does not make a task by itself"],
    ),
    "task that is no mapping": (["tasks.movie=5"], ["tasks.movie must be a task's settings"]),
    "word for a loss": (
        ["tasks.movie.loss=focal"],
        ["tasks.movie.loss must be settings, got 'focal'", "by loss@tasks.movie.loss=focal"],
    ),
    "word for a pooling": (["tasks.movie.pooling=cls"], ["+pooling@tasks.movie.pooling=OPTION"]),
    "added word for a pooling": (
        ["+tasks.movie.pooling=cls"],
        ["got 'cls'; an option is chosen by +pooling@tasks.movie.pooling=cls"],
    ),
    "name of a task": (["+task@tasks.a-b=sample_reviews"], ["tasks.a-b", "name must match"]),
    "task with an answer's key": (
        ["+task@tasks.text=sample_reviews"],
        ["'text' is a key of every"],
    ),
    "task that is there": (
        ["+task@tasks.movie=sample_reviews"],
        ["task@tasks.movie exists already", "without the +"],
    ),
    "task that is not there": (
        ["task@tasks.nope=imdb"],
        ["nothing to override at 'task@tasks.nope'", "+task@tasks.nope=... adds it"],
    ),
    "task without a place": (["task=imdb"], ["nothing to override at 'task'", "task@tasks.movie"]),
    "dropped task that is not there": (["~tasks.nope"], ["'tasks.nope' does not exist"]),
    "loss_weight": (
        ["tasks.sentiment.loss_weight=-1"],
        ["tasks.sentiment.loss_weight must be a number above 0, got -1"],
    ),
    "loss_weight nan": (["tasks.movie.loss_weight=nan"], ["must be a number above 0, got nan"]),
    "missing value": (["freeze=head"], ["freeze.head must be given: add freeze.head=VALUE"]),
    "missing name": (["encoder=hub"], ["encoder.name must be given: add encoder.name=VALUE"]),
    "unknown head": (
        ["freeze=head", "freeze.head=moovie"],
        ["freeze.head must be one of the tasks", "'moovie'", "did you mean 'movie'?"],
    ),
    "comma": (["group=a,b"], ["group=a,b has several values: -m trains each of them"]),
    "apostrophe": (["group=it's"], ["override 'group=it's' cannot be parsed", "Quote"]),
    "no value": (["pooling"], ["override 'pooling' cannot be parsed: it must be key=value"]),
    "interpolation": (["group=${nope}"], ["nope"]),
    "on_bad_row": (["on_bad_row=skpi"], ["on_bad_row must be one of error, skip", "'skip'?"]),
    "truncation": (["encoder.truncation=tial"], ["one of head, tail, head_tail", "'tail'?"]),
    "max_length": (["encoder.max_length=2"], ["encoder.max_length", "at least 3, got 2"]),
    "epochs": (["trainer.max_epochs=0"], ["trainer.max_epochs", "at least 1", "got 0"]),
    "steps": (["balancing.steps_per_epoch=0"], ["balancing.steps_per_epoch", "got 0"]),
    "limit": (["trainer.limit_train_batches=0"], ["limit_train_batches", "at least 1", "got 0"]),
    "evaluation": (["trainer.limit_val_batches=1"], ["limit_val_batches", "at least 2, got 1"]),
    "part": (["trainer.limit_train_batches=1.5"], ["limit_train_batches", "up to 1.0", "1.5"]),
    "batch_size": (["batch_size=1"], ["batch_size must be at least the tasks (2)", "got 1"]),
    "folder": (
        ["experiment=imdb_mit_movie", "data_dir=/nope"],
        ["task 'sentiment': data_dir=/nope: no such folder"],
    ),
    "folder of yamls": (["--config-dir", "/nope"], ["config directory '/nope' not found"]),
    "unknown flag": (["seed=1", "--mutlirun"], ["no flag '--mutlirun'", "'--multirun'?"]),
    "group as a flag": (["--freeze"], ["no flag '--freeze'; keys have no dashes: freeze=OPTION"]),
    "folder for an encoder": (
        ["encoder=/models/x"],
        ["got '/models/x'; encoder=path encoder.name=/models/x takes a folder"],
    ),
    "help with a typo": (["--hlep"], ["no flag '--hlep'; did you mean '--help'? (flags: --help"]),
    "flag without a value": (["--config-dir"], ["--config-dir needs a value"]),
    "two flags": (["-m", "--cfg", "job"], ["Only one of --run, --multirun, --cfg"]),
    "unknown class": (
        ["tasks.movie.source._target_=nope.Bar"],
        ["'nope.Bar'", "(tasks.movie.source)", "No module named 'nope'"],
    ),
    "sweep over an unknown option": (["-m", "pooling=mean,meen"], ["pooling has no option 'meen'"]),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_configuration_is_one_message(case: str) -> None:
    overrides, parts = CASES[case]
    message = wrong(*overrides)
    for part in parts:
        assert part in message
    assert "HYDRA_FULL_ERROR" not in message
    assert "Exception" not in message


def test_broken_yaml_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "task"
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("source: {path: ${data_dir}/x}\n  a: [\n")
    message = wrong("--config-dir", str(tmp_path / "mine"), "+task@tasks.it=broken")
    assert message.startswith("a yaml file cannot be read: ")
    assert str(folder / "broken.yaml") in message
    assert "line 1" in message


def test_experiment_of_ones_own_with_a_wrong_override(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    yaml = "# @package _global_\ndefaults:\n  - override /poling: mean\n"
    (folder / "mine.yaml").write_text(yaml)
    message = wrong("--config-dir", str(tmp_path / "mine"), "experiment=mine")
    assert "poling" in message


def test_runs_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    done = started("train", *SMALL, "callbacks=plain", folder=tmp_path / "here")
    assert done.status == 0, done.err
    (run,) = (tmp_path / "here" / "outputs" / "sentiment_movie").iterdir()
    assert (run / "bundle" / "config.json").is_file()
    assert f"run folder: {run.absolute()}" in done.out
    assert "Traceback" not in done.err


def test_a_full_disk_is_one_message() -> None:
    """Hydra writes first, before any of our own writers could explain it."""
    with full_disk(100):
        message = wrong(*SMALL, "hydra.run.dir=run")
    assert message == "a file cannot be written: File too large"


def test_a_path_that_the_system_refuses_is_one_message() -> None:
    name = 300 * "x"
    message = wrong(*SMALL, f"hydra.run.dir={name}")
    assert message.endswith("File name too long")
    assert name in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_log_without_room_prints_no_tracebacks() -> None:
    log = "logging.getLogger().addHandler(logging.FileHandler('/dev/full'))"
    done = python(
        "-c",
        f"import logging, os; from candelabra.cli import main; main(['train', '--help']); {log}; "
        "logging.error('lost'); os._exit(0)",
    )
    assert (done.status, done.err) == (0, "")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """As in `candelabra predict ... | head`."""
    command = [sys.executable, "-m", "candelabra", "train", "--help"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
