from __future__ import annotations

from random import Random

import pytest

from candelabra.predictions.rows import Kind, Span, TaskRows
from candelabra.report.calibration import NUM_BINS, calibration_of


def rows_of(confidences: list[float], right: list[bool]) -> TaskRows:
    labels = ["a" if each else "b" for each in right]
    probabilities = [{"a": each, "b": 1 - each} for each in confidences]
    size = len(right)
    return TaskRows(Kind.CLASS, range(size), labels, ["a"] * size, probabilities)


def test_the_error_is_the_weighted_distance_of_the_bins() -> None:
    random = Random(1)
    confidences = [random.random() for _ in range(500)] + [0.0, 0.1, 0.3, 0.7, 1.0]
    right = [random.random() < each**2 for each in confidences]
    found = calibration_of(rows_of(confidences, right))
    assert found is not None
    expected = 0.0
    for place in range(NUM_BINS):
        inside = [
            (each, hit)
            for each, hit in zip(confidences, right, strict=True)
            if place / 10 <= each < (place + 1) / 10 + (place == 9)
        ]
        distance = sum(hit for _, hit in inside) - sum(each for each, _ in inside)
        expected += abs(distance) / len(confidences)
    assert found.error == pytest.approx(expected, abs=1e-6)
    assert sum(found.counts) == 505
    weighted = zip(found.counts, found.confidences, found.accuracies, strict=True)
    by_hand = sum(count * abs(a - b) for count, a, b in weighted) / 505
    assert found.error == pytest.approx(by_hand, abs=1e-6)


def test_a_model_that_is_as_sure_as_right_has_no_error() -> None:
    found = calibration_of(rows_of([0.75] * 4, [True, True, True, False]))
    assert found is not None
    assert found.error == pytest.approx(0)


def test_entities_count_by_their_score() -> None:
    gold = [Span("Actor", 0, 4)]
    said = [Span("Actor", 0, 4, score=0.9), Span("Year", 5, 9, score=0.4)]
    found = calibration_of(TaskRows(Kind.SPANS, [0], [gold], [said]))
    assert found is not None
    assert (found.confidences, found.accuracies) == ([0.4, 0.9], [0.0, 1.0])
    assert found.error == pytest.approx((0.4 + 0.1) / 2)


def test_without_probabilities_there_is_none() -> None:
    assert calibration_of(TaskRows(Kind.CLASS, [0], ["a"], ["a"])) is None
    assert calibration_of(TaskRows(Kind.NUMBER, [0], [1.0], [2.0])) is None
