"""Scores of texts for a query by a cross-encoder: both go through the encoder together.

Slower than vectors by the number of texts, and better (Reimers & Gurevych 2019, section 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from candelabra.bundle import Bundle
from candelabra.data.collate import pad_tokens
from candelabra.embedding.scoring_task import scoring_task
from candelabra.hardware import half
from candelabra.model.regression import RegressionHead


@dataclass(frozen=True)
class CrossEncoder:
    """A task of a bundle that reads pairs in one sequence.

    Attributes:
        bundle: The model.
        task: Its head gives a number, or one of two labels, of which the second says that the
            texts belong together.
        batch_size: Pairs in a pass; neighbours in length share one.
        precision: `32-true`, or `bf16-mixed` where the hardware has it.
    """

    bundle: Bundle
    task: str
    batch_size: int = 64
    precision: str = "32-true"

    @torch.inference_mode()
    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """The score of each text; the higher, the more it belongs to the query."""
        if not texts:
            return []
        tokenizer, model = self.bundle.tokenizer, self.bundle.model
        tokenized = tokenizer.pairs([query] * len(texts), texts)
        assert tokenized.second is not None
        device = next(model.parameters()).device
        order, scores_N = np.argsort(-tokenized.lengths, kind="stable"), np.empty(len(texts))
        for begin in range(0, len(order), self.batch_size):
            rows = order[begin : begin + self.batch_size]
            pieces = [tokenized.text(row) for row in rows]
            tokens = pad_tokens(pieces, tokenizer.pad_id, tokenized.second[rows])
            with half(self.precision, device.type):
                logits = model.answer_alone(self.task, tokens.to(device))
            scores_N[rows] = self._scores(logits.float()).cpu().numpy()
        return [float(score) for score in scores_N]

    def _scores(self, logits: Tensor) -> Tensor:
        if isinstance(self.bundle.model.head(self.task), RegressionHead):
            return logits
        return logits.softmax(dim=-1)[:, 1]


def cross_encoder(
    bundle: Bundle,
    *,
    name: str,
    task: str | None = None,
    batch_size: int = 64,
    precision: str = "32-true",
) -> CrossEncoder:
    """The cross-encoder of a bundle.

    Args:
        bundle: The model.
        name: What messages call it.
        task: Which one, where there are several.
        batch_size: As in `CrossEncoder`.
        precision: As in `CrossEncoder`.

    Raises:
        ConfigError: There is none, there are several, or its answers are no scores.
    """
    chosen = scoring_task(bundle.config["tasks"], bundle.labels, name=name, task=task)
    return CrossEncoder(bundle, chosen, batch_size, precision)
