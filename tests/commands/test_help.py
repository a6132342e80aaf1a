"""The options that help and docs list are those of conf/, and the keys that they show exist."""

from __future__ import annotations

import importlib
import re

import pytest
from omegaconf import OmegaConf

from candelabra.cli import COMMANDS
from candelabra.config.targets import conf_dir
from helpers.project import ROOT

GROUPS = sorted(
    folder.name
    for folder in conf_dir().iterdir()
    if folder.is_dir() and folder.name not in ("base", "hydra")
)
UNLISTED = ("paths", "debug", "experiment", "method", "study", "sweep", "task", "tasks")
"""Groups that the README's table leaves to its text."""
TABLES = {
    "balancing": ["mixing"],
    "freeze": ["freezing"],
    "head": ["heads", "embeddings"],
    "loss": ["heads", "embeddings"],
    "method": ["pretraining"],
    "weighting": ["weighting"],
}
"""Groups whose options pages of docs/ name."""


def options(group: str) -> set[str]:
    return {file.stem for file in (conf_dir() / group).glob("*.yaml")}


def help_of(command: str) -> str:
    text: str = importlib.import_module(f"candelabra.commands.{command}").HELP
    return text


def test_help_of_train_lists_every_option_the_default_first() -> None:
    _, _, table = help_of("train").partition("The groups with their options")
    rows = re.findall(r"^  (\w+) +(\w.*(?:\n {16}\w.*)*)", table, re.MULTILINE)
    listed = {group: re.findall(r"\w+", names) for group, names in rows}
    assert set(listed) == {*GROUPS, "task"} - {"method", "study"}
    for group, names in listed.items():
        assert len(names) == len(set(names))
        assert set(names) == options(group)
    for entry in OmegaConf.load(conf_dir() / "train.yaml").defaults:
        for group, default in () if isinstance(entry, str) else entry.items():
            assert default in (None, listed[group][0])
    assert max(map(len, table.splitlines())) <= 100


def test_help_of_pretrain_lists_the_methods() -> None:
    _, _, table = help_of("pretrain").partition("  method=")
    assert all(name in table for name in options("method"))


def test_help_of_study_lists_the_questions() -> None:
    listed = re.findall(r"^  study=([a-z_, ]+?)(?:  |$)", help_of("study"), re.MULTILINE)
    names = {name for line in listed for name in line.split(", ")}
    assert names == options("study") - {"sweep"}


@pytest.mark.parametrize("command", COMMANDS)
def test_options_in_help_exist(command: str) -> None:
    """Wherever help shows `GROUP=OPTION, OPTION`, in lower case."""
    shown = re.findall(r"(?<![.\w])([a-z_]+)(?:@[\w.]+)?=([a-z][\w, ]*)", help_of(command))
    for group, text in shown:
        if group in GROUPS:
            first, *more = re.split(r", *", text.split("  ")[0])
            names = [first.split()[0], *(name for name in more if re.fullmatch(r"\w+", name))]
            assert {*names} - {"help"} <= options(group), f"{group}={text}"


def rows_of_the_readme() -> dict[str, str]:
    """Group -> what the README's table says of it."""
    rows: dict[str, str] = {}
    for line in (ROOT / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        groups = re.findall(r"`(\w+)(?:@[\w.]+)?`", cells[0])
        if len(cells) == 3 and groups and set(groups) <= set(GROUPS):
            rows |= dict.fromkeys(groups, cells[1])
    return rows


def test_readme_names_every_group_and_lists_options_whole_or_not_at_all() -> None:
    rows = rows_of_the_readme()
    assert set(rows) == set(GROUPS) - set(UNLISTED)
    for group, text in rows.items():
        if ": " in text:
            assert options(group) <= set(re.findall(r"\w+", text)), f"{group}: {text}"


@pytest.mark.parametrize("group", TABLES)
def test_docs_name_every_option(group: str) -> None:
    pages = "".join((ROOT / f"docs/{page}.md").read_text() for page in TABLES[group])
    named = set(re.findall(r"\w+", pages))
    assert options(group) <= named
