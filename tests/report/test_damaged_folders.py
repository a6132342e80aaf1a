"""Damaged folders end in a page or in one message; `make test-all` tries more of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from candelabra.report.page import html_page
from candelabra.report.run_view import run_page
from candelabra.report.sweep_view import sweep_page
from candelabra.report.view import Page
from helpers.fuzzing import changed_json, mutated, one_message_or_none
from helpers.report_folders import write_run
from helpers.sweep_folders import write_sweep

View = Callable[[Path], Page]
CASES = [
    pytest.param(6, id="few"),
    pytest.param(200, id="many", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("num_cases", CASES)
def test_damaged_runs(tmp_path: Path, num_cases: int) -> None:
    folder = write_run(tmp_path, tasks=("mood", "movie", "alike"))
    files = ["run.json", "config.yaml", "metrics.json", "metrics.csv"]
    names = [*files, *(f"predictions/{task}.jsonl" for task in ("mood", "movie", "alike"))]
    _damage(folder, [folder / name for name in names], run_page, num_cases)


@pytest.mark.parametrize("num_cases", CASES)
def test_damaged_sweeps(tmp_path: Path, num_cases: int) -> None:
    folder = tmp_path / "sweep"
    write_sweep(folder)
    files = [folder / "sweep.csv", *sorted(folder.glob("[0-3]/*.json"))]
    files += sorted(folder.glob(".trials/*/00000[0-2].json"))
    _damage(folder, files, sweep_page, num_cases)


def _damage(folder: Path, files: list[Path], view: View, num_cases: int) -> None:
    for case in range(num_cases):
        random = Random(f"{num_cases} {case}")
        file = random.choice(files)
        before = file.read_bytes()
        file.write_bytes(_damaged(before, file.suffix, random))
        with one_message_or_none((case, file.name)):
            html_page("page", page=view(folder))
        file.write_bytes(before)


def _damaged(content: bytes, suffix: str, random: Random) -> bytes:
    """Change a value of a JSON file or line, or bytes of any file."""
    if suffix not in (".json", ".jsonl") or random.random() < 0.4:
        return mutated(content, random)
    lines = content.splitlines() if suffix == ".jsonl" else [content]
    place = random.randrange(len(lines))
    value, _ = changed_json(json.loads(lines[place]), random)
    lines[place] = json.dumps(value).encode()
    return b"\n".join(lines) + b"\n"
