from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from candelabra.data.mixing.arranging import PER_LABEL, apart, together
from candelabra.data.mixing.order import Draws, draw
from candelabra.records import Examples
from helpers.toys import sentences


def draws_of(size: int, step: int, *, seed: int = 0, num_steps: int | None = None) -> Draws:
    counts = np.full(num_steps or -(-size // step), step)
    return draw(np.full(size, 5), counts, np.random.default_rng(seed))


def pairs(anchors: list[str], positives: list[str]) -> Examples:
    return Examples((anchors, positives), [1.0] * len(anchors), None, list(range(len(anchors))))


def clashes(draws: Draws, examples: Examples) -> int:
    """Rows too many of the texts that stand in more than one row of a step."""
    found = 0
    for step in range(len(draws.counts)):
        rows = [{column[row].lower() for column in examples.texts} for row in draws.step(step)]
        found += sum(count - 1 for count in Counter(t for row in rows for t in row).values())
    return found


def arranged(draws: Draws, examples: Examples, arrange: object = apart) -> Draws:
    found = arrange(draws, examples=examples, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(found.bounds, draws.bounds)
    assert sorted(found.rows.tolist()) == sorted(draws.rows.tolist())
    return found


@given(st.integers(0, 1000), st.integers(2, 12))
@example(775, 10)  # one of its texts is in 13 rows, and there are 12 steps
def test_a_text_is_twice_in_a_step_only_if_it_has_more_rows_than_steps(
    seed: int, step: int
) -> None:
    rng = np.random.default_rng(seed)
    anchors = [f"premise {i}" for i in rng.integers(0, 60, 120)]
    examples = pairs(anchors, [f"text {i}" for i in range(120)])
    draws = draws_of(120, step, seed=seed)
    too_many = sum(max(0, n - len(draws.counts)) for n in Counter(anchors).values())
    assert clashes(arranged(draws, examples), examples) == too_many


def test_a_text_clashes_across_columns_and_by_more_than_case() -> None:
    examples = pairs([f"a {i}" for i in range(8)], [f"A  {(i + 1) % 8}" for i in range(8)])
    draws = Draws(np.arange(8), np.array([0, 4, 8]), 8)
    found = arranged(draws, examples)
    for step in range(2):
        rows = set(found.step(step).tolist())
        assert not any((row + 1) % 8 in rows for row in rows)


def test_steps_that_hold_nearly_every_text_are_parted_too() -> None:
    """As with the 77 labels of Banking77 in steps of 60."""
    rng = np.random.default_rng(0)
    examples = pairs([f"a {i}" for i in rng.integers(0, 77, 4000)], [str(i) for i in range(4000)])
    draws = draws_of(4000, 60)
    assert clashes(draws, examples) > 500
    assert clashes(arranged(draws, examples), examples) == 0


def test_what_cannot_be_parted_stays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    examples = pairs(["same"] * 6, [f"text {i}" for i in range(6)])
    draws = draws_of(6, 3)
    np.testing.assert_array_equal(arranged(draws, examples).rows, draws.rows)
    assert "6 of 6 rows stay in a step with a duplicate text" in caplog.text


def test_distinct_texts_stay_where_they_are() -> None:
    examples = pairs([f"a {i}" for i in range(50)], [f"b {i}" for i in range(50)])
    draws = draws_of(50, 8)
    np.testing.assert_array_equal(arranged(draws, examples).rows, draws.rows)


@pytest.mark.parametrize("num_steps", [10, 25])
def test_labels_stand_together(num_steps: int) -> None:
    labels = [i % 20 for i in range(160)]
    examples = sentences([f"text {i}" for i in range(160)], labels)
    draws = draws_of(160, 16, num_steps=num_steps)
    found = arranged(draws, examples, together)
    for step in range(num_steps):
        counts = Counter(labels[row] for row in found.step(step))
        assert len(counts) >= 2
        assert sum(count for count in counts.values() if count == 1) <= 2  # cut by the step's ends
    for begin in range(0, len(found.rows), 160):
        of_pass = found.rows[begin : begin + 160].tolist()
        assert len(set(of_pass)) == len(of_pass), "all are drawn once before one is drawn again"
    other = together(draws, examples=examples, rng=np.random.default_rng(2))
    assert other.rows.tolist() != found.rows.tolist()


def test_no_label_is_left_with_a_single_text() -> None:
    sizes = range(1, 3 * PER_LABEL)
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    examples = sentences([str(i) for i in range(len(labels))], labels)
    found = arranged(draws_of(len(labels), len(labels)), examples, together)
    runs, seen = [], [labels[row] for row in found.rows]
    for label in seen:
        if runs and runs[-1][0] == label:
            runs[-1][1] += 1
        else:
            runs.append([label, 1])
    assert [label for label, length in runs if length == 1] == [0]


def test_a_task_that_a_plan_leaves_out() -> None:
    draws = Draws(np.empty(0, dtype=np.int64), np.zeros(4, dtype=np.int64), 3)
    examples = sentences(["a", "b", "c"], [0, 1, 0])
    assert len(arranged(draws, examples, together).rows) == 0
    assert len(arranged(draws, pairs(["a", "b", "c"], ["d", "e", "f"])).rows) == 0
