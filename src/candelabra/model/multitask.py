"""One encoder and its named heads: a plain nn.Module."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from candelabra.model.encoder import Encoder
from candelabra.model.freeze import Freezer
from candelabra.model.heads import Head
from candelabra.records import Batch, Encoded, Tokens


class MultiTaskModel(nn.Module):
    """One stem, several lights.

    Args:
        encoder: The shared encoder.
        heads: A head for each task.
        pooling: The run's pooling, (hidden_BLD, mask_BL) -> sentence_BD.
        poolings: The tasks that pool in another way.
        freezer: Owner of `requires_grad`; None lets everything learn.
    """

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, Head],
        *,
        pooling: nn.Module,
        poolings: Mapping[str, nn.Module] | None = None,
        freezer: Freezer | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.pooling = pooling
        self.poolings = nn.ModuleDict(poolings or {})
        self.freezer = freezer

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Training: a pass of the encoder for each task, at its own length.

        One concatenated pass would pad short texts to the longest task's length.
        """
        return {
            task: self._logits(
                task, tuple(self.encoder(tokens) for tokens in batch.texts), batch.first_BW
            )
            for task, batch in batches.items()
        }

    def serve(self, tokens: Tokens, first_BW: Tensor | None) -> dict[str, Tensor]:
        """Inference: one pass of the encoder serves all heads."""
        encoded = (self.encoder(tokens),)
        return {task: self._logits(task, encoded, first_BW) for task in self.heads}

    def _logits(self, task: str, encoded: tuple[Encoded, ...], first_BW: Tensor | None) -> Tensor:
        pooling = self.poolings[task] if task in self.poolings else self.pooling  # noqa: SIM401
        return self.head(task)(encoded, pooling, first_BW)

    def head(self, task: str) -> Head:
        """The head of a task."""
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def train(self, mode: bool = True) -> MultiTaskModel:
        """As in torch, but frozen parts stay in eval mode."""
        super().train(mode)
        if self.freezer is not None:
            self.freezer.hold(self)
        return self
