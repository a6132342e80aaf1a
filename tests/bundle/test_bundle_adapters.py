"""Bundles whose tasks have adapters of their own, and what is cut out of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

import candelabra
from candelabra.bundle.checksums import write_checksums
from candelabra.errors import BundleError
from helpers.bundles import adapt, edit, made

LORA = {
    "_target_": "candelabra.model.adapters.Lora",
    "r": 3,
    "alpha": 5.0,
    "num_layers": 1,
    "per_task": True,
}


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A bundle with an adapter for each task, and its answers before it was saved."""
    model = made()
    adapt(model.model.encoder, list(model.labels), r=3, alpha=5.0, num_layers=1, per_task=True)
    model.config = replace(model.config, adapter=LORA)
    model.save(tmp_path / "bundle")
    (answers,) = model.predict("a film with michael douglas")
    return tmp_path / "bundle", answers


def test_a_bundle_keeps_one_base_and_the_adapters(bundle: tuple[Path, dict[str, Any]]) -> None:
    folder, answers = bundle
    (again,) = candelabra.load(folder).predict("a film with michael douglas")
    assert again["mood"]["probabilities"] == pytest.approx(answers["mood"]["probabilities"])
    assert [span["text"] for span in again["who"]] == [span["text"] for span in answers["who"]]
    base = AutoModel.from_pretrained(folder / "encoder").state_dict()
    theirs = made().model.encoder.backbone.state_dict()
    assert all(torch.equal(tensor, base[key]) for key, tensor in theirs.items())


def test_each_task_can_be_merged_into_an_ordinary_bundle(
    bundle: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, answers = bundle
    both = candelabra.load(folder)
    for task in ("mood", "who"):
        both.merged(task).save(tmp_path / task)
        assert not (tmp_path / task / "adapters.safetensors").exists()
        alone = candelabra.load(tmp_path / task)
        assert (list(alone.labels), alone.model.encoder.adapters) == ([task], ())
        (found,) = alone.predict("a film with michael douglas")
        assert found.keys() == {"text", task}
        if task == "mood":
            assert found[task]["probabilities"] == pytest.approx(answers[task]["probabilities"])
        else:
            assert [span["text"] for span in found[task]] == [s["text"] for s in answers[task]]
    (after,) = both.predict("a film with michael douglas")
    assert after["mood"]["probabilities"] == pytest.approx(answers["mood"]["probabilities"])
    with pytest.raises(ValueError, match=r"task must be one of mood, who, got 'whoo'.*'who'"):
        both.merged("whoo")


def test_a_shared_encoder_is_cut_to_one_task_too(tmp_path: Path) -> None:
    whole = made(own_pooling="attention")
    (expected,) = whole.predict("a film")
    for task in whole.labels:
        whole.merged(task).save(tmp_path / task)
        (found,) = candelabra.load(tmp_path / task).predict("a film")
        assert json.dumps(found[task]) == json.dumps(expected[task])


def test_one_task_keeps_its_own_scores_whatever_stands_beside_them(tmp_path: Path) -> None:
    own = {"val/mood/accuracy": 0.5, "test/mood/f1/POSITIVE": 0.25}
    others = {"epoch": 1.0, "val/score": 0.5, "val/who/f1": 0.75, "val/moody/f1": 0.5}
    replace(made(), metrics={**own, **others}).save(tmp_path / "bundle")
    assert candelabra.load(tmp_path / "bundle").merged("mood").metrics == own


def test_damaged_adapters_are_told(bundle: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = bundle
    for change, message in (
        ({"r": 2}, "adapters.safetensors: damaged, or of another model"),
        ({"num_layers": 2}, r"lacks \[.*layer\.0\."),
        ({"num_layers": 9}, "adapter.num_layers must be at most 2, got 9"),
        ({"_target_": "os.system"}, "'os.system' is not one of candelabra's"),
    ):
        edit(folder / "config.json", lambda config, c=change: config.update(adapter={**LORA, **c}))
        with pytest.raises(BundleError, match=message):
            candelabra.load(folder)
    edit(folder / "config.json", lambda config: config.update(adapter=LORA))
    (folder / "adapters.safetensors").unlink()
    with pytest.raises(BundleError, match=r"has no file adapters\.safetensors"):
        candelabra.load(folder)
    write_checksums(folder)
    with pytest.raises(BundleError, match=r"adapters\.safetensors: missing"):
        candelabra.load(folder)


def test_the_base_is_stored_once(bundle: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = bundle
    config = json.loads((folder / "config.json").read_text())
    assert config["adapter"] == LORA
    files = {file.name: file.stat().st_size for file in folder.rglob("*.safetensors")}
    assert files["adapters.safetensors"] < files["model.safetensors"] / 20
