from __future__ import annotations

import gc
import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("reading")


def test_all_sides_read_the_same_rows(reading: Any, tmp_path: Path) -> None:
    for kind, sides in reading.SIDES.items():
        file = reading.write(tmp_path, kind, 30, 0)
        right, labels = reading.ours(file)
        names = reading.TAGS if kind == "conll" else reading.LABELS
        assert gc.isenabled()
        for read in sides.values():
            texts, found = read(file)
            if kind == "conll":
                assert [" ".join(words) for words in texts] == right
                assert [[names.index(tag) for tag in row] for row in found] == labels
            else:
                assert texts == right
                assert [names.index(label) for label in found] == labels
