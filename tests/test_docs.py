"""The links of the docs lead somewhere, and their commands are ones that candelabra takes."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from pathlib import Path

import pytest

from candelabra.cli import COMMANDS
from candelabra.commands.arguments import compose, compose_command, split_flags, split_verbatim
from candelabra.commands.study_words import sort_words
from candelabra.config.schema import SCHEMAS
from candelabra.config.targets import conf_dir
from candelabra.config.validation import validate
from helpers.composing import COMMANDS as COMMAND_YAMLS
from helpers.composing import OPTIONS, composed
from helpers.documents import anchors, command_lines, links, opening_command, trials
from helpers.project import PAGES, ROOT
from helpers.stand_ins import write_data

PLACES = {str(page.relative_to(ROOT)): page for page in PAGES}
GROUPS = sorted({name.rpartition("/")[0] for name in OPTIONS})
OWN_YAMLS = {
    "task/intents": "defaults: [sample_reviews@_here_]",
    "task/mined": "defaults: [sample_pairs@_here_]",
    "study/dropout": "defaults: [pooling@_here_]",
}
"""Stand-ins for the yamls that the docs show a person to write."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of every data set."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _own_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are checked in a folder that has a `my_conf`, and data in `FOLDER`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").symlink_to(data)
    for name, text in OWN_YAMLS.items():
        file = tmp_path / "my_conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize("place", PLACES)
def test_links_lead_somewhere(place: str) -> None:
    page = PLACES[place]
    for link in links(page):
        path, _, anchor = link.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), link
        assert goal.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(goal), link


def test_every_benchmark_is_described() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text()
    names = [file.name for file in (ROOT / "benchmarks").glob("*.py")]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("place", PLACES)
def test_commands_of_the_docs_are_understood(place: str, tmp_path: Path) -> None:
    done = set()
    for words in command_lines(PLACES[place].read_text()):
        if tuple(words) not in done:
            check(words, tmp_path)
        done.add(tuple(words))


@pytest.mark.slow
@pytest.mark.parametrize("group", sorted({*COMMAND_YAMLS, *GROUPS}))
def test_commands_that_yamls_open_with_are_understood(group: str, tmp_path: Path) -> None:
    done = set()
    for name in (*COMMAND_YAMLS, *OPTIONS):
        if name == group or name.rpartition("/")[0] == group:
            words = opening_command(conf_dir() / f"{name}.yaml")
            if tuple(words) not in done and not chooses_alone(words, name):
                check(words, tmp_path)
            done.add(tuple(words))


def chooses_alone(words: list[str], name: str) -> bool:
    """Return whether a command chooses an option and no more, as the tests of yamls do."""
    group, _, option = name.rpartition("/")
    command, *rest = [word for word in words if not word.startswith("data_dir=")]
    key, _, value = rest[0].partition("=") if len(rest) == 1 else ("", "", "")
    return (command, key.partition("@")[0], value) == ("train", group, option)


def check(words: list[str], folder: Path) -> None:
    """Compose what a command line asks for, and check its keys and values, without data."""
    command, *overrides = words
    assert command in COMMANDS, words
    if {"--help", "--version", "--cfg"} & set(overrides):
        return
    try:
        if command in ("train", "pretrain"):
            check_training(overrides, folder, command)
        elif command == "study":
            check_study(overrides, folder)
        else:
            keys = sorted(verbatim_keys(command))
            settings = [word for word in overrides if "=" in word]
            compose_command(command, settings, keys, several=["text"])
    except Exception as error:
        raise AssertionError(f"candelabra {' '.join(words)}: {error}") from error


def verbatim_keys(command: str) -> set[str]:
    """Return the keys in the help of a command that are no keys of its configuration."""
    text = importlib.import_module(f"candelabra.commands.{command}").HELP
    keys = set(re.findall(r"(?<![\w.])([a-z_]+)=", text))
    return keys - {item.name for item in fields(SCHEMAS[command])}


def check_training(arguments: list[str], folder: Path, command: str = "train") -> None:
    verbatim, rest = split_verbatim(arguments, ("resume", "allow", "cwd"))
    words, flags = split_flags(rest)
    if "--config-dir" in flags:
        words.append(f"hydra.searchpath=['file://{Path(flags[1]).absolute()}']")
    if "resume" not in verbatim and "pooling=help" not in words:
        for each in trials(words):
            validate(composed(each, folder, command))


def check_study(arguments: list[str], folder: Path) -> None:
    words = sort_words(arguments)
    compose("study", [f"study={words.study}", *words.own, *words.flags])
    check_training([*words.common], folder)
