from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.slow
def test_recall_is_counted_where_a_setting_can_be_taken(bench: Callable[..., Any]) -> None:
    words = ["--texts", "8", "--queries", "6", "--efforts", "5", "20", "300"]
    found = bench("search_recall.py", *words)
    results = found["results"]
    assert (results["texts"], results["queries"]) == (8, 6)
    recall = results["recall"]
    assert list(recall) == ["5", "20", "300", "default"]
    assert recall["5"] == {"10": None, "100": None}
    assert recall["20"]["100"] is None
    # So small a graph is searched whole.
    for effort, hits in (("20", "10"), ("300", "10"), ("300", "100"), ("default", "10")):
        assert recall[effort][hits] == 1
    assert [one["queries"] for one in results["pace"]] == [1, 6]
    for one in results["pace"]:
        assert one["exact"] > 0
        assert one["graph"] > 0
    assert "faiss-cpu" in found["versions"]
