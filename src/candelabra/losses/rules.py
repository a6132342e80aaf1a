"""Requirements of embedding losses: columns, comparison within a batch, and sampling of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from candelabra.data.mixing.arranging import Arrange

Loss = Callable[..., Tensor]
Shape = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """Requirements of an embedding loss.

    Attributes:
        shapes: Column roles that the loss accepts. Empty if unknown; any columns are then allowed.
        in_batch: Whether the loss compares examples with each other. It is then computed over all
            examples of an optimizer step at once.
        num_labels: Required number of labels, or `None` for any number.
        arrange: Function that orders examples into batches, or `None` for the sampled order.
    """

    shapes: tuple[Shape, ...] = ()
    in_batch: bool = False
    num_labels: int | None = None
    arrange: Arrange | None = None

    def check(self, shape: Shape, labels: Sequence[str]) -> None:
        """Raise an error if the columns or the labels do not suit this loss.

        Args:
            shape: Column roles of the data.
            labels: Label names of the task.

        Raises:
            ValueError: The loss does not accept `shape`, or the number of labels is wrong.
        """
        if self.shapes and shape not in self.shapes:
            wanted = " or ".join(", ".join(roles) for roles in self.shapes)
            raise ValueError(f"this loss learns from {wanted}; the columns are {', '.join(shape)}")
        if self.num_labels is not None and len(labels) != self.num_labels:
            raise ValueError(
                f"this loss needs {self.num_labels} labels, first of pairs that differ, then of "
                f"pairs that belong together; found {len(labels)}: {', '.join(labels)}"
            )


def rule_of(function: Loss) -> Rule:
    """Return the rule of a loss.

    A loss without a rule accepts any columns and is assumed to treat examples independently. A
    loss that compares examples must be decorated with `@rule(..., in_batch=True)`.

    Example:
        >>> from candelabra.losses import ranking
        >>> rule_of(ranking).in_batch
        True
        >>> rule_of(lambda embeddings_BKD, labels_B: embeddings_BKD.sum())
        Rule(shapes=(), in_batch=False, num_labels=None, arrange=None)
    """
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "rule", Rule())


def losses_for(shape: Shape) -> tuple[str, ...]:
    """Return the names of the `loss` options that accept the given column roles.

    Example:
        >>> import candelabra.losses
        >>> losses_for(("anchor", "positive", "negative"))
        ('ranking', 'triplet')
    """
    return tuple(name for name, rule in RULES.items() if shape in rule.shapes)


RULES: dict[str, Rule] = {}
"""Rules of the decorated losses by function name, used in error messages."""


def rule(*shapes: Shape, **settings: Any) -> Callable[[Loss], Loss]:
    """Create a decorator that attaches a `Rule` to a loss, also to losses in your own modules.

    Args:
        shapes: Column roles that the loss accepts.
        settings: The other attributes of `Rule`.

    Example:
        >>> @rule(("anchor", "positive", "negative"), in_batch=True)
        ... def nearest(embeddings_BKD, labels_B):
        ...     return embeddings_BKD.sum()
        >>> rule_of(nearest).shapes
        (('anchor', 'positive', 'negative'),)
        >>> del RULES["nearest"]
    """

    def give(function: Loss) -> Loss:
        """Attach the rule to a loss."""
        function.rule = RULES[function.__name__] = Rule(shapes, **settings)  # type: ignore[attr-defined]
        return function

    return give
