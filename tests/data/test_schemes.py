"""Schemes of tags; seqeval, which reads each of them by itself, is the reference."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from candelabra.data.files.table import Table
from candelabra.data.loading import load_task
from candelabra.data.rows.tag_schemes import with_bio
from candelabra.data.schemes import recognized, to_bio
from candelabra.data.sources import Files
from candelabra.errors import DataError

REFERENCES = {"iob1": IOB1, "iobes": IOBES, "bilou": BILOU}
Spans = list[tuple[int, int, str]]


def written(spans: Spans, length: int, scheme: str) -> list[str]:
    """The tags of spans in a scheme, by its definition."""
    tags = ["O"] * length
    single, end = {"iobes": ("S", "E"), "bilou": ("U", "L")}.get(scheme, ("B", "I"))
    for number, (start, stop, kind) in enumerate(spans):
        for place in range(start, stop):
            tags[place] = f"I-{kind}"
        touches = number > 0 and spans[number - 1][1:] == (start, kind)
        if scheme != "iob1" or touches:
            tags[start] = f"B-{kind}"
        if scheme in ("iobes", "bilou"):
            tags[stop - 1] = f"{end}-{kind}"
            if stop == start + 1:
                tags[start] = f"{single}-{kind}"
    return tags


def drawn(seed: int) -> tuple[Spans, int]:
    generator, spans, place = random.Random(seed), [], 0
    length = generator.randint(1, 12)
    while place < length:
        stop = min(length, place + generator.randint(1, 3))
        if generator.random() < 0.6:
            spans.append((place, stop, generator.choice(["PER", "LOC"])))
        place = stop
    return spans, length


def entities(tags: list[str], scheme: type) -> Spans:
    found = Entities([tags], scheme).entities[0]
    return [(entity.start, entity.end, entity.tag) for entity in found]


@pytest.mark.parametrize("scheme", REFERENCES)
def test_bio_has_the_entities_that_seqeval_reads_in_the_scheme(scheme: str) -> None:
    for seed in range(200):
        spans, length = drawn(seed)
        tags = written(spans, length, scheme)
        assert entities(tags, REFERENCES[scheme]) == spans
        assert entities(to_bio(tags, scheme), IOB2) == spans


@pytest.mark.parametrize("scheme", [*REFERENCES, "iob2"])
def test_scheme_is_recognized(scheme: str) -> None:
    sentences = []
    for seed in range(60):
        spans, length = drawn(seed)
        sentences.append(written(spans, length, scheme))
    assert recognized(sentences) == scheme


def test_types_alone_are_io() -> None:
    assert recognized([["PER", "PER", "O"], ["LOC", "O", "LOC"]]) == "io"
    assert to_bio(["PER", "PER", "O", "LOC", "PER"], "io") == [
        "B-PER",
        "I-PER",
        "O",
        "B-LOC",
        "B-PER",
    ]
    assert to_bio(["I-PER", "I-PER", "O"], "io") == ["B-PER", "I-PER", "O"]


@pytest.mark.parametrize(
    "tags",
    [
        [["0", "O"]],  # a digit for O
        [["_", "O"]],
        [["NN", "VB"]],  # parts of speech
        [["B-PER", "O", "I-PER"]],  # an error of IOB2, and no IOB1
        [],
        [["O"]],
    ],
)
def test_what_is_not_certain_is_left_alone(tags: list[list[str]]) -> None:
    assert recognized(tags) == "iob2"


@pytest.mark.parametrize(
    ("scheme", "tags", "said"),
    [
        ("iobes", ["B-PER", "O"], "'O' of word 1 follows 'B-PER'"),
        ("iobes", ["E-PER"], "'E-PER' of word 0 follows nothing"),
        ("iobes", ["B-PER", "M-PER", "E-PER"], "'M-PER' of word 1 has a prefix of another scheme"),
        ("iobes", ["B-PER", "E-LOC"], "'E-LOC' of word 1 follows 'B-PER'"),
        ("bilou", ["B-PER"], "the end of the sentence of word 1 follows 'B-PER'"),
    ],
)
def test_broken_entities_are_refused(scheme: str, tags: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        to_bio(tags, scheme)


def rows_of(spans: list[tuple[Spans, int]], scheme: str) -> list[dict[str, list[str]]]:
    tags = [written(each, length, scheme) for each, length in spans]
    return [{"tokens": [f"x{place}" for place in range(len(row))], "tags": row} for row in tags]


def write_table(file: Path, rows: list[dict[str, list[str]]]) -> None:
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".csv":  # pandas writes lists as text
        pd.DataFrame(rows).to_csv(file, index=False)
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows))
    else:
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


COLUMNS = {"words": "tokens", "tags": "tags"}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("scheme", [*REFERENCES, "iob2"])
@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "csv"])
def test_tables_are_converted_too(tmp_path: Path, ending: str, scheme: str, named: bool) -> None:
    spans = [drawn(seed) for seed in range(30)]
    tables = {}
    for name in ("iob2", scheme):
        file = tmp_path / f"{name}.{ending}"
        write_table(file, rows_of(spans, name))
        chosen = {"scheme": name} if named else {}
        source = Files(train=str(file), validation=str(file), **chosen)
        tables[name] = load_task("t", source=source, columns=COLUMNS)
    assert tables[scheme].labels == tables["iob2"].labels
    assert tables[scheme].splits == tables["iob2"].splits


@pytest.mark.parametrize(
    ("scheme", "tags", "bio"),
    [
        ("iob1", [None, "I-PER", "O"], [None, "B-PER", "O"]),
        ("iobes", ["S-PER", None, "O"], ["B-PER", None, "O"]),
        ("bilou", ["B-PER", "L-PER", None], ["B-PER", "I-PER", None]),
    ],
)
def test_a_missing_tag_stays_missing(
    scheme: str, tags: list[str | None], bio: list[str | None]
) -> None:
    for named in (scheme, "auto"):
        table = Table({"tags": [tags, [None, None]]}, "x", scheme=named)
        assert with_bio(table, {"tags": "tags"}).columns["tags"] == [bio, [None, None]]
    untagged = Table({"tags": [[None], [None, None]]}, "x")
    assert with_bio(untagged, {"tags": "tags"}).columns["tags"] == [[None], [None, None]]


def test_an_invalid_sentence_of_a_table_is_a_bad_row(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "tags": tags} for tags in (["S-X", "O"], ["B-X", "O"])]
    write_table(file := tmp_path / "a.jsonl", [*rows, rows[0]])
    source = Files(train=str(file))
    with pytest.raises(DataError, match=r"line 2\): invalid IOBES: 'O' of word 1 follows 'B-X'"):
        load_task("t", source=source, columns=COLUMNS, validation=1)
    data = load_task("t", source=source, columns=COLUMNS, validation=1, on_bad_row="skip")
    assert data.skipped == {"train": {"invalid IOBES": 1}}


def test_numbers_have_no_scheme(tmp_path: Path) -> None:
    write_table(file := tmp_path / "a.jsonl", [{"tokens": ["a"], "tags": [0]}] * 3)  # type: ignore[list-item]
    source = Files(train=str(file), scheme="iob1")
    with pytest.raises(DataError, match=r"source\.scheme=iob1 needs tags as text in column 'tags'"):
        load_task("t", source=source, columns=COLUMNS, labels=["O", "I-X"])
