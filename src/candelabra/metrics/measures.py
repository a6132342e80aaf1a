"""Similarity measures of two embeddings.

Shapes: B pairs, D embedding width.
"""

from __future__ import annotations

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import cosine_similarity

SIMILARITY_FUNCTIONS = ("cosine", "dot", "euclidean", "manhattan")
"""Names of the similarity measures. The first one is the default; distances are negated."""


def pairwise_similarity(left_BD: Tensor, right_BD: Tensor) -> list[Tensor]:
    """Compute the similarity of each pair by each of `SIMILARITY_FUNCTIONS`.

    Args:
        left_BD: First embedding of each pair.
        right_BD: Second embedding of each pair.

    Returns:
        A float32 tensor (B) for each measure. Distances are negated, so larger is more similar.

    Example:
        >>> import torch
        >>> pairwise_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
        [tensor([0.]), tensor([0.]), tensor([-2.2361]), tensor([-3.])]
    """
    left_BD, right_BD = left_BD.float(), right_BD.float()
    apart_BD = left_BD - right_BD
    return [
        cosine_similarity(left_BD, right_BD, dim=1),
        (left_BD * right_BD).sum(1),
        -vector_norm(apart_BD, dim=1),
        -vector_norm(apart_BD, ord=1, dim=1),
    ]


def named(metric: str, measure: str) -> str:
    """Return the key of a metric: `metric` for the cosine, `metric_measure` for other measures.

    Example:
        >>> named("spearman", "dot")
        'spearman_dot'
    """
    return metric if measure == SIMILARITY_FUNCTIONS[0] else f"{metric}_{measure}"


def check_texts(embeddings_BKD: Tensor, what: str, *, least: int, most: int | None = None) -> None:
    """Raise an error if the number of texts per example is wrong.

    Args:
        embeddings_BKD: Embeddings of B examples of K texts.
        what: Name of the metrics, in the plural, for the error message.
        least: Smallest allowed K.
        most: Largest allowed K, or `None` for no limit.

    Raises:
        ValueError: The tensor does not have three axes, or K is out of bounds.

    Example:
        >>> import torch
        >>> check_texts(torch.ones(8, 2, 4), "pair metrics", least=2, most=2)
        >>> check_texts(torch.ones(8, 3, 4), "pair metrics", least=2, most=2)
        Traceback (most recent call last):
        ValueError: pair metrics need embeddings (B, K, D) with K = 2; found (8, 3, 4)
    """
    shape = tuple(embeddings_BKD.shape)
    if len(shape) != 3 or shape[1] < least or (most is not None and shape[1] > most):
        at_most = "or more" if most is None else f"to {most}"
        wanted = f"K = {least}" if least == most else f"K of {least} {at_most}"
        raise ValueError(f"{what} need embeddings (B, K, D) with {wanted}; found {shape}")
