"""The benchmark scripts on a few made-up rows: do they run, and do they count what they say?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import python
from helpers.stand_ins import write_data

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LABELS = {"imdb": ["NEGATIVE", "POSITIVE"], "mit_movie_trivia": ["O", "B-Actor", "I-Actor"]}


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Any]:
    """(script, options) -> what the script wrote."""
    data = write_data(tmp_path / "data")
    for task, labels in LABELS.items():
        (data / task / "labels.json").write_text(json.dumps(labels))

    def run(script: str, *options: str) -> Any:
        output = tmp_path / "result.json"
        given = ["--data", str(data), "--model", "tiny", "--turns", "1", "--output", str(output)]
        done = python(str(BENCHMARKS / script), *given, *options, folder=tmp_path)
        assert done.status == 0, done.err
        return json.loads(output.read_text())

    return run
