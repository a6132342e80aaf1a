from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candelabra.data.rows.cells import without_case
from candelabra.errors import DataError
from candelabra.mining.pair_files import (
    neighbouring_sentences,
    read_pairs,
    sentences,
    unique_pairs,
    write_rows,
)

COLUMNS = {"anchor": "premise", "positive": "hypothesis"}
ROWS = [
    {"premise": "a", "hypothesis": "b", "label": 0},
    {"premise": "c", "hypothesis": "d", "label": 1},
    {"premise": "e", "hypothesis": "f", "label": 0},
]


def write(file: Path, rows: list[dict[str, object]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_pairs_of_a_file(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", ROWS)
    assert read_pairs(file, COLUMNS) == [("a", "b"), ("c", "d"), ("e", "f")]
    assert read_pairs(file, COLUMNS, "label=0") == [("a", "b"), ("e", "f")]


@pytest.mark.parametrize(
    ("rows", "columns", "only", "said"),
    [
        (ROWS, {"anchor": "premis", "positive": "hypothesis"}, None, "did you mean 'premise'?"),
        (ROWS, COLUMNS, "lable=0", "missing column 'lable'"),
        (ROWS, COLUMNS, "label=yes", "no row has 'yes' in column 'label'; it has '0', '1'"),
        ([*ROWS, {**ROWS[0], "premise": " "}], COLUMNS, None, r"row 3 .*: empty text"),
        ([*ROWS, {**ROWS[0], "premise": 5}], COLUMNS, None, r"row 3 .*: wrong type"),
        ([*ROWS, {**ROWS[0], "hypothesis": None}], COLUMNS, None, r"row 3 .*: wrong type"),
    ],
)
def test_a_bad_file_is_named(
    rows: list[dict[str, object]],
    columns: dict[str, str],
    only: str | None,
    said: str,
    tmp_path: Path,
) -> None:
    file = write(tmp_path / "in.jsonl", rows)
    with pytest.raises(DataError, match=said) as error:
        read_pairs(file, columns, only)
    assert str(file) in str(error.value)


def test_of_equal_texts_the_first_stands_for_all() -> None:
    pairs = [("A film", "dull"), ("a  FILM", "Dull "), ("fine", "a film"), ("x", " X"), ("x", "y")]
    found = unique_pairs(pairs)
    assert found.pairs == [("A film", "dull"), ("fine", "A film"), ("x", "y")]
    assert (found.repeated, found.same) == (1, 1)


texts = st.sampled_from(["a", "A", " a", "b", "B ", "c", "c  c", "C C"])


@given(st.lists(st.tuples(texts, texts)))
def test_cleaned_pairs_are_distinct_and_counted(pairs: list[tuple[str, str]]) -> None:
    found = unique_pairs(pairs)
    assert len(found.pairs) + found.repeated + found.same == len(pairs)
    keys = [(without_case(a), without_case(b)) for a, b in found.pairs]
    assert keys == list(
        dict.fromkeys(
            (without_case(a), without_case(b))
            for a, b in pairs
            if without_case(a) != without_case(b)
        )
    )
    assert len({without_case(text) for pair in found.pairs for text in pair}) == len(
        {text for pair in found.pairs for text in pair}
    )


SENTENCES = {
    "One film. Two films! Three? Yes.": ["One film.", "Two films!", "Three?", "Yes."],
    'He said "Go." She went. (They stayed.) End': [
        'He said "Go."',
        "She went.",
        "(They stayed.)",
        "End",
    ],
    "It cost 3.50 dollars, i.e. too much... and more.": [
        "It cost 3.50 dollars, i.e. too much... and more."
    ],
    "no end<br /><br />New line\nAnother": ["no end", "New line", "Another"],
    "In 1995. 2001 came. \u00c9t\u00e9.": ["In 1995.", "2001 came.", "\u00c9t\u00e9."],
    "Mr. Smith": ["Mr.", "Smith"],  # as documented
    "   ": [],
}


@pytest.mark.parametrize("document", SENTENCES)
def test_sentences(document: str) -> None:
    assert sentences(document) == SENTENCES[document]


@given(st.text(alphabet='aB.!? \n"', max_size=40))
def test_no_word_is_lost(document: str) -> None:
    assert "".join("".join(sentences(document)).split()) == "".join(document.split())


def test_neighbours_are_of_one_document() -> None:
    documents = ["One a. Two b. Three c.", "Four d. Five e.", "Six."]
    assert list(neighbouring_sentences(documents)) == [
        ("One a.", "Two b."),
        ("Two b.", "Three c."),
        ("Four d.", "Five e."),
    ]


def test_a_short_sentence_parts_its_neighbours() -> None:
    assert list(neighbouring_sentences(["One a b. Two. Three c d. Four e f."], min_words=3)) == [
        ("Three c d.", "Four e f.")
    ]


def test_both_formats_hold_the_same(tmp_path: Path) -> None:
    columns = {"anchor": ["it's \u6620", "b"], "positive": ["c\nd", "e"]}
    for name in ("out.parquet", "new/out.jsonl"):
        write_rows(tmp_path / name, columns)
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == columns
    rows = [json.loads(line) for line in (tmp_path / "new/out.jsonl").read_text().splitlines()]
    assert {name: [row[name] for row in rows] for name in columns} == columns
