from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from helpers.command_line import python
from helpers.stand_ins import write_data

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_ratios_are_those_of_the_scripts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    table = importlib.import_module("one_table")
    sweeps = [{"one without": 10.0, "sweep": 40.0}]
    kept = {"ratios": {"half": [19.0, 21.0, 20.0]}, "sweeps": sweeps, "settings": {"trials": "20"}}
    sides = {"local": [{"seconds": 4.0}], "basic": [{"seconds": 6.0}]}
    embedded = {"results": {"imdb": {"processor_ratio": {"turns": [0.5, 0.4]}}}}
    step = {"ratios": [1.5], "share": 0.61, "peak_rss_mib": 2127.4}
    rows = [
        *table.training({"tables": {"reviews": {"Trainer": step}}}),
        *table.frozen(kept),
        *table.several({"turns": sides}),
        *table.embedding(embedded),
    ]
    table.print_table(rows)
    assert capsys.readouterr().out.splitlines()[3:] == [
        "| train reviews | Trainer | 1.50 | 61% | 2,127 |",
        "| epoch, frozen encoder | nothing kept | 20.00 (19.00 to 21.00) |  |  |",
        "| 20 trials, frozen encoder | one trial without, times all | 5.00 |  |  |",
        "| sweep of short trials, seconds | one at a time | 1.50 |  |  |",
        "| embed imdb | sentence-transformers | 2.25 (2.00 to 2.50) |  |  |",
    ]


@pytest.mark.slow
def test_every_part_ends_in_the_table(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    labels = {"imdb": ["NEGATIVE", "POSITIVE"], "mit_movie_trivia": ["O", "B-Actor", "I-Actor"]}
    for task, names in labels.items():
        (data / task / "labels.json").write_text(json.dumps(names))
    given = ["--data", str(data), "--quick", "--part=sweeps.py", "--part=predict_speed.py"]
    done = python(str(BENCHMARKS / "one_table.py"), *given, folder=tmp_path)
    assert done.status == 0, done.err
    works = {line.split(" | ")[0] for line in done.out.splitlines()}
    assert {"| predict imdb", "| sweep of short trials, seconds"} <= works
