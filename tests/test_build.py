from __future__ import annotations

import math

import pytest
import torch

from candelabra.build import module, objectives
from candelabra.data.loading import TaskData
from candelabra.errors import ConfigError
from candelabra.model.crf import CrfHead
from candelabra.model.multilabel import MultiLabelHead
from candelabra.model.multitask import MultiTaskModel
from candelabra.model.pooling import FunctionPooling, mean
from candelabra.objective.losses import class_balanced
from toys import tagged, tiny

LABELS = {"movie": ["O", "B-Actor", "I-Actor"]}
TASK = {
    "loss": {"_target_": "candelabra.objective.losses.cross_entropy", "_partial_": True},
    "metrics": {"_target_": "candelabra.metrics.spans.SpanMetrics", "_partial_": True},
}


def test_main_metric_is_one_of_the_metrics() -> None:
    found = objectives({"movie": {**TASK, "main_metric": "f1_strict"}}, LABELS)["movie"]
    assert found.main_metric == "f1_strict"
    assert not found.metrics.update_called


def test_another_main_metric_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"tasks\.movie\.main_metric .*'f2'; did you mean 'f1'"):
        objectives({"movie": {**TASK, "main_metric": "f2"}}, LABELS)


def test_a_loss_that_takes_counts_gets_those_of_its_task() -> None:
    loss = {**TASK["loss"], "_target_": "candelabra.objective.losses.class_balanced"}
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


def test_a_loss_that_does_not_fit_its_head_is_refused_before_training() -> None:
    smoothing = {**TASK["loss"], "label_smoothing": 0.1}
    heads = {"movie": CrfHead(16, LABELS["movie"])}
    built = MultiTaskModel(tiny(), heads, pooling=FunctionPooling(mean))
    data = {"movie": TaskData({"train": tagged([(["a"], [0])])}, LABELS["movie"], {}, {})}
    columns = {"words": "tokens", "tags": "tags"}
    cfg = {"tasks": {"movie": {**TASK, "columns": columns, "loss": smoothing, "main_metric": "f1"}}}
    with pytest.raises(ConfigError, match=r"tasks\.movie\.loss: a CRF head .* label_smoothing 0"):
        module(cfg, built, data, 1)


def test_a_head_that_learns_from_another_column_is_refused_before_training() -> None:
    heads = {"movie": MultiLabelHead(16, LABELS["movie"])}
    built = MultiTaskModel(tiny(), heads, pooling=FunctionPooling(mean))
    data = {"movie": TaskData({"train": tagged([(["a"], [0])])}, LABELS["movie"], {}, {})}
    cfg = {
        "tasks": {"movie": {**TASK, "columns": {"text": "t", "label": "l"}, "main_metric": "f1"}}
    }
    with pytest.raises(
        ConfigError, match=r"movie\.head is a MultiLabelHead, which learns from labe"
    ):
        module(cfg, built, data, 1)
