"""A run that starts from a bundle: what it takes, and what it refuses."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import candelabra
from candelabra.bundle.checksums import write_checksums
from candelabra.bundle.transfer import check_start, fingerprint, start_from
from candelabra.errors import BundleError, ConfigError
from candelabra.model.backbones import Tiny
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.tagging import TaggingHead
from candelabra.model.multitask import MultiTaskModel
from helpers.bundles import LABELS, edit, made
from helpers.command_line import called
from helpers.small_models import pooling_node, small_model

CONFIG = {
    "pooling": pooling_node("attention"),
    "tasks": {**made("attention", "attention").config.tasks, "film": {}},
}
"""What the bundle's heads read is what the run's heads read."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """With poolings that have parameters, one for each of two tasks."""
    made("attention", "attention").save(tmp_path / "bundle")
    return tmp_path / "bundle"


def fresh(labels: dict[str, list[str]] = LABELS, *, width: int = 16) -> MultiTaskModel:
    heads = {
        task: partial(TaggingHead if "O" in names else ClassificationHead, labels=names)
        for task, names in labels.items()
    }
    encoder = Tiny(max_length=32, width=width).load()
    return small_model(heads, encoder, pooling="attention", poolings={"mood": "attention"})


def taken(model: MultiTaskModel, bundle: Path) -> set[str]:
    """The parts whose weights are those of the bundle."""
    theirs, ours = candelabra.load(bundle).model.state_dict(), model.state_dict()
    parts: dict[str, list[bool]] = {}
    for key, tensor in ours.items():
        names = key.split(".")
        part = ".".join(names[: 2 if names[0] in ("heads", "poolings") else 1])
        same = key in theirs and theirs[key].shape == tensor.shape
        parts.setdefault(part, []).append(same and torch.equal(theirs[key], tensor))
    return {part for part, same in parts.items() if all(same)}


def test_everything_that_fits_comes_from_the_bundle(bundle: Path) -> None:
    model = fresh()
    assert taken(model, bundle) == set()
    found = start_from(model, str(bundle), config=CONFIG, labels=LABELS)
    assert taken(model, bundle) == {
        "encoder",
        "heads.mood",
        "heads.who",
        "pooling",
        "poolings.mood",
    }
    assert set(found.values()) == {"bundle"}
    assert set(found) == {"encoder", "head of mood", "head of who", "pooling", "pooling of mood"}


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ([], {"encoder"}),
        (["who"], {"encoder", "heads.who", "pooling"}),
        (["mood"], {"encoder", "heads.mood", "pooling", "poolings.mood"}),
    ],
)
def test_chosen_heads_come_with_the_poolings(
    bundle: Path, heads: list[str], expected: set[str]
) -> None:
    model = fresh()
    start_from(model, str(bundle.parent), config=CONFIG, labels=LABELS, heads=heads)
    assert taken(model, bundle) == expected


def test_other_labels_get_a_new_head(bundle: Path) -> None:
    labels = {**LABELS, "mood": ["bad", "good"], "film": ["yes", "no"]}
    model = fresh(labels)
    before = model.heads["mood"].state_dict()
    found = start_from(model, str(bundle), config=CONFIG, labels=labels)
    assert found["head of who"] == found["encoder"] == "bundle"
    assert found["head of mood"] == "new: its labels are NEGATIVE, POSITIVE"
    assert found["head of film"] == "new: the bundle has heads of mood, who"
    assert all(torch.equal(t, before[k]) for k, t in model.heads["mood"].state_dict().items())
    assert found["pooling of mood"] == "new"


def test_a_head_that_has_to_come_must_fit(bundle: Path) -> None:
    labels = {**LABELS, "mood": ["bad", "good"]}
    with pytest.raises(ConfigError, match="head of 'mood' does not fit: its labels are NEGATIVE"):
        start_from(fresh(labels), str(bundle), config=CONFIG, labels=labels, heads=["mood"])


@pytest.mark.parametrize(
    ("change", "kept", "message"),
    [
        ({"pooling": pooling_node("max")}, {"mood", "who"}, ""),
        (
            {"mood": {"pooling": pooling_node("max")}},
            {"who"},
            "trained with pooling AttentionPooling",
        ),
        ({"who": {"layer_mix": True}}, {"mood"}, "trained with layer_mix False, here it is True"),
    ],
)
def test_a_head_that_would_read_something_else_is_new(
    bundle: Path, change: dict[str, Any], kept: set[str], message: str
) -> None:
    """Here `mood` has a pooling of its own, and `who` reads words."""
    tasks = {name: {**node, **change.get(name, {})} for name, node in CONFIG["tasks"].items()}
    config = {"pooling": change.get("pooling", CONFIG["pooling"]), "tasks": tasks}
    found = start_from(fresh(), str(bundle), config=config, labels=LABELS)
    assert {task for task in LABELS if found[f"head of {task}"] == "bundle"} == kept
    others = set(LABELS) - kept
    assert all(message in found[f"head of {task}"] for task in others)
    for task in others:
        with pytest.raises(ConfigError, match=f"head of '{task}' does not fit: it was {message}"):
            start_from(fresh(), str(bundle), config=config, labels=LABELS, heads=[task])


def test_another_encoder_is_refused(bundle: Path) -> None:
    model = fresh(width=8)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(
        ConfigError, match=r"its encoder is not the run's: .* \[16\] .* \[8\] in this run; encoder="
    ):
        start_from(model, str(bundle), config=CONFIG, labels=LABELS)
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())


def test_damaged_weights_are_refused(bundle: Path) -> None:
    (bundle / "heads.safetensors").write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(BundleError, match=r"heads\.safetensors: damaged"):
            start_from(fresh(), str(bundle), config=CONFIG, labels=LABELS)
        write_checksums(bundle)  # the second time it is not the checksum that notices


@pytest.mark.parametrize("names", [5, [1, 2], ["A", "A"]])
def test_labels_of_another_type_are_refused(bundle: Path, names: object) -> None:
    edit(bundle / "labels.json", lambda labels: labels.update(mood=names))
    with pytest.raises(BundleError, match=r"labels of mood must"):
        start_from(fresh(), str(bundle), config=CONFIG, labels=LABELS)
    with pytest.raises(BundleError, match=r"labels of mood must"):
        check_start(str(bundle), ["mood"], ["mood"])


def test_a_configuration_of_another_type_is_refused(bundle: Path) -> None:
    edit(bundle / "config.json", lambda config: config["tasks"].update(mood=5))
    with pytest.raises(BundleError, match=r"tasks\.mood must be an object, found 5"):
        start_from(fresh(), str(bundle), config=CONFIG, labels=LABELS)


def test_names_are_checked_before_anything_is_loaded(bundle: Path, tmp_path: Path) -> None:
    check_start(str(bundle), None, ["film"])
    check_start(str(bundle), ["mood"], ["mood", "film"])
    with pytest.raises(ConfigError, match=r"'moood' is not a task of the run.*mean 'mood'"):
        check_start(str(bundle), ["moood"], ["mood"])
    with pytest.raises(ConfigError, match=r"'film' is not a head of the bundle \(mood, who\)"):
        check_start(str(bundle), ["film"], ["film"])
    with pytest.raises(BundleError, match=r"init_from=.*no such folder"):
        check_start(str(tmp_path / "none"), None, ["mood"])


def test_other_weights_have_another_fingerprint(bundle: Path) -> None:
    before = fingerprint(str(bundle))
    assert set(before) == {"encoder/model.safetensors", "heads.safetensors"}
    made("mean").save(bundle)
    assert fingerprint(str(bundle)) != before


SMALL = (
    *("encoder=tiny", "logger=csv", "callbacks=plain", "trainer.max_epochs=1"),
    *("trainer.limit_train_batches=3", "trainer.limit_val_batches=4", "seed=3"),
)


def test_from_one_run_to_the_next(tmp_path: Path) -> None:
    """A first run, then one that keeps a head of it still while the encoder moves."""
    first, second = tmp_path / "first", tmp_path / "second"
    done = called("train", *SMALL, f"hydra.run.dir={first}")
    assert done.status == 0, done.err
    words = [f"init_from={first}", "freeze=head", "freeze.head=movie", "distill_frozen=0.5"]
    done = called("train", *SMALL, *words, "optimizer.lr=1e-2", f"hydra.run.dir={second}")
    assert done.status == 0, done.err
    assert " bundle " in done.out
    before, after = (
        json.loads((folder / "metrics.json").read_text()) for folder in (first, second)
    )
    moved = after["val/movie/f1"] - before["val/movie/f1"]
    assert after["val/movie/drift"] == pytest.approx(moved)
    assert "val/sentiment/drift" not in after
    record = json.loads((second / "run.json").read_text())
    assert record["fingerprints"]["init_from="] == fingerprint(str(first))


def test_wrong_words_are_told_at_once(tmp_path: Path) -> None:
    made().save(tmp_path / "bundle")
    for words, message in (
        (["init_from=nowhere"], "init_from=nowhere: no such folder"),
        (["init_heads=[movie]"], "init_heads chooses heads of a bundle: it needs init_from=BUNDLE"),
        (["distill_frozen=-1"], "distill_frozen must be a number at least 0, got -1.0"),
        (["distill_frozen=1"], "distill_frozen needs a frozen head: add freeze=head"),
        ([f"init_from={tmp_path}", "init_heads=[movi]"], "did you mean 'movie'?"),
    ):
        done = called("train", *SMALL, *words, f"hydra.run.dir={tmp_path / 'run'}")
        assert done.status == 2
        assert message in done.message
