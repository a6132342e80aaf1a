"""Scores of search: does an anchor find its positive among those of the whole split?

Shapes: B rows of a batch, N of all batches, K texts of a row, D width of an embedding,
Q distinct anchors, C distinct answers, R right (anchor, answer) pairs, T answers that are looked
at.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from candelabra.metrics.kept import KeptRows
from candelabra.metrics.likeness import check_texts
from candelabra.metrics.searching import blocks, first_same

TOP = 10
"""How many answers `mrr` and `ndcg` look at."""
RECALL_AT = (1, 5, 10)
KEYS = ("mrr", "ndcg", *(f"recall_at_{k}" for k in RECALL_AT))


class RetrievalMetrics(KeptRows):
    """How well anchors find their positives, by cosine, among all texts of the split.

    Every distinct anchor searches all distinct positives and negatives of all rows. Right are
    the positives of its rows, so that a positive which stands in several rows, or an anchor that
    has several positives, counts for what it is. Which texts are equal is seen by their vectors
    (`candelabra.metrics.searching.first_same`).

    `mrr`: 1 / place of the first right answer, 0 beyond the tenth; `ndcg`: normalised discounted
    cumulative gain of the first ten (Jarvelin & Kekalainen 2002); `recall_at_1`, `_5`, `_10`: the
    share of the right answers among the first so many. Each is a mean over the anchors; all are
    0 of nothing.

    Args:
        labels: None: the right answers are in the rows.
    """

    num_texts: Tensor

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        self.add_state("num_texts", torch.zeros((), dtype=torch.long), dist_reduce_fx="max")

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Keep the embeddings of a batch.

        Args:
            embeddings_BKD: Anchor, positive, and any number of negatives, the same in all rows.
            labels_B: NaN, or `IGNORED` (-100) as a class id, leaves a row out; all else counts.

        Raises:
            ValueError: The embeddings are not of two or more texts a row.
        """
        check_texts(embeddings_BKD, "retrieval metrics", least=2)
        self.keep(embeddings_BKD.flatten(1), labels_B)
        self.num_texts = torch.full_like(self.num_texts, embeddings_BKD.shape[1])

    def compute(self) -> dict[str, Tensor]:
        """All scores, scalars from 0 to 1."""
        rows, labels_N = self.counted()
        if not len(labels_N):
            return {key: torch.zeros((), device=labels_N.device) for key in KEYS}
        vectors_NKD = rows.view(len(rows), int(self.num_texts), -1)
        return retrieval_scores(vectors_NKD[:, 0], vectors_NKD[:, 1], vectors_NKD[:, 2:])


def retrieval_scores(
    anchors_ND: Tensor, positives_ND: Tensor, negatives_NKD: Tensor
) -> dict[str, Tensor]:
    """The scores of `RetrievalMetrics`, from one or more rows; there may be no negatives."""
    anchor_N = first_same(anchors_ND)
    answers = torch.cat([positives_ND, negatives_NKD.flatten(0, 1)])
    answer = first_same(answers)
    queries, query_N = anchor_N.unique(return_inverse=True)
    corpus, place = answer.unique(return_inverse=True)
    right_R2 = torch.stack([query_N, place[: len(anchor_N)]], 1).unique(dim=0)
    queries_QD, corpus_CD = normalize(anchors_ND[queries]), normalize(answers[corpus])
    found = []
    for part in blocks(len(queries), len(corpus)):
        top = (queries_QD[part] @ corpus_CD.T).topk(min(TOP, len(corpus))).indices
        found.append(_scores(top, right_R2, part, len(corpus)))
    return {key: torch.cat([scores[key] for scores in found]).mean() for key in KEYS}


def _scores(top: Tensor, right_R2: Tensor, part: slice, num_answers: int) -> dict[str, Tensor]:
    """Of the queries in `part`, the score of each."""
    query_R, answer_R = right_R2[(right_R2[:, 0] >= part.start) & (right_R2[:, 0] < part.stop)].T
    right = torch.zeros(len(top), num_answers, dtype=torch.bool, device=top.device)
    right[query_R - part.start, answer_R] = True
    hits, num_right = right.gather(1, top).double(), right.sum(1)
    places_T = torch.arange(1, hits.shape[1] + 1, device=top.device)
    gains_T = 1 / (places_T + 1.0).double().log2()
    ideal = gains_T.cumsum(0)[num_right.clamp(max=len(gains_T)) - 1]
    recalls = {f"recall_at_{k}": hits[:, :k].sum(1) / num_right for k in RECALL_AT}
    return {"mrr": (hits / places_T).amax(1), "ndcg": (hits * gains_T).sum(1) / ideal, **recalls}
