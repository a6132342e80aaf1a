"""What a stored setting may not do, and the person who resumes may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from candelabra.errors import ConfigError
from candelabra.run.typed_again import check_typed


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder with W&B's link out of it; the working folder is another."""
    folder = tmp_path / "outputs" / "run"
    folder.mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (folder / "wandb").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    return folder


def config(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def check(run: Path, key: str, value: str, *typed: str) -> None:
    check_typed(config(key, value), typed=typed, readers=[], folder=run)


ELSEWHERE = {
    "a link in the run folder": ("callbacks.a.path", "{run}/wandb/x.png"),
    "a folder above": ("callbacks.a.dirpath", "{run}/../x"),
    "the working folder": ("logger.a.save_dir", "x"),
    "a name that leads out": ("logger.a.name", "../x"),
    "a whole path as a name": ("logger.a.version", "/x"),
    "a home": ("logger.a.save_dir", "{run}/~"),
    "a variable": ("logger.a.name", "$HOME"),
    "an address": ("callbacks.a.dirpath", "memory://x"),
    "a chain of addresses": ("callbacks.a.dirpath", "filecache::x"),
    "the trainer's": ("trainer.default_root_dir", "/x"),
    "all runs' folder": ("paths.output_dir", "{run}/../../there"),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_stored_path_leads_nowhere_else_and_a_typed_one_may(run: Path, case: str) -> None:
    key, value = ELSEWHERE[case]
    value = value.format(run=run)
    with pytest.raises(ConfigError, match=f"^{key} is .*type {key}= together with resume="):
        check(run, key, value)
    with pytest.raises(ConfigError, match=f"^{key} is "):
        check(run, key, value, f"{key}.below={value}", key.partition(".")[0] + "=mine")
    check(run, key, value, f"+{key}={value}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("callbacks.a.path", "{run}/x.png"),
        ("callbacks.a.filename", "{{epoch}}-{{val/score:.2f}}"),
        ("logger.a.version", "tensorboard"),
        ("paths.output_dir", "x"),
        ("paths.output_dir", "{run}/.."),
        ("paths.cache_dir", "/x"),
        ("data_dir", "/x"),
        ("logger.a.mode", "offline"),
    ],
)
def test_other_stored_settings_count(run: Path, key: str, value: str) -> None:
    check(run, key, value.format(run=run))


@pytest.mark.parametrize("typed", ["logger=wandb", "logger.wandb.mode=online"])
def test_only_who_types_it_sends_to_wandb(run: Path, typed: str) -> None:
    for words in ([], ["logger=default"], ["logger.wandb.project=x"]):
        with pytest.raises(ConfigError, match="mode=online sends the run to W&B; type logger="):
            check(run, "logger.wandb.mode", "online", *words)
    check(run, "logger.wandb.mode", "online", typed)


def test_only_who_types_it_gives_texts_to_wandb(run: Path) -> None:
    node = {"logger": {"wandb": {"texts": True}}}
    with pytest.raises(ConfigError, match=r"logger\.wandb\.texts gives the texts of the data"):
        check_typed(node, typed=["logger.wandb.project=x"], readers=[], folder=run)
    check_typed(node, typed=["logger.wandb.texts=true"], readers=[], folder=run)


def test_only_who_types_it_reads_the_environment(run: Path) -> None:
    found = {"typed": ["callbacks.a={x: ${oc.env:A}}", "tags=[${oc.env:A}]", "seed=1"]}
    check_typed({}, readers=["callbacks.a.x", "tags[0]"], folder=run, **found)
    for key in ("callbacks.ab", "seed", "tagsx"):
        with pytest.raises(ConfigError, match=f"^{key} reads the environment; .* type {key}="):
            check_typed({}, readers=[key], folder=run, **found)
