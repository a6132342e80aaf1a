"""What every freeze scheme is, and what it sees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: Optimizer steps done.
        steps_per_epoch: Optimizer steps of an epoch.
    """

    step: int = 0
    steps_per_epoch: int = 1

    @property
    def epochs(self) -> float:
        """Epochs done, with the part of the present one."""
        return self.step / self.steps_per_epoch


class Freezable(Protocol):
    """What schemes and the `Freezer` look at; an `nn.Module` of this shape."""

    training: bool

    @property
    def encoder(self) -> Any:
        """An `nn.Module` with a module `embeddings` and the lists `stem` and `layers`."""

    @property
    def heads(self) -> nn.ModuleDict:
        """The heads by task name."""

    def parts_of(self, task: str) -> Sequence[nn.Module]:
        """The modules that belong to one task: its head, and what only that reads."""

    @property
    def idle(self) -> Sequence[nn.Module]:
        """What takes no part in any task's answer."""

    @property
    def fixed(self) -> Sequence[nn.Parameter]:
        """Parameters that no scheme lets learn."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """All parameters, as `nn.Module` gives them."""


class Scheme(ABC):
    """Says what is frozen: a function of the step, without a state of its own.

    Attributes:
        layer_decay: Factor of the learning rate from each encoder layer to the one below, where
            `optimizer.layer_decay` says nothing.
        warmup_steps: Steps in which parameters that join later rise to their rate.
    """

    layer_decay: float = 1.0
    warmup_steps: int = 0

    @abstractmethod
    def frozen(self, model: Any, at: Progress) -> list[nn.Module]:
        """The modules of a `Freezable` that are frozen, whole; everything else learns."""

    def lr_factor(self, at: Progress) -> float:
        """What all learning rates are multiplied by, beside their schedule."""
        return 1.0
