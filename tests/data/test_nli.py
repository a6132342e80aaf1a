from __future__ import annotations

import json
from pathlib import Path

import pytest

from candelabra.data.files.table import Table
from candelabra.data.loading import load_task
from candelabra.data.nli import COLUMNS_OF, VIEWS, Nli
from candelabra.errors import DataError

NAMES = ["entailment", "neutral", "contradiction"]
ROWS = [(f"premise {i // 3}", f"hypothesis {i}", NAMES[i % 3]) for i in range(30)]


def write(file: Path, rows: list[tuple[object, ...]]) -> None:
    keys = ("premise", "hypothesis", "label")
    lines = [json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows]
    file.write_text("".join(lines))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "one.jsonl", ROWS[:12])
    # As numbers, in the order of the names.
    write(tmp_path / "two.jsonl", [(a, b, NAMES.index(c)) for a, b, c in ROWS[12:]])
    return tmp_path


def source(place: Path, **settings: object) -> Nli:
    given = {"files": {"train": ["one.jsonl", "two.jsonl"]}, "folder": str(place)}
    return Nli(**{**given, **settings})


def rows(table: Table | None) -> list[tuple[object, ...]]:
    assert table is not None
    return list(zip(*table.columns.values(), strict=True))


def test_all_views_are_of_the_same_rows(folder: Path) -> None:
    found = {view: source(folder, view=view).read("train") for view in VIEWS}
    assert {view: tuple(table.columns) for view, table in found.items()} == COLUMNS_OF
    assert rows(found["labelled"]) == ROWS
    assert rows(found["entailed"]) == [(a, b, float(c == "entailment")) for a, b, c in ROWS]
    entailed = [(a, b) for a, b, c in ROWS if c == "entailment"]
    assert [row[:2] for row in rows(found["shuffled"])] == entailed
    assert rows(found["contradicted"]) == [
        (f"premise {i}", f"hypothesis {3 * i}", f"hypothesis {3 * i + 2}") for i in range(10)
    ]


def test_a_shuffled_negative_is_anothers_hypothesis(folder: Path) -> None:
    found = rows(source(folder, view="shuffled").read("train"))
    assert sorted(row[2] for row in found) == sorted(row[1] for row in found)
    assert all(other != own for _, own, other in found)
    other_seed = rows(source(folder, view="shuffled", seed=1).read("train"))
    assert [row[:2] for row in other_seed] == [row[:2] for row in found]
    assert other_seed != found


def test_a_draw_is_seeded_and_the_same_for_every_view(folder: Path) -> None:
    drawn = rows(source(folder, draw={"train": 15}).read("train"))
    assert len(drawn) == 15
    assert [row for row in ROWS if row in drawn] == drawn
    scored = rows(source(folder, draw={"train": 15}, view="entailed").read("train"))
    assert [row[:2] for row in scored] == [row[:2] for row in drawn]
    assert rows(source(folder, draw={"train": 15}, seed=7).read("train")) != drawn
    assert rows(source(folder, draw={"train": 99}).read("train")) == ROWS
    assert source(folder).read("test") is None


@pytest.mark.parametrize("view", VIEWS)
def test_a_bad_row_is_named_by_file_and_row(view: str, folder: Path) -> None:
    write(folder / "two.jsonl", [*ROWS[12:], ("a", "b", "entails")])
    columns = {
        "labelled": {"sentence1": "premise", "sentence2": "hypothesis", "label": "label"},
        "entailed": {"sentence1": "premise", "sentence2": "hypothesis", "score": "entailed"},
        "shuffled": {"anchor": "premise", "positive": "hypothesis", "negative": "other"},
        "contradicted": {"anchor": "premise", "positive": "entailed", "negative": "contradicted"},
    }[view]
    labels = NAMES if view == "labelled" else None
    with pytest.raises(DataError, match=r"two.jsonl, row 18 .*unknown label: 'entails'"):
        load_task("nli", source=source(folder, view=view), columns=columns, labels=labels)
    kept = load_task(
        "nli",
        source=source(folder, view=view),
        columns=columns,
        labels=labels,
        on_bad_row="skip",
    )
    assert kept.skipped == {"train": {"unknown label": 1}}


def test_one_file_needs_no_list(folder: Path) -> None:
    one, listed = (source(folder, files={"train": f}) for f in ("one.jsonl", ["one.jsonl"]))
    one.check()
    found, expected = one.read("train"), listed.read("train")
    assert found is not None
    assert expected is not None
    assert found.columns == expected.columns


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"view": "shuffle"}, "view must be one of .*'shuffle'; did you mean 'shuffled'"),
        ({"draw": {"train": 0}}, "draw.train must be a count of rows, found 0"),
        ({"files": {"train": ["three.jsonl"]}}, "three.jsonl: missing file"),
        ({"folder": None}, r"one.jsonl: missing file \(train\): no folder was given"),
    ],
)
def test_wrong_settings(settings: dict[str, object], said: str, folder: Path) -> None:
    with pytest.raises(DataError, match=said):
        source(folder, **settings).check()
