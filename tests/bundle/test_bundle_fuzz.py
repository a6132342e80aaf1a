"""Fuzzing of stored folders: one message, or a model that answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random

import pytest

from candelabra.bundle.bundle import load
from candelabra.bundle.checksums import CHECKSUMS, write_checksums
from helpers.bundles import made
from helpers.fuzzing import changed_json, mutated, one_message_or_none

JSON = (
    "config.json",
    "labels.json",
    "metrics.json",
    "encoder/config.json",
    "encoder/tokenizer_config.json",
    "encoder/tokenizer.json",
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    made("attention").save(tmp_path / "bundle")
    return tmp_path / "bundle"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def use(folder: Path, case: object) -> None:
    """Open the bundle as a stranger would have made it, and use it."""
    if (folder / CHECKSUMS).is_file() and CHECKSUMS not in str(case):
        write_checksums(folder)
    with one_message_or_none(case) as messages:
        bundle = load(folder)
        (answer,) = bundle.predict("a film with Michael Douglas")
        assert math.isclose(sum(answer["mood"]["probabilities"].values()), 1, abs_tol=1e-4)
        assert bundle.embed("a film").shape == (1, 16)
    assert not messages or "\n" not in messages[0]


def fuzz_values(folder: Path, cases: int) -> None:
    random, good = Random(cases), contents(folder)
    for case in range(cases):
        name = JSON[case % len(JSON)] if case % 10 else "config.json"
        changed, what = changed_json(json.loads(good[name]), random)
        (folder / name).write_text(json.dumps(changed))
        use(folder, (case, name, what))
        (folder / name).write_bytes(good[name])


def fuzz_files(folder: Path, cases: int) -> None:
    """Whole files are changed: bytes of them, or they are gone, folders, or twice as large."""
    random, good = Random(cases), contents(folder)
    for case in range(cases):
        name = random.choice(sorted(good))
        file = folder / name
        match random.randrange(5):
            case 0:
                file.unlink()
            case 1:
                file.unlink()
                file.mkdir()
            case 2:
                file.write_bytes(good[random.choice(sorted(good))])
            case _:
                file.write_bytes(mutated(good[name], random))
        use(folder, (case, name))
        if file.is_dir():
            file.rmdir()
        file.write_bytes(good[name])


def test_changed_values(copy: Path) -> None:
    fuzz_values(copy, 20)


def test_changed_files(copy: Path) -> None:
    fuzz_files(copy, 20)


@pytest.mark.slow
def test_many_changed_values(copy: Path) -> None:
    fuzz_values(copy, 300)


@pytest.mark.slow
def test_many_changed_files(copy: Path) -> None:
    fuzz_files(copy, 100)
