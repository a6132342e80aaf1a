"""Base class of freeze schemes, and the model interface that they read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from candelabra.records import TrainingProgress

if TYPE_CHECKING:
    from torch import nn


class Freezable(Protocol):
    """Interface of a model that schemes and the `Freezer` can freeze; an `nn.Module`."""

    training: bool

    @property
    def encoder(self) -> Any:
        """Encoder module with a submodule `embeddings` and the lists `stem` and `layers`."""

    @property
    def heads(self) -> nn.ModuleDict:
        """Heads by task name."""

    def parts_of(self, task: str) -> Sequence[nn.Module]:
        """Return the modules that belong to one task: its head and the inputs only it uses."""

    @property
    def idle(self) -> Sequence[nn.Module]:
        """Modules that contribute to no task's output."""

    @property
    def resting(self) -> Sequence[nn.Module]:
        """Modules that stay frozen under every scheme."""

    @property
    def fixed(self) -> Sequence[nn.Parameter]:
        """Parameters that stay frozen under every scheme."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Iterate over all parameters, like `nn.Module.parameters`."""


class Scheme(ABC):
    """Stateless rule that maps a training step to the set of frozen modules.

    Attributes:
        layer_decay: Ratio of the learning rates of an encoder layer and the layer above it. Used
            when `optimizer.layer_decay` is not set.
        warmup_steps: Number of steps over which the learning rate of parameters that are unfrozen
            during training rises to its full value.
    """

    layer_decay: float = 1.0
    warmup_steps: int = 0

    @abstractmethod
    def frozen(self, model: Any, at: TrainingProgress) -> list[nn.Module]:
        """Return the modules to freeze, with all their submodules; everything else is trained.

        Args:
            model: A `Freezable`.
            at: Position of the run.
        """

    def lr_factor(self, at: TrainingProgress) -> float:
        """Return the factor that multiplies all learning rates, in addition to the schedule."""
        return 1.0
