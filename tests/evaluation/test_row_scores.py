from __future__ import annotations

import math
from typing import Any

import pytest

from candelabra.evaluation.row_scores import row_scores


def rows(*pairs: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [
        {"row": row, "label": label, "prediction": said} for row, (label, said) in enumerate(pairs)
    ]


def span(kind: str, start: int) -> dict[str, Any]:
    return {"text": "word", "type": kind, "start": start, "end": start + 4}


SAID = {
    "accuracy": rows(("A", {"label": "A"}), ("A", {"label": "B"}), (None, {"label": "B"})),
    "accuracy, triplets": rows(
        (0, {"similarity": 0.5, "to_negative": 0.4}), (0, {"similarity": 0.5, "to_negative": 0.5})
    ),
    "f1": rows(
        ([span("A", 0), span("B", 9)], [{**span("A", 0), "score": 0.9}, span("A", 9)]),
        ([], []),
    ),
    "f1_micro": rows((["x", "y"], {"labels": ["y"], "probabilities": {}}), ([], {"labels": ["x"]})),
    "spearman": rows(
        (1.0, {"number": 3.0}),
        (2.0, {"number": 5.0}),
        (math.nan, {"number": 0.0}),
        (3.0, {"number": 4.0}),
    ),
    "pearson": rows(
        (0.1, {"similarity": 0.2}), (0.5, {"similarity": 0.6}), (0.7, {"similarity": 0.8})
    ),
}
SCORES = {"accuracy": 0.5, "accuracy, triplets": 0.5, "f1": 0.5, "f1_micro": 0.5}
SCORES |= {"spearman": 0.5, "pearson": 1.0}


@pytest.mark.parametrize("case", SAID)
def test_each_shape_of_answer(case: str) -> None:
    found = row_scores(case.partition(",")[0], SAID[case])
    assert found is not None
    assert found.value == pytest.approx(SCORES[case])


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("f1_macro", SAID["accuracy"]),
        ("accuracy", rows(("A", None))),
        ("accuracy", rows()),
        ("f1", rows(("A", {"label": "A"}))),
        ("spearman", rows(("A", {"label": "A"}))),
    ],
)
def test_what_rows_do_not_tell(metric: str, said: list[dict[str, Any]]) -> None:
    assert row_scores(metric, said) is None
