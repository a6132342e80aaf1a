"""From a source to a task's splits."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from candelabra.data.files.table import Table
from candelabra.data.loading import TaskData, fingerprint, load_task
from candelabra.data.sources import Files, FilesOrHub, Sample
from candelabra.errors import DataError
from candelabra.records import Examples

TEXT = {"text": "text", "label": "label"}
WORDS = {"words": "tokens", "tags": "tags"}
needs_data = pytest.mark.skipif(
    "CANDELABRA_DATA" not in os.environ, reason="CANDELABRA_DATA names no folder of real data"
)


@dataclass
class Rows:
    """A source in memory: split -> columns."""

    splits: dict[str, dict[str, list[Any]]]

    def read(self, split: str) -> Table | None:
        return Table(self.splits[split], where=split) if split in self.splits else None

    def check(self) -> None:
        return None


def reviews(num_rows: int, *, first: int = 0) -> dict[str, list[Any]]:
    numbers = range(first, first + num_rows)
    return {"text": [f"text {n}" for n in numbers], "label": [n % 2 for n in numbers]}


def load(splits: dict[str, dict[str, list[Any]]], **options: Any) -> TaskData:
    options = {"columns": TEXT, "labels": ["neg", "pos"], **options}
    return load_task("mood", source=Rows(splits), **options)


def sizes(data: TaskData) -> dict[str, int]:
    return {split: len(examples) for split, examples in data.splits.items()}


def test_validation_is_carved_from_train_where_there_is_none() -> None:
    data = load({"train": reviews(100), "test": reviews(20)})
    assert sizes(data) == {"train": 90, "validation": 10, "test": 20}
    train, validation = data.splits["train"], data.splits["validation"]
    assert sorted(train.rows + validation.rows) == list(range(100))
    assert Counter(validation.labels) == {0: 5, 1: 5}
    assert validation.texts[0] == [f"text {row}" for row in validation.rows]


def test_validation_of_the_source_is_used_as_it_is() -> None:
    data = load({"train": reviews(10), "validation": reviews(4)}, validation=0.5)
    assert sizes(data) == {"train": 10, "validation": 4}


def test_validation_may_be_a_count() -> None:
    assert sizes(load({"train": reviews(10)}, validation=3)) == {"train": 7, "validation": 3}


def test_validation_is_drawn_before_the_limit() -> None:
    whole = load({"train": reviews(100)})
    limited = load({"train": reviews(100)}, limit={"train": 50})
    assert limited.splits["validation"] == whole.splits["validation"]
    assert sizes(limited) == {"train": 50, "validation": 10}
    assert not set(limited.splits["train"].rows) & set(limited.splits["validation"].rows)
    assert Counter(limited.splits["train"].labels) == {0: 25, 1: 25}


def test_limits_are_upper_bounds_on_any_split() -> None:
    splits = {"train": reviews(100), "test": reviews(20)}
    data = load(splits, limit={"train": 1000, "validation": 4, "test": None})
    assert sizes(data) == {"train": 90, "validation": 4, "test": 20}


def test_seed_decides_the_draw() -> None:
    first, again = (load({"train": reviews(100)}, split_seed=1) for _ in range(2))
    assert first == again
    other = load({"train": reviews(100)}, split_seed=2)
    assert other.splits["validation"].rows != first.splits["validation"].rows


def test_labels_are_inferred_from_train() -> None:
    train = {"text": ["a", "b", "c", "d"], "label": ["x", "y", "x", "y"]}
    assert load({"train": train}, labels=None, validation=2).labels == ["x", "y"]
    test = {"text": ["a"], "label": ["z"]}
    with pytest.raises(
        DataError, match=r"task 'mood': test, row 0 \(counted from 0\): unknown label: 'z'"
    ):
        load({"train": train, "test": test}, labels=None, validation=2)


def test_skipped_rows_are_counted_by_split_and_rule() -> None:
    train = reviews(10)
    train["text"][3] = ""
    data = load({"train": train, "test": reviews(2)}, on_bad_row="skip", validation=2)
    assert data.skipped == {"train": {"empty text": 1}}
    rows = data.splits["train"].rows + data.splits["validation"].rows
    assert sorted(rows) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        ({"test": reviews(2)}, {}, "the source has no train split"),
        ({"train": {"text": [], "label": []}}, {}, "train: split 'train' is empty: 0 rows read"),
        (
            {"train": {"text": ["", 1], "label": [0, 0]}},
            {"on_bad_row": "skip"},
            "'train' is empty: 2 rows read, skipped: empty text 1, wrong type 1",
        ),
        (
            {"train": reviews(3)},
            {},
            "validation=0.1 of 3 train rows would be 0 rows; from 1 to 2 rows can be held out, for "
            "instance by validation=1",
        ),
        ({"train": reviews(1)}, {}, "validation=0.1 of 1 train row: there must be at least 2 rows"),
        ({"train": reviews(2)}, {"validation": 2}, "validation=2 of 2 train rows"),
        ({"train": reviews(9)}, {"validation": None}, "validation=None of 9 train rows"),
        ({"train": reviews(9)}, {"validation": True}, "validation=True of 9"),
        ({"train": reviews(50)}, {"limit": {"test": 5}}, "limit.test: no such split.*train, val"),
        ({"train": reviews(50)}, {"limit": {"train": 0}}, "limit.train must be a count"),
        ({"train": reviews(50)}, {"limit": {"train": 0.5}}, "limit.train must be a count.*0.5"),
        ({"train": reviews(50)}, {"labels": ["a", "a"]}, "'a' is repeated"),
        ({"train": reviews(50)}, {"columns": {"text": "t", "label": "label"}}, "missing column"),
    ],
)
def test_errors_name_the_task(
    splits: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=f"task 'mood': .*{message}"):
        load(splits, **options)


def test_files_on_disk_name_task_file_row_and_rule(tmp_path: Path) -> None:
    (tmp_path / "train.bio").write_text("who\tO\n\nmax\tB-Actr\n")
    source = Files(train="train.bio", folder=str(tmp_path))
    with pytest.raises(
        DataError, match=r"task 'movie': .*train\.bio, row 1 \(counted from 0; line 3\): unknown"
    ):
        load_task("movie", source=source, columns=WORDS, labels=["O", "B-Actor", "I-Actor"])


def test_fingerprint_sees_every_part_and_the_order() -> None:
    base = Examples((["ab", "c"],), [0, 1], None, [0, 1])
    others = [
        base.take([1, 0]),
        replace(base, texts=(["a", "bc"],)),
        replace(base, labels=[0, 0]),
        replace(base, words=[[(0, 2)], [(0, 1)]]),
    ]
    prints = {fingerprint(examples, ["x", "y"]) for examples in (base, *others)}
    prints.add(fingerprint(base, ["x", "z"]))
    assert len(prints) == 6
    assert fingerprint(replace(base, rows=[5, 6]), ["x", "y"]) == fingerprint(base, ["x", "y"])


@pytest.mark.parametrize(("name", "columns"), [("reviews", TEXT), ("questions", WORDS)])
def test_bundled_sample_is_valid(name: str, columns: dict[str, str]) -> None:
    data = load_task(name, source=Sample(name), columns=columns)
    assert list(data.splits) == ["train", "validation", "test"]
    assert not data.skipped
    assert len(data.labels) == (2 if name == "reviews" else 25)


def real(name: str, *splits: str) -> FilesOrHub:
    files = {split: f"{name}/{split}.parquet" for split in splits}
    return FilesOrHub(files=files, hub={"path": name}, data_dir=os.environ["CANDELABRA_DATA"])


@pytest.mark.slow
@needs_data
def test_imdb_keeps_12500_reviews_beside_validation() -> None:
    data = load_task(
        "sentiment",
        source=real("imdb", "train", "test"),
        columns=TEXT,
        labels=["NEGATIVE", "POSITIVE"],
        limit={"train": 12500, "test": 5000},
    )
    assert sizes(data) == {"train": 12500, "validation": 2500, "test": 5000}
    assert not set(data.splits["train"].rows) & set(data.splits["validation"].rows)
    assert all(2 * sum(split.labels) == len(split) for split in data.splits.values())


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("name", "splits", "expected"),
    [
        ("mit_movie_trivia", ("train", "validation", "test"), (6816, 1000, 1953)),
        ("mit_movie_eng", ("train", "test"), (8797, 978, 2443)),
    ],
)
def test_mit_movie(name: str, splits: tuple[str, ...], expected: tuple[int, ...]) -> None:
    labels = Path(os.environ["CANDELABRA_DATA"], name, "labels.json")
    data = load_task("movie", source=real(name, *splits), columns=WORDS, labels=labels)
    assert tuple(sizes(data).values()) == expected
    seen = {tag for tags in data.splits["validation"].labels for tag in tags}
    assert seen == set(range(25))


@pytest.mark.slow
@needs_data
def test_banking77_labels_by_name_and_by_id() -> None:
    source = real("banking77", "train", "test")
    labels = Path(os.environ["CANDELABRA_DATA"], "banking77", "labels.json")
    by_id = load_task("intent", source=source, columns=TEXT, labels=labels)
    by_name = load_task(
        "intent", source=source, columns={"text": "text", "label": "label_text"}, labels=labels
    )
    assert by_id == by_name
    assert sizes(by_id) == {"train": 9003, "validation": 1000, "test": 3080}
    assert by_id.labels == json.loads(labels.read_text())
    assert min(Counter(by_id.splits["validation"].labels).values()) >= 3


def test_counts_are_of_the_train_split_as_it_is_used() -> None:
    data = load({"train": reviews(100), "test": reviews(20)}, limit={"train": 30})
    assert data.counts == [15, 15]
    tags = {
        "tokens": [["a", "b"]] * 4,
        "tags": [["B-X", "I-X"], ["B-X", "O"], ["O", "O"], ["O", "O"]],
    }
    columns = {"words": "tokens", "tags": "tags"}
    tagged = load({"train": tags, "validation": tags}, columns=columns, labels=["O", "B-X", "I-X"])
    assert tagged.counts == [5, 2, 1]


def test_several_labels_and_numbers() -> None:
    rows = {"text": ["a", "b", "c", "d"], "y": [["x"], [], ["x", "y"], {"y": None}]}
    columns = {"text": "text", "labels": "y"}
    data = load({"train": rows, "validation": rows}, columns=columns, labels=None)
    assert data.labels == ["x", "y"]
    assert data.counts == [2, 1]
    rows = {"text": ["a", "b", "c", "d"], "y": [1, 2.5, 3, 4]}
    columns = {"text": "text", "number": "y"}
    data = load({"train": rows, "test": rows}, columns=columns, labels=None, validation=0.25)
    assert (data.labels, data.counts) == ([], [])
    assert sorted(data.splits["train"].labels + data.splits["validation"].labels) == [1, 2.5, 3, 4]
    again = load({"train": rows, "validation": rows}, columns=columns, labels=[])
    assert again.splits["train"].labels == rows["y"]
    with pytest.raises(
        DataError, match=r"text, number have no labels, found labels \['neg', 'pos'\]"
    ):
        load({"train": rows, "validation": rows}, columns=columns)


def test_stars_that_pandas_wrote_as_floats_are_those_of_a_test_file_with_integers() -> None:
    """Once they were read as positions, and every row of test was of another class."""
    stars = {
        "text": [f"film {i}" for i in range(10)],
        "label": ["1.0", "2.0", "3.0", "4.0", "5.0"] * 2,
    }
    test = {"text": ["a", "b", "c", "d"], "label": ["1", "2", "3", "4"]}
    data = load({"train": stars, "validation": stars, "test": test}, labels=None)
    assert data.labels == ["1", "2", "3", "4", "5"]
    assert data.splits["test"].labels == [0, 1, 2, 3]


def test_where_names_were_inferred_no_number_is_a_position() -> None:
    train = {"text": ["a", "b"], "label": ["neg", "pos"]}
    test = {"text": ["c", "d"], "label": [0, 1]}
    splits = {"train": train, "validation": train, "test": test}
    for rules in ({"labels": None}, {"labels": ["neg", "pos"], "inferred": True}):
        with pytest.raises(DataError, match=r"row 0 .*unknown label: 0 is none of the 2 labels"):
            load(splits, **rules)
    assert load(splits, labels=["neg", "pos"]).splits["test"].labels == [0, 1]
