"""A bundle that lacks a part, or whose parts do not fit, is refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from bundles import edit, made
from candelabra.bundle import load
from candelabra.errors import BundleError


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    made("attention").save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    shutil.copytree(saved, tmp_path / "bundle")
    return tmp_path / "bundle"


def truncate(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return spoil


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", lambda found: found.update(changes))


def lacking(key: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", lambda found: found.pop(key))


def labels(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "labels.json", lambda found: found.update(changes))


def metrics(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "metrics.json", lambda found: found.update(values))


def other_tensors(file: str, rename: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / file)
        renamed = {rename(name): tensor for name, tensor in tensors.items()}
        save_file(renamed, folder / file, metadata={"format": "pt"})

    return spoil


DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated heads": (truncate("heads.safetensors"), r"heads\.safetensors: damaged"),
    "truncated encoder": (truncate("encoder/model.safetensors"), "cannot be loaded as safetensors"),
    "truncated config": (truncate("config.json"), r"config\.json: no JSON"),
    "truncated labels": (truncate("labels.json"), r"labels\.json: no JSON"),
    "truncated metrics": (truncate("metrics.json"), r"metrics\.json: no JSON"),
    "truncated encoder config": (truncate("encoder/config.json"), r"encoder/config\.json: no JSON"),
    "truncated tokenizer": (truncate("encoder/tokenizer.json"), r"encoder"),
    "no config": (without("config.json"), r"it has no file config\.json"),
    "no labels": (without("labels.json"), r"it has no file labels\.json"),
    "no heads": (without("heads.safetensors"), r"it has no file heads\.safetensors"),
    "no encoder": (without("encoder/config.json"), r"it has no file encoder/config\.json"),
    "no weights": (without("encoder/model.safetensors"), r"it has no file encoder/model"),
    "no tokenizer": (without("encoder/tokenizer.json"), r"it has no file encoder/tokenizer"),
    "later format": (config(format=2), r"config\.json: format must be 1, found 2"),
    "no format": (lacking("format"), r"format must be 1, found None"),
    "no pooling": (lacking("pooling"), r"lacks 'pooling'"),
    "no tasks": (lacking("tasks"), r"lacks 'tasks'"),
    "no max_length": (lacking("max_length"), r"lacks 'max_length'"),
    "tasks of another type": (config(tasks=["mood"]), r"tasks must be an object of tasks"),
    "task of another type": (config(tasks={"mood": 5}), r"bundle: "),
    "head of another type": (config(tasks={"mood": {"head": 5}}), r"bundle: "),
    "length of another type": (config(max_length="abc"), r"bundle: "),
    "length beyond the positions": (config(max_length=9999), r"must be at most 512"),
    "truncation": (config(truncation="middle"), r"truncation must be one of"),
    "fewer labels": (labels(mood=["POSITIVE"]), r"heads\.safetensors: damaged or of other shapes"),
    "labels of another type": (labels(mood="ab"), r"labels of mood must be a list of names"),
    "numbers for labels": (labels(mood=[0, 1]), r"labels of mood must be a list of names"),
    "no O": (labels(who=["A", "B-Actor", "I-Actor", "B-Year"]), r"needs the label 'O'"),
    "other heads": (
        other_tensors("heads.safetensors", lambda name: name.replace("mood", "food")),
        r"heads\.safetensors: lacks \['heads\.mood",
    ),
    "other encoder": (
        other_tensors("encoder/model.safetensors", lambda name: name.replace("layer.1", "layer.7")),
        r"model\.safetensors: lacks \['encoder\.layer\.1",
    ),
    "list": (lambda folder: (folder / "labels.json").write_text("[]") and None, r"JSON object"),
    "nested metrics": (
        metrics(test={"mood": 0.5}),
        r"metrics\.json: 'test' must be a number, found \{'mood': 0\.5\}",
    ),
    "a text among metrics": (metrics(epoch="1"), r"metrics\.json: 'epoch' must be .* found '1'"),
    "a truth among metrics": (metrics(done=True), r"metrics\.json: 'done' must be .* found True"),
    "a list of metrics": (
        lambda folder: (folder / "metrics.json").write_text("[1]") and None,
        r"metrics\.json: must hold a JSON object, found list",
    ),
    "nested beyond measure": (
        lambda folder: (folder / "labels.json").write_text("[" * 200_000) and None,
        r"labels\.json: no JSON",
    ),
    "nested too deep": (
        lambda folder: (
            (folder / "labels.json").write_text('{"a":' * 300 + "1" + "}" * 300) and None
        ),
        r"labels\.json: no JSON of ours, it is nested beyond 64 levels",
    ),
    "number of 5,000 digits": (
        lambda folder: (
            (folder / "config.json").write_text('{"format": ' + "1" * 5000 + "}") and None
        ),
        r"config\.json: no JSON",
    ),
    "bytes": (
        lambda folder: (folder / "labels.json").write_bytes(b"\xff\xfe\x00") and None,
        r"labels\.json: no JSON",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_bundle_is_refused(case: str, copy: Path) -> None:
    spoil, message = DAMAGED[case]
    spoil(copy)
    with pytest.raises(BundleError, match=message) as caught:
        load(copy)
    assert str(copy) in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nope: no such folder"):
        load(tmp_path / "nope")
