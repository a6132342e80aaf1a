"""Paths that name environment variables: kept as they are written, resolved when they are used."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from candelabra.config.environment import is_masked, is_variable, resolved, with_variables
from candelabra.config.plain_form import MASKED, plain
from candelabra.config.targets import check_targets
from candelabra.errors import ConfigError

PATHS = {
    "${oc.env:DATA}": "secret",
    "${oc.env:DATA}/train.csv": "secret/train.csv",
    "/home/${oc.env:DATA}/${oc.env:WHICH}.csv": "/home/secret/x.csv",
    "${ oc.env:DATA }/*.csv": "secret/*.csv",
    "${oc.env: DATA}": "secret",
    "${oc.env:UNSET,rows.csv}": "rows.csv",
    "${oc.env:UNSET,'my rows.csv'}": "my rows.csv",
    "${oc.env:UNSET, rows.csv }/${oc.env:DATA}": "rows.csv/secret",
    "${data_dir}/a.csv": "secret/in/a.csv",
    "${ data_dir }": "secret/in",
}
OTHERS = (
    "${oc.decode:'[${oc.env:DATA}]'}",
    "${oc.env:${oc.env:NAMED}}",
    "${oc.env:UNSET,${oc.env:DATA}}",
    "${.folder}/a.csv",
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "secret")
    monkeypatch.setenv("WHICH", "x")
    monkeypatch.setenv("NAMED", "DATA")
    monkeypatch.delenv("UNSET", raising=False)


def stored(source: dict[str, Any]) -> dict[str, Any]:
    """Return a source as a bundle has it."""
    raw = {"data_dir": "${oc.env:DATA}/in", "tasks": {"t": {"source": source}}}
    tasks = with_variables(plain(OmegaConf.create(raw))["tasks"], raw)
    found: dict[str, Any] = tasks["t"]["source"]
    return found


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_kept_and_resolved(path: str) -> None:
    source = {"train": path, "test": ["b.csv", path], "files": {"train": path}}
    kept = stored(source)
    assert "secret" not in str(kept)
    assert not is_masked(kept)
    check_targets({"tasks": {"t": {"source": kept}}})
    assert resolved(kept, where="tasks.t.source") == {
        "train": PATHS[path],
        "test": ["b.csv", PATHS[path]],
        "files": {"train": PATHS[path]},
    }


@pytest.mark.parametrize("path", OTHERS)
def test_any_other_form_stays_masked_and_is_named_when_it_is_used(path: str) -> None:
    kept = stored({"train": path, "folder": "${oc.env:DATA}/b"})
    assert kept == {"train": MASKED, "folder": "${oc.env:DATA}/b"}
    with pytest.raises(ConfigError, match=r"tasks\.t\.source\.train was read from the environment"):
        resolved(kept, where="tasks.t.source")


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"source\.files\.train is \$.*: the environment variable U"
    ):
        resolved({"files": {"train": "${oc.env:UNSET}/a.csv"}}, where="source")
    assert resolved({"test": "${oc.env:UNSET,null}"}, where="source") == {"test": None}
    assert resolved({"test": "${oc.env:UNSET,'null'}"}, where="source") == {"test": "null"}


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ("${oc.env:A}", ("tasks", "t", "source", "name")),
        ("${oc.env:A}", ("train",)),
        ("${oc.env:A}", ()),
        ("${oc.env:A}", ("files", "train")),
        ("${oc.env:A}${seed}", ("source", "train")),
        ("\\${oc.env:A}", ("source", "train")),
        ("${oc.env:A,${oc.env:B}}", ("source", "train")),
        ("a.csv", ("source", "train")),
        (5, ("source", "train")),
    ],
)
def test_what_is_no_variable(value: object, keys: tuple[str, ...]) -> None:
    assert not is_variable(value, keys)
