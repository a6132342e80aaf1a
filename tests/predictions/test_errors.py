"""Predictions in the order of their errors, read from a file as a run writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from candelabra.predictions.errors import worst_first
from candelabra.predictions.reading import read_rows

LINES: dict[str, tuple[list[tuple[Any, Any]], list[int]]] = {
    "numbers": ([(1.0, {"number": 1.1}), (1.0, {"number": 3.0})], [1, 0]),
    # Row 2 has the highest similarity and the lowest score, on other scales.
    "similarities": (
        [(0.9, {"similarity": 0.2}), (0.5, {"similarity": 0.1}), (0.1, {"similarity": 0.3})],
        [2, 0, 1],
    ),
    "triplets": (
        [
            (1.0, {"similarity": 0.9, "to_negative": 0.1}),
            (1.0, {"similarity": 0.1, "to_negative": 0.9}),
        ],
        [1, 0],
    ),
    "labels": (
        [
            (["A"], {"labels": ["A"], "probabilities": {"A": 0.6, "B": 0.1}}),
            (["A", "B"], {"labels": [], "probabilities": {"A": 0.1, "B": 0.1}}),
        ],
        [1, 0],
    ),
    # A tie is an error too, as in the accuracy of triplets.
    "ties of triplets": (
        [
            (1.0, {"similarity": 0.9, "to_negative": 0.1}),
            (1.0, {"similarity": 0.5, "to_negative": 0.5}),
        ],
        [1],
    ),
    "names with a similarity": (
        [("same", {"similarity": 0.2}), ("other", {"similarity": 0.1})],
        [0, 1],
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_the_worst_rows_come_first(case: str, tmp_path: Path) -> None:
    pairs, order = LINES[case]
    lines = [{"row": row, "label": a, "prediction": b} for row, (a, b) in enumerate(pairs)]
    (tmp_path / "predictions").mkdir()
    file = tmp_path / "predictions" / "task.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    rows = read_rows(tmp_path, "task")
    assert rows is not None
    assert [each.place for each in worst_first(rows)][: len(order)] == order
    wrong = [each.place for each in worst_first(rows) if each.size > 0]
    assert wrong == order[: len(wrong)]
