"""Interface of the methods of pre-training, and what they share.

Shapes: B examples, W predicted tokens, V vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from candelabra.data.collate import TokenizedSplit
from candelabra.data.tokens import TextTokenizer
from candelabra.model.backbones import Backbone
from candelabra.model.encoder import Encoder
from candelabra.model.heads.base import Head
from candelabra.records import Examples


@dataclass(frozen=True, kw_only=True)
class ChangingSplit(TokenizedSplit):
    """Split whose texts are changed at random when they are collated.

    The change of a text depends on the seed, the step and the row alone, so that processes, workers
    and a resumed run change it in the same way.

    Attributes:
        seed: Seed of the changes.
    """

    seed: int

    def generator(self, row: int, step: int | None) -> torch.Generator:
        """Return the generator for the change of a text.

        Args:
            row: Index of the text.
            step: Number of the optimizer step; `None` is an evaluation.
        """
        words = [self.seed, 0 if step is None else step + 1, row]
        state = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(state))


class PretrainingHead(Head):
    """Base class of heads that predict tokens, whose logits are (B, W, V)."""

    @abstractmethod
    def save(self, encoder: Encoder, folder: Path) -> None:
        """Write the encoder to a folder of transformers.

        Args:
            encoder: The pre-trained encoder.
            folder: Folder to write to.
        """

    def decode(self, logits: Tensor, first_BW: Tensor | None) -> Tensor:
        """Return the logarithms of the probabilities, (B, W, V)."""
        return logits.float().log_softmax(dim=-1)

    def describe(self, logits: Tensor, first_BW: Tensor | None, examples: Examples) -> list[Any]:
        """Return the most probable token ids of each example."""
        ids: list[Any] = logits.argmax(dim=-1).tolist()
        return ids

    def describe_labels(self, examples: Examples) -> list[Any]:
        """Return `None` for each example, because its labels are its own tokens."""
        return [None] * len(examples)


class PretrainingMethod(Protocol):
    """Interface of a method: it changes the texts that the encoder reads, and predicts tokens."""

    def load(self, backbone: Backbone, tokenizer: TextTokenizer) -> tuple[Encoder, PretrainingHead]:
        """Return the encoder of a backbone with a head for this method.

        Raises:
            ConfigError: The weights are missing, or the method does not fit the backbone or its
                tokenizer.
        """

    def split(self, plain: TokenizedSplit, tokenizer: TextTokenizer, *, seed: int) -> ChangingSplit:
        """Return the split whose texts this method changes when they are collated.

        Args:
            plain: The texts, tokenized and without labels.
            tokenizer: Tokenizer of the encoder.
            seed: Seed of the changes to the texts.
        """


def padded(rows: Sequence[Tensor], fill: int) -> Tensor:
    """Return rows as one tensor with at least one column.

    Example:
        >>> padded([torch.tensor([5, 6]), torch.tensor([7])], -1)
        tensor([[ 5,  6],
                [ 7, -1]])
    """
    filled = pad_sequence(list(rows), batch_first=True, padding_value=fill)
    return filled if filled.shape[1] else filled.new_full((len(rows), 1), fill)
