"""Small files that would fill the memory, and long texts of which little is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from candelabra.data.files import parquet
from candelabra.data.files.readers import read_table
from candelabra.data.rows.examples import to_examples
from candelabra.data.tokens import FEW_CHARACTERS, MANY_CHARACTERS, TextTokenizer
from candelabra.errors import DataError
from candelabra.model.encoder_files import package_folder
from helpers.toys import BUNDLED


def test_a_column_that_no_task_needs_is_not_read(tmp_path: Path) -> None:
    """A date beyond 9999 is no date of Python."""
    late = pa.array([2**40, 0], pa.timestamp("s"))
    columns = {"late": late, "text": ["a", "b"], "label": ["x", "y"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet")
    examples, _ = to_examples(table, {"text": "text", "label": "label"}, ["x", "y"])
    assert (len(table), examples.labels) == (2, [0, 1])
    with pytest.raises(DataError, match=r"x\.parquet: column 'late' cannot be read"):
        table.column("late", role="text")


def test_a_column_is_the_same_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "PIECE", 3)
    texts = [f"text {i}" for i in range(10)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "x.parquet", row_group_size=4)
    assert read_table(tmp_path / "x.parquet").column("text", role="text") == texts


def test_a_few_bytes_of_many_rows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_PER_BYTE", 100)
    nothing = pa.nulls(1_000_000, pa.int8())
    pq.write_table(pa.table({"label": nothing}), tmp_path / "x.parquet", compression="zstd")
    with pytest.raises(DataError, match=r"1,000,000 rows in [0-9,]+ bytes"):
        read_table(tmp_path / "x.parquet")


def test_what_decodes_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MOST_DECODED", 2**20)
    monkeypatch.setattr(parquet, "GROWTH", 1)
    pq.write_table(pa.table({"text": ["a" * 10_000] * 1000}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="column 'text' has more than 1,048,576 bytes"):
        read_table(tmp_path / "x.parquet").column("text", role="text")


def test_one_value_of_very_many_bytes_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MOST_DECODED", 2**20)
    pq.write_table(pa.table({"text": ["a" * 2**24]}), tmp_path / "x.parquet", compression="zstd")
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", None)
    with pytest.raises(DataError, match="a row group has more than"):
        read_table(tmp_path / "x.parquet").column("text", role="text")


@pytest.mark.parametrize(
    "text",
    [
        "a fine film " * 5000,
        "unbelievable" * 5000,
        "\u65e5" * 9000,
        " " * 9000 + "late",
        "x" * 9000,
    ],
)
@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail"])
def test_a_long_text_has_the_tokens_of_the_whole(text: str, truncation: str) -> None:
    plain = AutoTokenizer.from_pretrained(package_folder(BUNDLED.removeprefix("package:")))
    ours = TextTokenizer(plain, max_length=16, truncation=truncation)
    found = ours([text], [[(0, 1), (len(text) - 4, len(text))]])
    ours._cut = lambda text, _: [(0, text)]  # type: ignore[method-assign]
    expected = ours([text], [[(0, 1), (len(text) - 4, len(text))]])
    assert np.array_equal(found.ids, expected.ids)
    assert found.first is not None
    assert expected.first is not None
    assert np.array_equal(found.first, expected.first)


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], list[int]]:
    """Return a function that gives the lengths of the texts that reach the tokenizer."""
    plain = AutoTokenizer.from_pretrained(package_folder(BUNDLED.removeprefix("package:")))

    def lengths(text: str, truncation: str) -> list[int]:
        ours, seen = TextTokenizer(plain, max_length=16, truncation=truncation), []
        encoded = ours._encoded
        monkeypatch.setattr(
            ours, "_encoded", lambda texts, **how: seen.extend(texts) or encoded(texts, **how)
        )
        ours([text])
        return [len(part) for part in seen]

    return lengths


@pytest.mark.parametrize(("truncation", "num"), [("head", 1), ("tail", 1), ("head_tail", 2)])
def test_of_a_long_text_the_needed_part_alone_is_tokenised(
    tokenized: Callable[[str, str], list[int]], truncation: str, num: int
) -> None:
    found = tokenized("a fine film " * 10_000, truncation)
    assert len(found) == num
    assert max(found) <= 16 * FEW_CHARACTERS


@pytest.mark.parametrize("text", ["x" * 500_000, " " * 500_000, "\u200b" * 500_000])
@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail"])
def test_a_text_of_few_tokens_is_cut_too(
    tokenized: Callable[[str, str], list[int]], text: str, truncation: str
) -> None:
    assert max(tokenized(text, truncation)) <= 16 * MANY_CHARACTERS
