from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from candelabra.bundle.bundle import Bundle
from helpers.command_line import HEAVY_AFTER, Done, Run, called, python

THINGS = ["film", "plot", "cat", "house", "song", "river", "table", "cloud", "king", "train"]
ROWS = [
    {"premise": f"a {kind} {thing}", "hypothesis": f"the {thing} is {kind}", "label": kind}
    for kind in ("dull", "fine")
    for thing in THINGS
]
ROWS += [
    {"premise": "A  dull film", "hypothesis": "the film is dull", "label": "dull"},  # repeated
    {"premise": "a dull film", "hypothesis": "A dull  film", "label": "dull"},  # the same
    {"premise": "a dull film", "hypothesis": "it bores", "label": "dull"},  # a second positive
]
COLUMNS = ["columns.anchor=premise", "columns.positive=hypothesis"]
LOOSE = ["range_min=0", "relative_margin=0"]


@pytest.fixture(autouse=True)
def _pairs(_elsewhere: None) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), "pairs.parquet")


def mine(*arguments: str) -> Done:
    return called("mine", "encoder=tiny", *arguments)


def rows(file: str) -> list[dict[str, Any]]:
    if file.endswith(".parquet"):
        found: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return found
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


@pytest.mark.parametrize(
    "settings", [["negatives=easy"], ["negatives=semi_hard", *LOOSE], ["negatives=hard", *LOOSE]]
)
@pytest.mark.parametrize("output", ["out.parquet", "new folder/out.jsonl"])
def test_pairs_become_triplets(settings: list[str], output: str) -> None:
    done = mine("input=pairs.parquet", f"output={output}", *COLUMNS, *settings)
    assert (done.status, done.err) == (0, "")
    found = rows(output)
    assert all(list(row) == ["anchor", "positive", "negative"] for row in found)
    pairs = {(row["premise"], row["hypothesis"]) for row in ROWS}
    assert {(row["anchor"], row["positive"]) for row in found} <= pairs
    assert not pairs & {(row["anchor"], row["negative"]) for row in found}
    assert len(found) >= 15
    without = len({row["premise"] for row in ROWS[:20]} - {row["anchor"] for row in found})
    assert "pairs read: 23; dropped: 1 repeated, 1 of equal texts" in done.out
    assert f"anchors without a negative: {without}\n" in done.out
    assert f"{len(found)} triplets: {output}" in done.out


def test_what_is_shown_is_in_the_file() -> None:
    done = mine("input=pairs.parquet", "output=out.jsonl", *COLUMNS, *LOOSE)
    shown = [line.split("│")[1:4] for line in done.out.splitlines() if line.startswith("│")]
    samples = [[cell.strip() for cell in cells] for cells in shown[:5]]
    assert all(sample in [list(row.values()) for row in rows("out.jsonl")] for sample in samples)
    table = {cells[0].strip(): float(cells[1]) for cells in shown[5:]}
    assert table["positive"] - table["negative"] == pytest.approx(table["difference"], abs=2e-4)
    assert table["difference"] >= 0


def test_a_bundle_measures(run: Run, bundle: Bundle) -> None:
    settings = ["input=pairs.parquet", "output=out.jsonl", *COLUMNS, "max_score=0.999"]
    done = called("mine", f"bundle={run.bundle}", *settings, "relative_margin=0.0001")
    assert (done.status, done.err) == (0, "")
    for row in rows("out.jsonl"):
        anchor, positive, negative = bundle.embed(list(row.values()), normalize=True)
        assert anchor @ negative <= min(0.999, anchor @ positive) + 1e-5


def test_only_some_rows() -> None:
    settings = ["input=pairs.parquet", "output=out.jsonl", *COLUMNS, "negatives=easy"]
    assert mine(*settings, "only=label=fine").status == 0
    assert {row["positive"].split()[-1] for row in rows("out.jsonl")} == {"fine"}


def test_several_negatives_and_a_seed() -> None:
    settings = ["input=pairs.parquet", *COLUMNS, "negatives=easy", "num_negatives=3"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert mine(*settings, f"output={name}.jsonl", f"seed={seed}").status == 0
    assert len(rows("a.jsonl")) == 3 * 21
    assert rows("a.jsonl") == rows("b.jsonl") != rows("c.jsonl")


def test_documents_become_pairs() -> None:
    documents = ["It's a dull film. The plot is long. Bad.", "A fine film. A fine plot."]
    Path("in.txt").write_text("".join(f"{text}\n" for text in documents))
    done = mine("documents=in.txt", "output=out.parquet")
    assert (done.status, done.err) == (0, "")
    assert "documents: 2; dropped: 0 repeated pairs, 0 of equal texts" in done.out
    assert rows("out.parquet") == [
        {"anchor": "It's a dull film.", "positive": "The plot is long."},
        {"anchor": "A fine film.", "positive": "A fine plot."},
    ]
    triplets = ["input=out.parquet", "output=triplets.parquet", "negatives=easy"]
    assert mine(*triplets).status == 0
    assert [row["negative"] for row in rows("triplets.parquet")] == [
        "A fine plot.",
        "The plot is long.",
    ]


REFUSED = {
    "nothing": ([], "mine needs either input=FILE or documents=FILE, got neither"),
    "both": (
        ["input=a", "documents=b", "output=c"],
        "or documents=FILE, got input= and documents=",
    ),
    "no output": (["input=pairs.parquet"], "output=FILE"),
    "format": (["input=pairs.parquet", "output=out.csv"], "must end in one of .parquet, .jsonl"),
    "folder": (["input=pairs.parquet", "output=mine.jsonl"], "output=mine.jsonl: is a folder"),
    "kind": (["input=pairs.parquet", "output=o.jsonl", "negatives=semihard"], "'semi_hard'?"),
    "easy": (
        ["input=pairs.parquet", "output=o.jsonl", "negatives=easy", "absolute_margin=0.1"],
        "absolute_margin chooses by similarity",
    ),
    "margin": (
        ["input=pairs.parquet", "output=o.jsonl", "relative_margin=-1"],
        "relative_margin must be a number at least 0, got -1",
    ),
    "column": (
        ["input=pairs.parquet", "output=o.jsonl", COLUMNS[0]],
        "missing column 'positive' (for columns.positive)",
    ),
    "role": (
        ["input=pairs.parquet", "output=o.jsonl", "+columns.negative=x"],
        "columns: a key must be one of anchor, positive, got 'negative'",
    ),
    "only": (["input=pairs.parquet", "output=o.jsonl", "only=label"], "only=COLUMN=VALUE"),
    "value": (
        ["input=pairs.parquet", "output=o.jsonl", *COLUMNS, "only=label=x"],
        "no row has 'x' in column 'label'; it has 'dull', 'fine'",
    ),
    "lengths": (["input=pairs.parquet", "output=o.jsonl", "normalize=false"], "by cosines"),
    "missing file": (["input=pair.parquet", "output=o.jsonl"], "pair.parquet: missing file"),
    "extension": (["input=pairs.txt", "output=o.jsonl"], "pairs.txt"),
    "no pairs": (
        ["input=same.jsonl", "output=o.jsonl"],
        "same.jsonl: no pair of two different texts",
    ),
    "no negatives": (
        ["input=one.jsonl", "output=o.jsonl", "negatives=easy"],
        "one.jsonl: no anchor has a negative among 1 pairs",
    ),
    "no sentences": (["documents=words.txt", "output=o.jsonl"], "two sentences of 3 words"),
    "seed": (["input=pairs.parquet", "output=o.jsonl", "seed=-1"], "seed must be a whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_input_is_one_message(case: str) -> None:
    Path("mine.jsonl").mkdir()
    Path("same.jsonl").write_text('{"anchor": "a film", "positive": "A  film"}\n')
    Path("one.jsonl").write_text('{"anchor": "a film", "positive": "a plot"}\n')
    Path("words.txt").write_text("word\nTwo words. Three of them.\n")
    before = sorted(Path().rglob("*"))
    arguments, said = REFUSED[case]
    done = mine(*arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.message
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [["input=no.parquet", "output=o.jsonl"], ["input=x", "output=o.jsonl", "negatives=none"]],
)
def test_bad_words_are_refused_before_anything_heavy_is_imported(
    arguments: list[str], tmp_path: Path
) -> None:
    done = python("-c", HEAVY_AFTER, "mine", *arguments, folder=tmp_path)
    assert done.status == 2
    assert done.out.splitlines()[-1].split() == ["heavy:"]
