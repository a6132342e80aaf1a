from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from candelabra.bundle.bundle import Bundle
from candelabra.exporting.card import card, source, table
from candelabra.exporting.formats import ExportResult
from candelabra.model.heads.classification import ClassificationHead
from candelabra.model.heads.embedding import EmbeddingHead
from helpers.exports import MOODS, bundle_of
from helpers.small_models import WIDTH


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"_target_": "x.Hub", "path": "a/b", "revision": "c0ffee"}, "a/b (c0ffee)"),
        (
            {
                "_target_": "x.FilesOrHub",
                "data_dir": "/home/me/secret",
                "files": {"train": "imdb/train.parquet"},
                "hub": {"path": "stanfordnlp/imdb", "revision": "main"},
            },
            "imdb/train.parquet",
        ),
        (
            {"_target_": "x.FilesOrHub", "data_dir": None, "hub": {"path": "stanfordnlp/imdb"}},
            "stanfordnlp/imdb",
        ),
        (
            {"files": {"train": ["a/train.parquet", "b/train.parquet"]}},
            "a/train.parquet, b/train.parquet",
        ),
        (
            {
                "_target_": "x.Files",
                "folder": "/home/me",
                "train": "/home/me/a.csv",
                "test": "b.csv",
            },
            "a.csv, b.csv",
        ),
        ({"_target_": "x.Sample"}, "Sample"),
        ({}, "not stated"),
    ],
)
def test_data_is_named_without_its_place(node: dict[str, Any], said: str) -> None:
    assert source(node) == said


def made(**metrics: float) -> Bundle:
    bundle = bundle_of({"mood": ClassificationHead(WIDTH, MOODS)})
    bundle.config.tasks["mood"]["main_metric"] = "accuracy"
    bundle.metrics.update({key.replace("__", "/"): value for key, value in metrics.items()})
    return bundle


def told(bundle: Bundle) -> str:
    written = ExportResult("lib", "text-classification", 'open("{model}")', ["A limit."])
    kinds = {"mood": "classification"}
    return card(bundle, written, name="films", model="me/films", kinds=kinds)


def test_scores_are_those_of_the_bundle() -> None:
    text = told(made(val__mood__accuracy=0.5, test__mood__accuracy=0.25, val__score=0.5))
    assert "| mood | accuracy | 0.5000 | 0.2500 |" in text
    assert "value: 0.25" in text
    assert 'open("me/films")' in text
    assert "- A limit." in text


def test_scores_on_a_part_are_no_scores_of_the_data() -> None:
    bundle = made(val__mood__accuracy=0.5, test__mood__accuracy=0.75)
    assert "value: 0.75" in told(bundle)
    assert "Not on the whole split" not in told(bundle)
    bundle.config = replace(bundle.config, judged_by_part={"test": 2})
    text = told(bundle)
    assert "value: 0.75" not in text
    assert "Not on the whole split" in text
    assert "- mood, test: the first batches only (trainer.limit_test_batches=2)" in text
    assert "mood, validation" not in text
    bundle.config = replace(bundle.config, judged_by_part={})
    bundle.config.tasks["mood"]["limit"] = {"train": 9, "validation": 5, "test": None}
    text = told(bundle)
    assert "value: 0.75" in text
    assert "- mood, validation: up to 5 examples, drawn by a seed" in text


def test_no_scores_are_no_scores() -> None:
    text = told(made())
    assert "None are stored in the bundle." in text
    assert "model-index" not in text


def test_validation_is_no_test() -> None:
    text = told(made(val__mood__accuracy=0.5))
    assert "| task | metric | validation |" in text
    assert "model-index" not in text


def test_cells_cannot_break_a_table() -> None:
    assert table(["a"], [["x | y\nz"]]) == "| a |\n| --- |\n| x   y z |"


def test_what_only_judged_it_is_not_what_it_learnt() -> None:
    bundle = bundle_of({"near": EmbeddingHead(WIDTH), "mood": ClassificationHead(WIDTH, MOODS)})
    bundle.config.tasks["near"]["train"] = False
    written = ExportResult("lib", "sentence-similarity", "code", [])
    kinds = {"near": "embedding", "mood": "classification"}
    text = card(bundle, written, name="films", model="me/films", kinds=kinds)
    assert "on: mood.\n" in text
    assert "| near | embedding, only evaluated | - |" in text
