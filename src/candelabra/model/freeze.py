"""Which parameters learn: a scheme says what is frozen at a step, a `Freezer` sees to it.

A scheme is a function `(model, step) -> modules`. The modules it names are frozen, all of their
parameters with them; everything else learns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

from torch import nn


class Freezable(Protocol):
    """What schemes and the `Freezer` look at; an `nn.Module` of this shape."""

    training: bool

    @property
    def encoder(self) -> Any:
        """An `nn.Module` with a module `embeddings` and the lists `stem` and `layers`."""

    @property
    def heads(self) -> nn.ModuleDict:
        """The heads by task name."""

    @property
    def idle(self) -> Sequence[nn.Module]:
        """What takes no part in any task's answer."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """All parameters, as `nn.Module` gives them."""


Scheme = Callable[[Any, int], Iterable[nn.Module]]
"""`(model, step) -> modules`: what is frozen at that optimizer step, counted from 0."""


def none(model: Freezable, step: int) -> list[nn.Module]:
    """Everything learns."""
    return []


def encoder(model: Freezable, step: int) -> list[nn.Module]:
    """The whole encoder is frozen; poolings and heads learn."""
    return [model.encoder]


def embeddings(model: Freezable, step: int) -> list[nn.Module]:
    """The encoder's embedding layer is frozen."""
    return [model.encoder.embeddings]


def lower_layers(model: Freezable, step: int, *, num_layers: int) -> list[nn.Module]:
    """The stem (embeddings) and the lowest layers of the encoder are frozen (Lee et al. 2019).

    Args:
        model: The model.
        step: The optimizer step; of no influence.
        num_layers: How many layers, counted from the embeddings; 0 freezes the embeddings only.

    Raises:
        ValueError: The encoder has fewer layers, or `num_layers` is negative.
    """
    layers: Sequence[nn.Module] = model.encoder.layers
    if not 0 <= num_layers <= len(layers):
        raise ValueError(
            f"freeze.num_layers must lie between 0 and {len(layers)}, the number of layers of "
            f"this encoder; found {num_layers}"
        )
    return [*model.encoder.stem, *layers[:num_layers]]


def head(model: Freezable, step: int, *, head: str) -> list[nn.Module]:
    """One task's head is frozen. An encoder that learns still moves the features it reads.

    Args:
        model: The model.
        step: The optimizer step; of no influence.
        head: The name of its task.

    Raises:
        ValueError: The model has no such head.
    """
    names = list(model.heads)
    if head not in names:
        nearest = get_close_matches(head, names, n=1, cutoff=0.0)
        hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
        raise ValueError(f"freeze.head must name one of the heads {names}; found {head!r}{hint}")
    return [model.heads[head]]


def combine(model: Freezable, step: int, *, parts: Sequence[Scheme]) -> list[nn.Module]:
    """What any of several schemes freezes.

    Args:
        model: The model.
        step: The optimizer step, handed to each part.
        parts: The schemes.
    """
    return list({id(m): m for part in parts for m in part(model, step)}.values())


class Freezer:
    """The one owner of `requires_grad`: makes the model follow a scheme.

    What takes no part in any answer is frozen with it.

    A frozen module gets no gradient and runs in eval mode, so without dropout, while the rest of
    the model trains. `model.train()` knows nothing of that: call `hold` after it, best in the
    model's own `train`:

        def train(self, mode: bool = True) -> Self:
            super().train(mode)
            self.freezer.hold(self)
            return self

    Args:
        scheme: What is frozen at which step.
    """

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme
        self._frozen: tuple[nn.Module, ...] = ()

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        """The modules that were frozen at the last `apply`."""
        return self._frozen

    def apply(self, model: Freezable, step: int) -> bool:
        """Freeze what the scheme names at `step`; let everything else learn.

        A parameter that a frozen module shares with one that learns is frozen.

        Returns:
            Whether the set of learning parameters changed.
        """
        thawed, self._frozen = self._frozen, (*self.scheme(model, step), *model.idle)
        held = {id(parameter) for module in self._frozen for parameter in module.parameters()}
        changed = False
        for parameter in model.parameters():
            learns = id(parameter) not in held
            changed |= parameter.requires_grad is not learns
            parameter.requires_grad_(learns)
        if model.training:
            for module in thawed:
                module.train()
        self.hold(model)
        return changed

    def hold(self, model: Freezable) -> None:
        """Put the frozen modules back into eval mode, if the model trains."""
        if model.training:
            for module in self._frozen:
                module.eval()
