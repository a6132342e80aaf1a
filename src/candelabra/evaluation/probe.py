"""Few-shot classification on embeddings, following MTEB's protocol for classification.

Muennighoff et al. 2023, "MTEB: Massive Text Embedding Benchmark", section 3.2. All details,
including the order of random draws, are those of the `mteb` package (`AbsTaskClassification`, 2.x),
so scores are comparable with its leaderboard.

Shapes: N texts, D embedding width.
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
"""Maximum number of iterations of the logistic regression."""

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
    """Compute the mean accuracy of logistic regressions on a few training texts per label.

    Args:
        train_ND: Embeddings of the training texts. Only the rows from `drawn_rows` are read.
        train_labels: Labels of the training texts.
        test_ND: Embeddings of the test texts.
        test_labels: Labels of the test texts.
        num_experiments: Number of regressions, each on other training texts.
        texts_per_label: Number of training texts per label.

    Returns:
        Mean accuracy, from 0 to 1.

    Raises:
        ValueError: Numbers of embeddings and labels differ, there are no test texts, or there are
            fewer than two distinct training labels.

    Example:
        >>> vectors_ND = np.array([[-1.0], [1.0]])
        >>> few_shot_accuracy(vectors_ND, ["low", "high"], vectors_ND, ["low", "high"])
        1.0
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
    """Compute `few_shot_accuracy` from texts, embedding only the training texts that are used.

    Args:
        embed: Function that returns the embeddings (N, D) of N texts, as `Embedder.embed`.
        train: Training texts and their labels.
        test: Test texts and their labels.
        num_experiments: Number of regressions, each on other training texts.
        texts_per_label: Number of training texts per label.
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
    """Choose the training rows of each experiment.

    An experiment uses the first `texts_per_label` rows of every label in a shuffled order. As in
    mteb, each experiment shuffles the previous order again with the same seed.

    Args:
        labels: Labels of the training texts.
        num_experiments: Number of experiments.
        texts_per_label: Maximum number of rows per label.

    Returns:
        The row indices of each experiment.
    """
    order = list(range(len(labels)))
    experiments = []
    for _ in range(num_experiments):
        # The protocol uses the legacy generator; `np.random.default_rng` shuffles differently.
        np.random.RandomState(SEED).shuffle(order)
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
