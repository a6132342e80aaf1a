from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from candelabra.bundle import Bundle
from candelabra.embedding import heat_map
from command_line import Run, called

TEXTS = ["a dull film", "it's a [bold] film, isn't it: yes?", "$caf\u00e9$"]
TYPED = [f"text={text}" for text in TEXTS]


def test_the_table_is_the_lower_triangle(run: Run, bundle: Bundle) -> None:
    done = called("similarity", f"bundle={run.bundle}", *TYPED)
    assert done.status == 0, done.err
    assert all(text in done.out for text in TEXTS)
    vectors = bundle.embed(TEXTS, normalize=True)
    for i, j in ((1, 0), (2, 0), (2, 1)):
        assert f"{vectors[i] @ vectors[j]:.4f}" in done.out


def test_two_encoders_side_by_side(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "cosines.csv"
    done = called("similarity", f"bundle={run.bundle}", "against=tiny", f"output={target}", *TYPED)
    assert done.status == 0, done.err
    with target.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["text1", "text2", str(run.bundle), "tiny, mean"]
    assert [(row[0], row[1]) for row in rows] == [
        (TEXTS[i], TEXTS[j]) for i, j in ((1, 0), (2, 0), (2, 1))
    ]
    # The run has trained that very encoder.
    assert any(abs(float(row[2]) - float(row[3])) > 1e-3 for row in rows)
    swapped = called("similarity", "encoder=tiny", f"against={run.folder}", *TYPED)
    assert swapped.out.count("a dull film") == 2


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_picture(suffix: str, run: Run, tmp_path: Path) -> None:
    target = tmp_path / f"map.{suffix}"
    done = called("similarity", "encoder=tiny", f"against={run.bundle}", f"output={target}", *TYPED)
    assert done.status == 0, done.err
    assert target.stat().st_size > 5000


def test_a_panel_shows_each_pair_once() -> None:
    cosines = np.array([[1.0, 0.2, 0.3], [0.2, 1.0, -0.4], [0.3, -0.4, 1.0]])
    figure = heat_map.draw({"one": cosines, "other": -cosines}, TEXTS)
    one, other, _bar = figure.axes
    assert [text.get_text() for text in one.texts] == [
        *("1.00", "0.20", "1.00", "0.30", "-0.40", "1.00")
    ]
    assert other.get_title() == "other"
    assert one.get_yticklabels()[2].get_text() == f"{TEXTS[2]}  2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text=a"], "similarity takes 2 to 50 texts, found 1"),
        (["text=a", "text= "], "text must not be empty"),
        ([], 'similarity needs either text="..." text="..." or input=FILE'),
        ([*TYPED, "output=map.jpeg"], "output=map.jpeg: must end in one of .png"),
        ([*TYPED, "against=tiney"], "against=tiney: no such folder, and no encoder ("),
        ([*TYPED, "against=tiny"], "against=tiny: that is the first encoder again"),
    ],
)
def test_wrong_input(arguments: list[str], said: str) -> None:
    done = called("similarity", "encoder=tiny", *arguments)
    assert done.status == 2
    assert said in done.message
