"""How alike two embeddings are.

Shapes: B pairs, D width of an embedding.
"""

from __future__ import annotations

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import cosine_similarity

MEASURES = ("cosine", "dot", "euclidean", "manhattan")
"""The cosine is the headline; distances are negated, so that more is more alike."""


def likeness(left_BD: Tensor, right_BD: Tensor) -> list[Tensor]:
    """How alike each pair is, by each of `MEASURES`, (B) each in float32."""
    left_BD, right_BD = left_BD.float(), right_BD.float()
    apart_BD = left_BD - right_BD
    return [
        cosine_similarity(left_BD, right_BD, dim=1),
        (left_BD * right_BD).sum(1),
        -vector_norm(apart_BD, dim=1),
        -vector_norm(apart_BD, ord=1, dim=1),
    ]


def named(metric: str, measure: str) -> str:
    """`metric` for the headline's measure, `metric_measure` for the others."""
    return metric if measure == MEASURES[0] else f"{metric}_{measure}"


def check_texts(embeddings_BKD: Tensor, what: str, *, least: int, most: int | None = None) -> None:
    """Refuses embeddings of another shape than `what` need.

    Args:
        embeddings_BKD: The embeddings of B examples.
        what: Who needs them, for the message.
        least: The texts of an example, K, are at least so many.
        most: And at most so many; None: any number.

    Raises:
        ValueError: They have not three axes, or K is out of these bounds.
    """
    shape = tuple(embeddings_BKD.shape)
    if len(shape) != 3 or shape[1] < least or (most is not None and shape[1] > most):
        at_most = "or more" if most is None else f"to {most}"
        wanted = f"K = {least}" if least == most else f"K of {least} {at_most}"
        raise ValueError(f"{what} need embeddings (B, K, D) with {wanted}; found {shape}")
