from __future__ import annotations

import numpy as np
import pytest

from candelabra.evaluation.probe import drawn_rows, few_shot_accuracy, few_shot_accuracy_of_texts
from helpers import real_data

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 3, 120).tolist()
VECTORS = (np.eye(3)[LABELS] + GENERATOR.normal(size=(120, 3)) * 0.6).astype(np.float32)
TEXTS = [f"text {row}" for row in range(120)]
TRAIN, TEST = slice(80), slice(80, None)


def embed(texts: list[str]) -> np.ndarray:
    return VECTORS[[int(text.split()[1]) for text in texts]]


def test_each_experiment_draws_so_many_of_each_label() -> None:
    experiments = drawn_rows([*LABELS[TRAIN], 7, 7])
    assert len(experiments) == 10
    assert len({tuple(sorted(rows)) for rows in experiments}) == 10
    for rows in experiments:
        drawn = [[*LABELS[TRAIN], 7, 7][row] for row in rows]
        assert len(set(rows)) == len(rows)
        assert {label: drawn.count(label) for label in (0, 1, 2, 7)} == {0: 8, 1: 8, 2: 8, 7: 2}


def test_one_shuffle_is_applied_again_and_again() -> None:
    once, twice, thrice = drawn_rows(list(range(9)), num_experiments=3)
    assert [once[place] for place in once] == twice
    assert [twice[place] for place in once] == thrice


def test_names_draw_as_ids_do() -> None:
    assert drawn_rows([f"label {label}" for label in LABELS]) == drawn_rows(np.array(LABELS))


def test_only_what_is_drawn_is_embedded_and_once() -> None:
    seen: list[str] = []

    def counting(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return embed(texts)

    settings = {"num_experiments": 2, "texts_per_label": 4}
    train, test = (TEXTS[TRAIN], LABELS[TRAIN]), (TEXTS[TEST], LABELS[TEST])
    found = few_shot_accuracy_of_texts(counting, train=train, test=test, **settings)
    drawn = {TEXTS[row] for rows in drawn_rows(LABELS[TRAIN], **settings) for row in rows}
    assert sorted(seen) == sorted([*TEXTS[TEST], *drawn])
    whole = few_shot_accuracy(
        VECTORS[TRAIN], LABELS[TRAIN], VECTORS[TEST], LABELS[TEST], **settings
    )
    assert found == whole
    assert 0.5 < found < 1


def test_what_can_be_told_apart_is() -> None:
    vectors = np.eye(3, dtype=np.float32)[LABELS]
    assert few_shot_accuracy(vectors, LABELS, vectors, LABELS) == 1


def test_more_texts_teach_more() -> None:
    few, many = (
        few_shot_accuracy(
            VECTORS[TRAIN], LABELS[TRAIN], VECTORS[TEST], LABELS[TEST], texts_per_label=number
        )
        for number in (1, 20)
    )
    assert few < many


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ((VECTORS[:5], LABELS[:4]), (VECTORS, LABELS), "found 5 vectors and 4 labels"),
        ((VECTORS, LABELS), (VECTORS[:0], []), "each test vector.*found 0 vectors"),
        ((VECTORS, [1] * 120), (VECTORS, LABELS), r"two labels or more; found \[1\]"),
    ],
)
def test_what_does_not_fit_is_refused(train: tuple, test: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        few_shot_accuracy(*train, *test)


@pytest.mark.slow
@real_data.needed
def test_the_published_score_of_minilm() -> None:
    """MTEB, Banking77Classification: .8004."""
    train, test = (real_data.columns(f"banking77/{split}") for split in ("train", "test"))
    found = few_shot_accuracy_of_texts(
        real_data.minilm().embed,
        train=(train["text"], train["label"]),
        test=(test["text"], test["label"]),
    )
    assert found == pytest.approx(0.80042, abs=0.002)
