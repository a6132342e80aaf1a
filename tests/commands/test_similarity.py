from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from candelabra.bundle.bundle import Bundle
from candelabra.embedding import heat_map
from helpers.command_line import Run, called

TEXTS = ["a dull film", "it's a [bold] film, isn't it: yes?", "$caf\u00e9$"]
TYPED = [f"text={text}" for text in TEXTS]


def test_the_table_is_the_lower_triangle(run: Run, bundle: Bundle) -> None:
    done = called("similarity", f"bundle={run.bundle}", *TYPED)
    assert done.status == 0, done.err
    assert all(text in done.out for text in TEXTS)
    vectors = bundle.embed(TEXTS, normalize=True)
    printed = [float(number) for number in re.findall(r"\b\d\.\d{4}\b", done.out)]
    pairs = [vectors[i] @ vectors[j] for i, j in ((1, 0), (2, 0), (2, 1))]
    # A number between two roundings may be printed as either.
    assert printed == pytest.approx(pairs, abs=1.5e-4)


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


LONG = "outputs/best/sweeps/contrastive_losses/20250101-120000-learning-rate"


@pytest.mark.parametrize(
    "names",
    [
        [f"{LONG}-{run}/bundle" for run in ("one", "two")],
        [f"{LONG}/{run}/twenty-thousand-pairs-of-nli/seed-0/bundle" for run in ("one", "two")],
        [f"{LONG}-{run}/bundle, task sts" for run in ("one", "two")],
    ],
)
def test_long_names_are_told_apart(names: list[str]) -> None:
    titles = heat_map.titles(names)
    assert all(len(title) <= heat_map.SHOWN for title in titles)
    assert ["one" in title for title in titles] == [True, False]
    assert ["two" in title for title in titles] == [False, True]
    figure = heat_map.draw(dict.fromkeys(names, np.eye(3)), TEXTS)
    assert [panel.get_title() for panel in figure.axes[:2]] == titles


def test_short_names_and_names_alone_stay() -> None:
    assert heat_map.titles(["outputs/a/bundle", "tiny, mean"]) == ["outputs/a/bundle", "tiny, mean"]
    (title,) = heat_map.titles([f"{LONG}/bundle"])
    assert title.startswith("outputs/best")
    assert title.endswith("learning-rate/bundle")


def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path) -> None:
    heat_map.write(tmp_path / "map.png", {"run$^$": np.eye(3), "$a": np.eye(3)}, TEXTS)
    assert (tmp_path / "map.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text=a"], "similarity takes 2 to 50 texts, found 1"),
        (["text=a", "text= "], "text must not be empty"),
        ([], 'similarity needs either text="..." text="..." or input=FILE'),
        ([*TYPED, "output=map.jpeg"], "output=map.jpeg: must end in one of .png"),
        ([*TYPED, "against=tiney"], "against=tiney: no such folder, and no encoder ("),
        ([*TYPED, "against=tiny"], "against=tiny: is the same model as the first"),
    ],
)
def test_wrong_input(arguments: list[str], said: str) -> None:
    done = called("similarity", "encoder=tiny", *arguments)
    assert done.status == 2
    assert said in done.message
