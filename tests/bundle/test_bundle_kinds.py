"""A bundle with a head of each kind and layer mixes: saved, opened, asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from candelabra.bundle.bundle import Bundle, load
from candelabra.config.targets import conf_dir
from candelabra.data.collate import TokenizedSplit
from candelabra.model.backbones import Tiny
from candelabra.training.callbacks.predictions import PredictionWriter
from helpers.bundles import config_of
from helpers.kinds import LABELS, kinds_model, kinds_module, kinds_splits
from helpers.toys import Splits, toy_data, toy_trainer

HEADS = {"mood": "linear", "who": "crf", "has": "multilabel", "length": "regression"}
OVER_PAIRS = {"same": "pair"} | dict.fromkeys(("alike", "next", "lie"), "embedding")
TEXTS = ["which film of michael douglas has the lovely and", "awful", "a film " * 40]


def head_node(name: str) -> dict[str, Any]:
    lines = (conf_dir() / "head" / f"{name}.yaml").read_text().splitlines()
    (target,) = (line.split(": ")[1] for line in lines if line.startswith("_target_"))
    return {"_target_": target, "_partial_": True}


@pytest.fixture(scope="module")
def splits() -> Splits:
    return kinds_splits(Tiny(max_length=32).tokenizer())


@pytest.fixture(scope="module")
def made() -> Bundle:
    """Random weights that are nobody's default."""
    model = kinds_model()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    tasks = {
        task: {"head": head_node(name), "layer_mix": task in model.mixes}
        for task, name in (HEADS | OVER_PAIRS).items()
    }
    pooling = {"_target_": "candelabra.model.pooling.mean", "_partial_": True}
    tokenizer = Tiny(max_length=32).tokenizer()
    config = config_of(pooling, tasks, tokenizer)
    return Bundle(model.eval(), tokenizer, config, LABELS, {})


def test_round_trip_keeps_every_bit(made: Bundle, tmp_path: Path) -> None:
    made.save(tmp_path / "bundle")
    opened = load(tmp_path / "bundle")
    before, after = made.model.state_dict(), opened.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert opened.predict(TEXTS) == made.predict(TEXTS)


def test_answers_of_each_kind(made: Bundle) -> None:
    for text, answer in zip(TEXTS, made.predict(TEXTS), strict=True):
        assert set(answer) == {"text", *HEADS}
        assert set(answer["has"]["probabilities"]) == set(LABELS["has"])
        assert answer["has"]["labels"] == [
            name for name, p in answer["has"]["probabilities"].items() if p > 0.5
        ]
        assert isinstance(answer["length"]["number"], float)
        assert all(text[s["start"] : s["end"]] == s["text"] for s in answer["who"])
        assert all(0 <= s["score"] <= 1 for s in answer["who"])
        assert json.loads(json.dumps(answer)) == answer


def test_predictions_stand_beside_the_labels(splits: Splits, tmp_path: Path) -> None:
    tested = {task: each["test"] for task, each in splits.items()}
    writer = PredictionWriter(tmp_path, tested)
    toy_trainer(callbacks=[writer]).test(
        kinds_module(), datamodule=toy_data(splits), verbose=False, weights_only=True
    )
    assert not (tmp_path / "lie.jsonl").exists()  # of a single text an embedding says nothing
    del tested["lie"]
    for task, split in tested.items():
        rows = [json.loads(line) for line in (tmp_path / f"{task}.jsonl").read_text().splitlines()]
        assert [row["row"] for row in rows] == split.examples.rows
        assert_labels(task, rows, split)


def assert_labels(task: str, rows: list[dict[str, Any]], split: TokenizedSplit) -> None:
    for row, label in zip(rows, split.examples.labels, strict=True):
        if task == "has":
            names = zip(LABELS[task], label, strict=True)
            assert row["label"] == [name for name, holds in names if holds == 1]
            assert set(row["prediction"]) == {"labels", "probabilities"}
        elif task == "length":
            assert row["label"] == label
            assert set(row["prediction"]) == {"number"}
        elif task in ("alike", "next"):
            assert row["label"] == label
            assert set(row["prediction"]) == {"similarity"}


def test_a_bundle_is_shown_in_one_line(made: Bundle) -> None:
    assert repr(made) == f"Bundle(tasks={list(made.labels)}, encoder='bert')"
