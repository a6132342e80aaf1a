from __future__ import annotations

import json
from pathlib import Path

import pytest

from candelabra.study.expectation import earlier_variance, expected_variance
from candelabra.study.power import smallest_detectable
from candelabra.study.result import compare_arms
from helpers.study_folders import study_of, write_arms


def test_rows_alone_give_the_known_half_widths() -> None:
    """25,000 reviews .28 points, 1,953 questions 1.15 points of F1 (95%)."""
    for metric, num_rows, points in (("accuracy", 25_000, 0.28), ("f1", 1953, 1.15)):
        variance = expected_variance(metric, num_seeds=10**6, num_rows=num_rows)
        # The guess is of one score at .9 to .95, or of a difference on the same rows.
        assert 100 * 1.96 * variance.rows**0.5 == pytest.approx(points, rel=0.35)


def test_more_seeds_and_rows_detect_smaller_differences() -> None:
    sizes = [(5, 2000), (10, 2000), (10, 8000)]
    found = [
        smallest_detectable(expected_variance("f1", num_seeds=seeds, num_rows=rows))
        for seeds, rows in sizes
    ]
    assert found == sorted(found, reverse=True)


def test_an_earlier_study_replaces_the_guesses(tmp_path: Path) -> None:
    result = compare_arms(study_of(tmp_path, write_arms(tmp_path)))
    file = tmp_path / "study.json"
    file.write_text(json.dumps(result.plain()))
    found = earlier_variance(file, "movie")
    assert found is not None
    own = max(
        one.estimate.variance.total for one in result.contrasts["movie"].values() if one.estimate
    )
    assert found.total == pytest.approx(own, rel=1e-4)
    more = expected_variance("f1", num_seeds=9, num_rows=found.num_rows, earlier=found)
    assert more.num_seeds == 9
    assert more.total < found.total
    assert earlier_variance(file, "other") is None
    assert earlier_variance(tmp_path / "absent.json", "movie") is None
