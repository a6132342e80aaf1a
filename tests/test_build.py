from __future__ import annotations

import pytest

from candelabra.build import objectives
from candelabra.errors import ConfigError

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
