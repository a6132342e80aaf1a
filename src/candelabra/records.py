"""Records that are passed between data, model and training code.

Shapes: B examples, L token positions, W words, D encoder width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IGNORED = -100
"""Label of positions that losses and metrics ignore (PyTorch's `ignore_index`)."""


@dataclass(frozen=True)
class TrainingProgress:
    """Position of a training run, which shares and frozen parameters may depend on.

    Attributes:
        step: Number of completed optimizer steps.
        steps_per_epoch: Number of optimizer steps in an epoch.
        total_steps: Number of optimizer steps of the run.
        scores: Latest main metric of each task; empty before the first validation.
    """

    step: int = 0
    steps_per_epoch: int = 1
    total_steps: int = 1
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def epochs(self) -> float:
        """Number of completed epochs, including the fraction of the current one."""
        return self.step / self.steps_per_epoch

    @property
    def fraction(self) -> float:
        """Position of the step between the first step of the run (0) and the last (1)."""
        return min(1.0, self.step / max(1, self.total_steps - 1))


@dataclass(frozen=True)
class Examples:
    """Validated rows of one split, in CPU memory.

    Attributes:
        texts: One list of texts for each text column of the task.
        labels: One label for each row: a class id (classification), a list of tag ids, one for each
            word (tagging), a list of 0 or 1, one for each label (multi-label), or a number
            (regression).
        words: For tagging, the (start, end) character offsets of the words of each row; else
            `None`.
        rows: Index of each example in its source, counted from 0. Unlabelled rows of another file
            are counted on.
    """

    texts: tuple[list[str], ...]
    labels: list[Any]
    words: list[list[tuple[int, int]]] | None
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: list[int]) -> Self:
        """Return the examples at `indices`, in that order."""
        return replace(
            self,
            texts=tuple([column[i] for i in indices] for column in self.texts),
            labels=[self.labels[i] for i in indices],
            words=None if self.words is None else [self.words[i] for i in indices],
            rows=[self.rows[i] for i in indices],
        )

    def followed_by(self, other: Examples) -> Self:
        """Return these examples and, after them, others of the same task."""
        return replace(
            self,
            texts=tuple(a + b for a, b in zip(self.texts, other.texts, strict=True)),
            labels=self.labels + other.labels,
            words=None if self.words is None else self.words + (other.words or []),
            rows=self.rows + other.rows,
        )


class _OnDevice:
    """Mixin for dataclasses that moves all tensors, including those in nested tuples."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the record on `device`; Lightning calls this.

        Copies to a GPU are non-blocking even if `non_blocking` is false, since Lightning requests
        non-blocking copies only for plain tensors. From pinned memory they are asynchronous.
        """
        to_gpu = str(device).startswith("cuda")
        return self._each("to", device, non_blocking=non_blocking or to_gpu)

    def pin_memory(self) -> Self:
        """Return the record in pinned (page-locked) memory; the DataLoader calls this."""
        return self._each("pin_memory")

    def _each(self, method: str, *args: object, **kwargs: object) -> Self:
        def call(value: object) -> object:
            """Call the method of a tensor, or of each tensor of a tuple."""
            if isinstance(value, tuple):
                return tuple(call(item) for item in value)
            return getattr(value, method)(*args, **kwargs) if hasattr(value, method) else value

        moved = {field.name: call(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass(frozen=True)
class Tokens(_OnDevice):
    """Padded batch of tokenised texts.

    Attributes:
        ids_BL: Token ids.
        mask_BL: Attention mask: 1 for tokens, 0 for padding.
        types_BL: Token types of text pairs in one sequence: 0 for the first text, 1 for the second;
            `None` for single texts.
        features_BLD: Stored output of the frozen part of the encoder for these texts, or of a
            pooling after it, (B, 1, D). `None` if it has to be computed.
    """

    ids_BL: Tensor
    mask_BL: Tensor
    types_BL: Tensor | None = None
    features_BLD: Tensor | None = None


@dataclass(frozen=True)
class Batch(_OnDevice):
    """Examples of one task in a micro-batch on one rank.

    Attributes:
        texts: One `Tokens` for each text column.
        labels: Class ids (B); tag ids of every word (B, W), padded with `IGNORED`; 0 or 1 for each
            of C labels (B, C); or numbers (B), where NaN marks a missing label.
        rows_B: Index of each example in its split.
        num_units: Divisor of the loss: the number of examples, labelled words or known labels of
            this task in the whole optimizer step, over all ranks and micro-batches.
        num_examples: Number of examples of this task in the whole optimizer step.
        num_tokens: Number of tokens of these examples, without padding.
        first_BW: For tagging, the position of each word's first token; -1 for padding and for words
            removed by truncation. Otherwise `None`.
        counted: False for filler examples, whose labels are ignored; they exist so that every
            process runs the same heads.
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
        """Return the labels for the loss, with truncated words set to `IGNORED`."""
        if self.first_BW is None:
            return self.labels
        return self.labels.masked_fill(self.first_BW < 0, IGNORED)


@dataclass(frozen=True)
class Encoded:
    """Output of the encoder for a batch of texts.

    Attributes:
        hidden_BLD: Token embeddings of the last layer.
        mask_BL: Attention mask: 1 for tokens, 0 for padding.
        layers: Outputs of all layers, (B, L, D) each, if requested: the input embeddings, then the
            layers from the lowest up to `hidden_BLD`. Otherwise `None`.
    """

    hidden_BLD: Tensor
    mask_BL: Tensor
    layers: tuple[Tensor, ...] | None = None
