"""The one owner of `requires_grad`."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from candelabra.model.freeze.base import Freezable, Progress, Scheme

NEVER = 10**12
"""A step that no run reaches."""


class Freezer:
    """Makes a model follow a scheme.

    What takes no part in any answer is frozen with it, and what lies fixed under adapters.

    A frozen module gets no gradient and runs in eval mode, so without dropout, while the rest of
    the model trains. `model.train()` knows nothing of that: call `hold` after it, best in the
    model's own `train`:

        def train(self, mode: bool = True) -> Self:
            super().train(mode)
            self.freezer.hold(self)
            return self

    Args:
        scheme: What is frozen at which step.
        steps_per_epoch: Optimizer steps of an epoch; schemes count by epochs.
    """

    def __init__(self, scheme: Scheme, *, steps_per_epoch: int = 1) -> None:
        self.scheme = scheme
        self.steps_per_epoch = steps_per_epoch
        self._frozen: tuple[nn.Module, ...] | None = None

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        """The modules that were frozen at the last `apply`."""
        return self._frozen or ()

    def lr_factor(self, step: int) -> float:
        """What all learning rates are multiplied by in a step."""
        return self.scheme.lr_factor(Progress(step, self.steps_per_epoch))

    def apply(self, model: Freezable, step: int) -> bool:
        """Freeze what the scheme names at `step`; let everything else learn.

        A parameter that a frozen module shares with one that learns is frozen.

        Returns:
            Whether the set of learning parameters changed.
        """
        frozen = self._scheme_at(model, step)
        if frozen == self._frozen:
            return False
        thawed, self._frozen = self.frozen, frozen
        held = _held(model, frozen)
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
            for module in self.frozen:
                module.eval()

    def learning(self, model: Freezable, step: int) -> list[nn.Parameter]:
        """What learns in a step; the model is not changed."""
        held = _held(model, self._scheme_at(model, step))
        return [parameter for parameter in model.parameters() if id(parameter) not in held]

    def some_day_learning(self, model: Freezable) -> list[nn.Parameter]:
        """What learns in a run that never ends."""
        return self.learning(model, NEVER)

    def thaws(self, model: Freezable, total_steps: int) -> dict[int, int]:
        """What lies ahead: step -> number of parameters that learn from there on, first step 0."""
        found: dict[int, int] = {}
        before = None
        for step in range(max(1, total_steps)):
            frozen = self._scheme_at(model, step)
            if frozen != before:
                found[step] = sum(p.numel() for p in self.learning(model, step))
            before = frozen
        return found

    def _scheme_at(self, model: Freezable, step: int) -> tuple[nn.Module, ...]:
        at = Progress(step, self.steps_per_epoch)
        try:
            return (*self.scheme.frozen(model, at), *model.idle)
        except ValueError as error:
            raise ValueError(f"freeze.{error}") from error


def _held(model: Freezable, frozen: Iterable[nn.Module]) -> set[int]:
    parameters = [parameter for module in frozen for parameter in module.parameters()]
    return {id(parameter) for parameter in (*parameters, *model.fixed)}
