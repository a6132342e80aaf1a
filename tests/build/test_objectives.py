from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from candelabra.build.objectives import check_monitors, check_objectives, objectives
from candelabra.config.validation import training_tasks
from candelabra.errors import ConfigError
from candelabra.losses.classification import class_balanced
from candelabra.model.heads.base import Head
from candelabra.model.heads.crf import CrfHead
from candelabra.model.heads.embedding import EmbeddingHead
from candelabra.model.heads.multilabel import MultiLabelHead
from candelabra.model.pooling import AttentionPooling
from helpers.small_models import small_model
from helpers.toys import tiny

WORDS = {"words": "tokens", "tags": "tags"}
PAIRS = {"anchor": "a", "positive": "p"}
LABELS = {"movie": ["O", "B-Actor", "I-Actor"]}
TASK = {
    "loss": {"_target_": "candelabra.losses.cross_entropy", "_partial_": True},
    "metrics": {"_target_": "candelabra.metrics.SpanMetrics", "_partial_": True},
}


def test_main_metric_is_one_of_the_metrics() -> None:
    found = objectives({"movie": {**TASK, "main_metric": "f1_strict"}}, LABELS)["movie"]
    assert found.main_metric == "f1_strict"
    assert not found.metrics.update_called


def test_another_main_metric_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"tasks\.movie\.main_metric .*'f2'; did you mean 'f1'"):
        objectives({"movie": {**TASK, "main_metric": "f2"}}, LABELS)


def test_metrics_that_do_not_fit_the_labels_name_the_task() -> None:
    with pytest.raises(ConfigError, match=r"^tasks\.movie\.metrics: span metrics need labels"):
        objectives({"movie": {**TASK, "main_metric": "f1"}}, {"movie": ["O"]})


def test_a_monitor_is_one_of_the_metrics_of_its_task() -> None:
    found = objectives({"movie": {**TASK, "main_metric": "f1"}}, LABELS)
    known = (
        "val/movie/f1_strict",
        "val/movie/f1/Actor",
        "val/score",
        "train/movie/loss",
        "test/score",
    )
    check_monitors({f"key.{place}": metric for place, metric in enumerate(known)}, found)
    with pytest.raises(ConfigError, match=r"callbacks\.best\.monitor must be one of val/movie/f1,"):
        check_monitors({"callbacks.best.monitor": "val/movie/f2"}, found)
    with pytest.raises(ConfigError, match=r"did you mean 'val/movie/f1_strict'"):
        check_monitors({"callbacks.best.monitor": "val/movie/f1_strct"}, found)
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.objectives\[0\] must be a metric of"):
        check_monitors({"hydra.sweeper.objectives[0]": "test/movies/f1"}, found)


def test_a_loss_that_takes_counts_gets_those_of_its_task() -> None:
    loss = {**TASK["loss"], "_target_": "candelabra.losses.class_balanced"}
    task = {**TASK, "loss": loss, "main_metric": "f1"}
    found = objectives({"movie": task}, LABELS, {"movie": [90, 9, 1]})["movie"]
    logits, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    expected = class_balanced(logits, targets, counts=[90, 9, 1])
    assert torch.equal(found.loss(logits, targets), expected)


def test_a_loss_that_takes_none_gets_none() -> None:
    task = {**TASK, "main_metric": "f1"}
    found = objectives({"movie": task}, LABELS, {"movie": [90, 9, 1]})["movie"]
    loss = found.loss(torch.zeros(1, 3), torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(3))


def fitted(
    head: Head, *, accumulate: int = 1, pooling: nn.Module | None = None, **task: Any
) -> None:
    """Raises where a task `movie` of this head cannot be trained."""
    own = {} if pooling is None else {"movie": pooling}
    built = small_model({"movie": lambda _: head}, tiny(), poolings=own)
    tasks = {"movie": {**TASK, "columns": WORDS, "main_metric": "f1", **task}}
    check_objectives(
        objectives(tasks, LABELS, {"movie": [1, 0, 0]}),
        built,
        tasks=tasks,
        learns=training_tasks(tasks),
        accumulate=accumulate,
    )


def loss(name: str) -> dict[str, Any]:
    return {"_target_": f"candelabra.losses.embeddings.{name}", "_partial_": True}


def test_a_loss_that_does_not_fit_its_head_is_refused_before_training() -> None:
    smoothing = {**TASK["loss"], "label_smoothing": 0.1}
    with pytest.raises(ConfigError, match=r"tasks\.movie\.loss: a CRF head .* label_smoothing 0"):
        fitted(CrfHead(16, LABELS["movie"]), loss=smoothing)


def test_a_head_that_learns_from_other_columns_is_refused_before_training() -> None:
    with pytest.raises(
        ConfigError, match=r"movie\.head is MultiLabelHead, which learns from text, labe"
    ):
        fitted(MultiLabelHead(16, LABELS["movie"]), columns={"text": "t", "label": "l"})


def test_the_shape_of_the_data_decides_which_losses_fit() -> None:
    fitted(EmbeddingHead(16), columns=PAIRS, loss=loss("ranking"))
    with pytest.raises(
        ConfigError,
        match=r"movie\.loss: this loss learns from sentence1, sentence2, score; the columns are "
        r"anchor, positive; EmbeddingHead .* takes .*loss=ranking, mega_batch_margin$",
    ):
        fitted(EmbeddingHead(16), columns=PAIRS, loss=loss("cosent"))


def test_a_step_whose_examples_are_compared_is_not_cut() -> None:
    with pytest.raises(ConfigError, match=r"accumulate_grad_batches=2 would cut it into parts"):
        fitted(EmbeddingHead(16), columns=PAIRS, loss=loss("ranking"), accumulate=2)
    triplets = {**PAIRS, "negative": "n"}
    fitted(EmbeddingHead(16), columns=triplets, loss=loss("triplet"), accumulate=2)


def test_what_never_learns_has_nothing_to_learn() -> None:
    judge = {"columns": PAIRS, "loss": loss("ranking"), "train": False}
    fitted(EmbeddingHead(16), **judge)
    fitted(EmbeddingHead(16), **judge, accumulate=2)
    with pytest.raises(ConfigError, match=r"movie\.train=false: its head, or its own pooling"):
        fitted(CrfHead(16, LABELS["movie"]), train=False)
    with pytest.raises(ConfigError, match=r"movie\.train=false: its head, or its own pooling"):
        fitted(EmbeddingHead(16), pooling=AttentionPooling(16), **judge)


def test_texts_in_one_sequence_have_no_embeddings_to_compare() -> None:
    columns = {"sentence1": "a", "sentence2": "b", "label": "l"}
    with pytest.raises(ConfigError, match=r"movie\.cross: EmbeddingHead compares texts that"):
        fitted(EmbeddingHead(16), columns=columns, loss=loss("batch_hard"), cross=True)
