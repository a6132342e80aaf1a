"""Re-ranking with a cross-encoder, which reads a query and a text in one sequence.

A cross-encoder needs a forward pass per pair, so it is slower than comparing embeddings, but more
accurate (Reimers & Gurevych 2019, section 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.cross_encoders import scoring_task
from candelabra.data.collate import longest_first, pad_tokens
from candelabra.hardware import half


@dataclass(frozen=True)
class CrossEncoder:
    """Function that scores texts for a query with a cross-encoder.

    Attributes:
        bundle: Bundle with the model.
        task: Name of the task. Its head predicts a number, or one of two labels of which the second
            one means that the texts match.
        batch_size: Number of pairs per forward pass. Batches contain pairs of similar length.
        precision: `32-true`, or `bf16-mixed` on hardware that supports it.
    """

    bundle: Bundle
    task: str
    batch_size: int = 64
    precision: str = "32-true"

    @torch.inference_mode()
    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        """Compute the score of each text. Higher scores mean a better match with the query."""
        if not texts:
            return []
        tokenizer, model = self.bundle.tokenizer, self.bundle.model
        tokenized = tokenizer.pairs([query] * len(texts), texts)
        assert tokenized.second is not None
        device = next(model.parameters()).device
        scores_N = np.empty(len(texts))
        for rows in longest_first(tokenized.lengths, self.batch_size):
            pieces = [tokenized.text(row) for row in rows]
            tokens = pad_tokens(pieces, tokenizer.pad_id, tokenized.second[rows])
            with half(self.precision, device.type):
                logits = model.infer_task(self.task, tokens.to(device))
            scores_N[rows] = self._scores(logits.float()).cpu().numpy()
        return [float(score) for score in scores_N]

    def _scores(self, logits: Tensor) -> Tensor:
        return self.bundle.model.head(self.task).match_scores(logits)


def cross_encoder(
    bundle: Bundle,
    *,
    name: str,
    task: str | None = None,
    batch_size: int = 64,
    precision: str = "32-true",
) -> CrossEncoder:
    """Return the cross-encoder of a bundle.

    Args:
        bundle: Bundle with the model.
        name: Name of the bundle for error messages.
        task: Name of the task. Required if several tasks are cross-encoders.
        batch_size: As in `CrossEncoder`.
        precision: As in `CrossEncoder`.

    Raises:
        ConfigError: There is no such task, the choice is ambiguous, or the task predicts neither a
            number nor one of two labels.
    """
    chosen = scoring_task(bundle.config.tasks, bundle.labels, name=name, task=task)
    return CrossEncoder(bundle, chosen, batch_size, precision)
