"""Retrieval metrics, where each anchor searches all other texts of a split.

Shapes: B rows of a batch, N rows of all batches, K texts per row, D embedding width, Q distinct
anchors, C distinct documents (positives and negatives), R relevant (anchor, document) pairs, T
top-ranked documents.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from candelabra.metrics.base import RowMetric
from candelabra.metrics.measures import check_texts
from candelabra.metrics.nearest import blocks, first_same

TOP = 10
"""Number of top-ranked documents that `mrr` and `ndcg` use."""
RECALL_AT = (1, 5, 10)
KEYS = ("mrr", "ndcg", *(f"recall_at_{k}" for k in RECALL_AT))


class RetrievalMetrics(RowMetric):
    """MRR, nDCG and recall of a search by cosine among all texts of the split.

    Every distinct anchor is a query. The documents are all distinct positives and negatives. The
    documents relevant to an anchor are the positives of all rows with this anchor. Texts are
    considered equal if their embeddings are (`candelabra.metrics.nearest.first_same`).

    `mrr` is the reciprocal rank of the first relevant document, 0 if its rank is above 10. `ndcg`
    is the normalized discounted cumulative gain at 10 (Jarvelin & Kekalainen 2002). `recall_at_1`,
    `recall_at_5` and `recall_at_10` are the shares of the relevant documents that are among the
    first 1, 5 and 10. All are means over anchors, and 0 if there are no rows.

    Args:
        labels: Ignored: the rows define the relevant documents.

    Example:
        >>> metrics = RetrievalMetrics()
        >>> metrics.update(torch.eye(2)[:, None].repeat(1, 2, 1), torch.ones(2))
        >>> float(metrics.compute()["recall_at_1"])
        1.0
    """

    num_texts: Tensor

    def __init__(self, labels: Sequence[str] = ()) -> None:
        super().__init__()
        self.add_state("num_texts", torch.zeros((), dtype=torch.long), dist_reduce_fx="max")

    def update(self, embeddings_BKD: Tensor, labels_B: Tensor) -> None:
        """Store the embeddings of a batch.

        Args:
            embeddings_BKD: Embeddings of the anchor, the positive, and K - 2 negatives of each row.
            labels_B: Rows with NaN or `IGNORED` (-100) are skipped. Other values have no effect.

        Raises:
            ValueError: K is less than 2.
        """
        check_texts(embeddings_BKD, "retrieval metrics", least=2)
        self.keep(embeddings_BKD.flatten(1), labels_B)
        self.num_texts = torch.full_like(self.num_texts, embeddings_BKD.shape[1])

    def compute(self) -> dict[str, Tensor]:
        """Compute all scores, scalars from 0 to 1."""
        rows, labels_N = self.counted()
        if not len(labels_N):
            return {key: torch.zeros((), device=labels_N.device) for key in KEYS}
        vectors_NKD = rows.view(len(rows), int(self.num_texts), -1)
        return retrieval_scores(vectors_NKD[:, 0], vectors_NKD[:, 1], vectors_NKD[:, 2:])


def retrieval_scores(
    anchors_ND: Tensor, positives_ND: Tensor, negatives_NKD: Tensor
) -> dict[str, Tensor]:
    """Compute the scores of `RetrievalMetrics` from one or more rows.

    Args:
        anchors_ND: Embeddings of the anchors.
        positives_ND: Embeddings of the positives.
        negatives_NKD: Embeddings of K negatives per row; K may be 0.

    Returns:
        A scalar from 0 to 1 for each of `KEYS`.

    Example:
        >>> vectors_ND = torch.eye(2)
        >>> scores = retrieval_scores(vectors_ND, vectors_ND, vectors_ND.new_empty(2, 0, 2))
        >>> scores["mrr"]
        tensor(1., dtype=torch.float64)
    """
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
    """Compute each score for each query in `part`."""
    query_R, answer_R = right_R2[(right_R2[:, 0] >= part.start) & (right_R2[:, 0] < part.stop)].T
    right = torch.zeros(len(top), num_answers, dtype=torch.bool, device=top.device)
    right[query_R - part.start, answer_R] = True
    hits, num_right = right.gather(1, top).double(), right.sum(1)
    places_T = torch.arange(1, hits.shape[1] + 1, device=top.device)
    gains_T = 1 / (places_T + 1.0).double().log2()
    ideal = gains_T.cumsum(0)[num_right.clamp(max=len(gains_T)) - 1]
    recalls = {f"recall_at_{k}": hits[:, :k].sum(1) / num_right for k in RECALL_AT}
    return {"mrr": (hits / places_T).amax(1), "ndcg": (hits * gains_T).sum(1) / ideal, **recalls}
