"""What the layers hand to each other.

Shapes: B examples, L token positions, W words, D encoder width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IGNORED = -100
"""Label of a position that no loss and no metric counts (PyTorch's `ignore_index`)."""


@dataclass(frozen=True)
class Examples:
    """The validated rows of one split, on the host.

    Attributes:
        texts: One list of texts for each text column of the task.
        labels: For each row a class id; or a list, with a tag id for each word or, of several
            labels, 1 or 0 for each of them; or a number.
        words: For tagging, the (start, end) characters of each row's words in its text.
        rows: Each example's row in its source, counted from 0.
    """

    texts: tuple[list[str], ...]
    labels: list[Any]
    words: list[list[tuple[int, int]]] | None
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: list[int]) -> Self:
        """The examples at `indices`, in that order."""
        return replace(
            self,
            texts=tuple([column[i] for i in indices] for column in self.texts),
            labels=[self.labels[i] for i in indices],
            words=None if self.words is None else [self.words[i] for i in indices],
            rows=[self.rows[i] for i in indices],
        )


class _OnDevice:
    """Moves every tensor of a dataclass, also inside tuples of such dataclasses."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same record on `device`; Lightning calls this, and asks bare tensors only to hurry.

        A copy to a GPU from page-locked memory need not be waited for.
        """
        to_gpu = str(device).startswith("cuda")
        return self._each("to", device, non_blocking=non_blocking or to_gpu)

    def pin_memory(self) -> Self:
        """The same record in page-locked memory; the DataLoader calls this."""
        return self._each("pin_memory")

    def _each(self, method: str, *args: object, **kwargs: object) -> Self:
        def call(value: object) -> object:
            if isinstance(value, tuple):
                return tuple(call(item) for item in value)
            return getattr(value, method)(*args, **kwargs) if hasattr(value, method) else value

        moved = {field.name: call(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass(frozen=True)
class Tokens(_OnDevice):
    """A padded batch of tokenised texts.

    Attributes:
        ids_BL: Token ids.
        mask_BL: 1 where a token is, 0 where padding is.
        types_BL: Of pairs in one sequence, 1 where the second text is; None of single texts.
    """

    ids_BL: Tensor
    mask_BL: Tensor
    types_BL: Tensor | None = None


@dataclass(frozen=True)
class Batch(_OnDevice):
    """One task's part of a step.

    Attributes:
        texts: One `Tokens` for each text column.
        labels: Class ids (B); tag ids for every word (B, W), padded with `IGNORED`; 1 or 0 for
            each of several labels (B, C); or numbers (B), where NaN does not count.
        rows_B: Index of each example in its split.
        num_units: What the loss is divided by: the examples, labelled words, or known labels of
            each example, of this task in the whole optimizer step, over all ranks and
            micro-batches.
        num_examples: The examples of this task in the whole optimizer step.
        num_tokens: Their tokens, without padding.
        first_BW: For tagging, the position of each word's first piece; -1 where the word was cut
            by truncation, or is padding.
        counted: False where the examples only keep a process' heads busy: no label counts.
    """

    texts: tuple[Tokens, ...]
    labels: Tensor
    rows_B: Tensor
    num_units: int
    num_examples: int
    num_tokens: int
    first_BW: Tensor | None = None
    counted: bool = True

    @property
    def targets(self) -> Tensor:
        """The labels that a loss sees: words cut by truncation are ignored too."""
        if self.first_BW is None:
            return self.labels
        return self.labels.masked_fill(self.first_BW < 0, IGNORED)


@dataclass(frozen=True)
class Encoded:
    """A batch of texts after the encoder.

    Attributes:
        hidden_BLD: Token embeddings.
        mask_BL: 1 where a token is, 0 where padding is.
        layers: On demand, what every layer gave, (B, L, D) each: the embeddings first, then from
            the lowest layer up to `hidden_BLD`.
    """

    hidden_BLD: Tensor
    mask_BL: Tensor
    layers: tuple[Tensor, ...] | None = None
