"""How well a small classifier does on embeddings: MTEB's protocol for classification.

Muennighoff et al. 2023, "MTEB: Massive Text Embedding Benchmark", section 3.2; the details, down
to the order of the draws, are those of the `mteb` package (`AbsTaskClassification`, 2.x), so that
the score is the one of its leaderboard.

Shapes: N texts, D width of an embedding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

SEED = 42
NUM_EXPERIMENTS = 10
TEXTS_PER_LABEL = 8
MOST_STEPS = 100
"""Of the classifier's solver."""

Labels = Sequence[int] | Sequence[str] | np.ndarray


def few_shot_accuracy(
    train_ND: np.ndarray,
    train_labels: Labels,
    test_ND: np.ndarray,
    test_labels: Labels,
    *,
    num_experiments: int = NUM_EXPERIMENTS,
    texts_per_label: int = TEXTS_PER_LABEL,
) -> float:
    """The mean accuracy of logistic regressions, each on a few training texts of every label.

    Args:
        train_ND: The vectors of the training texts; only those of `drawn_rows` are read.
        train_labels: The label of each.
        test_ND: The vectors that are classified.
        test_labels: The label of each.
        num_experiments: How many regressions.
        texts_per_label: What each of them draws.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: Vectors and labels differ in number, there is no test text, or fewer than two
            training labels.
    """
    _check("training", train_ND, train_labels)
    _check("test", test_ND, test_labels)
    if len(set(train_labels)) < 2:
        raise ValueError(f"a probe needs two labels or more; found {sorted(set(train_labels))}")
    labels = np.asarray(train_labels)
    shares = []
    for rows in drawn_rows(
        train_labels, num_experiments=num_experiments, texts_per_label=texts_per_label
    ):
        classifier = LogisticRegression(random_state=SEED, max_iter=MOST_STEPS)
        classifier.fit(train_ND[rows], labels[rows])
        shares.append(np.mean(classifier.predict(test_ND) == np.asarray(test_labels)))
    return float(np.mean(shares))


def few_shot_accuracy_of_texts(
    embed: Callable[[list[str]], np.ndarray],
    *,
    train: tuple[Sequence[str], Labels],
    test: tuple[Sequence[str], Labels],
    num_experiments: int = NUM_EXPERIMENTS,
    texts_per_label: int = TEXTS_PER_LABEL,
) -> float:
    """As `few_shot_accuracy`, from texts; of the training texts only those drawn are embedded.

    Args:
        embed: Texts -> vectors (N, D), as `Embedder.embed`.
        train: Training texts and their labels.
        test: Test texts and their labels.
        num_experiments: How many regressions.
        texts_per_label: What each of them draws.
    """
    settings = {"num_experiments": num_experiments, "texts_per_label": texts_per_label}
    drawn = sorted({row for rows in drawn_rows(train[1], **settings) for row in rows})
    test_ND = embed(list(test[0]))
    train_ND = np.full((len(train[0]), test_ND.shape[1]), np.nan, dtype=test_ND.dtype)
    train_ND[drawn] = embed([train[0][row] for row in drawn])
    return few_shot_accuracy(train_ND, train[1], test_ND, test[1], **settings)


def drawn_rows(
    labels: Labels,
    *,
    num_experiments: int = NUM_EXPERIMENTS,
    texts_per_label: int = TEXTS_PER_LABEL,
) -> list[list[int]]:
    """The rows that each experiment learns from: the first few of every label in a new order.

    Each experiment shuffles the order of the one before; the shuffle is always the same one.
    """
    order = list(range(len(labels)))
    experiments = []
    for _ in range(num_experiments):
        np.random.RandomState(SEED).shuffle(order)  # as the protocol does, and not np.random's new
        taken: Counter[int | str] = Counter()
        rows = []
        for row in order:
            if taken[labels[row]] < texts_per_label:
                taken[labels[row]] += 1
                rows.append(row)
        experiments.append(rows)
    return experiments


def _check(what: str, vectors_ND: np.ndarray, labels: Labels) -> None:
    if len(vectors_ND) != len(labels) or not len(labels):
        raise ValueError(
            f"a probe needs a label for each {what} vector, and one or more; "
            f"found {len(vectors_ND)} vectors and {len(labels)} labels"
        )
