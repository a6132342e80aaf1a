"""Damaged indexes: one message, or the texts and vectors as they were saved."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from candelabra.search.approximate import build_graph
from candelabra.search.exact import Corpus
from candelabra.search.index import load_index, save_index
from helpers.corpora import numbered
from helpers.fuzzing import changed_json, mutated, one_bit, one_message_or_none

ROWS = 20
ABOUT = "index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    corpus, kept = numbered(ROWS), tmp_path / "index"
    assert corpus.vectors_ND is not None
    graph = build_graph(corpus.vectors_ND)
    whole = Corpus(corpus.texts, corpus.vectors_ND, graph)
    save_index(kept, whole, origin={"name": "ours"}, source="x.txt")
    return kept


def use(folder: Path, case: object) -> None:
    right = numbered(ROWS)
    for approximate in (False, True):
        with one_message_or_none((case, approximate)) as messages:
            found = load_index(folder, approximate=approximate)
            assert list(found.texts) == list(right.texts)
            vectors = found.graph.reconstruct_n(0, ROWS) if found.graph else found.vectors_ND
            np.testing.assert_array_equal(vectors, right.vectors_ND)
        assert not messages or str(folder) in messages[0]


def fuzz(folder: Path, cases: int) -> None:
    random = Random(cases)
    good = {file: file.read_bytes() for file in sorted(folder.iterdir())}
    for case in range(cases):
        file = random.choice(list(good))
        match case % 3:
            case 0:
                file.write_bytes(one_bit(good[file], random))
            case 1:
                file.write_bytes(mutated(good[file], random))
            case _:
                file = folder / ABOUT
                changed, _ = changed_json(json.loads(good[file]), random)
                file.write_text(json.dumps(changed))
        use(folder, (case, file.name))
        file.write_bytes(good[file])


def test_a_damaged_index(folder: Path) -> None:
    fuzz(folder, 45)


@pytest.mark.slow
def test_many_damaged_indexes(folder: Path) -> None:
    fuzz(folder, 500)


@pytest.mark.parametrize("about", ["[]", "{", "null", "[" * 100_000, '{"format": ' + "9" * 5000])
def test_an_index_that_is_no_json_object(folder: Path, about: str) -> None:
    (folder / ABOUT).write_text(about)
    use(folder, about[:20])
