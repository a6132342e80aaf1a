"""The only place where `requires_grad` is set."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from candelabra.model.freeze.base import Freezable, Scheme
from candelabra.records import TrainingProgress

NEVER = 10**12
"""Step number beyond the end of every run."""


class Freezer:
    """Applies a freeze scheme to a model.

    Modules that contribute to no task's output are always frozen, and so are the encoder's own
    weights when it has adapters. Its modules below the first adapter are frozen as a whole.

    A frozen module gets no gradient and stays in eval mode (no dropout) while the rest of the
    model trains. `model.train()` would put it back into training mode: call `keep_frozen_in_eval`
    afterwards, preferably in the model's own `train`:

        def train(self, mode: bool = True) -> Self:
            super().train(mode)
            self.freezer.keep_frozen_in_eval(self)
            return self

    Args:
        scheme: Rule that decides which modules are frozen at which step.
        steps_per_epoch: Number of optimizer steps in an epoch, because schemes count in epochs.
    """

    def __init__(self, scheme: Scheme, *, steps_per_epoch: int = 1) -> None:
        self.scheme = scheme
        self.steps_per_epoch = steps_per_epoch
        self._frozen: tuple[nn.Module, ...] | None = None

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        """Modules frozen by the last call of `apply`."""
        return self._frozen or ()

    def lr_factor(self, step: int) -> float:
        """Return the factor that multiplies all learning rates at `step`."""
        return self.scheme.lr_factor(TrainingProgress(step, self.steps_per_epoch))

    def apply(self, model: Freezable, step: int) -> bool:
        """Freeze the modules that the scheme selects at `step`, and unfreeze all others.

        A parameter shared by a frozen and a trained module is frozen.

        Returns:
            True if the set of trained parameters changed.

        Raises:
            ValueError: If the scheme does not fit the model.
        """
        frozen = self._scheme_at(model, step)
        if frozen == self._frozen:
            return False
        previous, self._frozen = self.frozen, frozen
        frozen_ids = _frozen_parameter_ids(model, frozen)
        changed = False
        for parameter in model.parameters():
            trained = id(parameter) not in frozen_ids
            changed |= parameter.requires_grad is not trained
            parameter.requires_grad_(trained)
        if model.training:
            for module in previous:
                module.train()
        self.keep_frozen_in_eval(model)
        return changed

    def keep_frozen_in_eval(self, model: Freezable) -> None:
        """Put the frozen modules back into eval mode if the model is in training mode."""
        if model.training:
            for module in self.frozen:
                module.eval()

    def learning(self, model: Freezable, step: int) -> list[nn.Parameter]:
        """Return the parameters that are trained at `step`, without changing the model."""
        frozen_ids = _frozen_parameter_ids(model, self._scheme_at(model, step))
        return [parameter for parameter in model.parameters() if id(parameter) not in frozen_ids]

    def ever_learning(self, model: Freezable) -> list[nn.Parameter]:
        """Return the parameters that are trained once the scheme has unfrozen all it will."""
        return self.learning(model, NEVER)

    def thaws(self, model: Freezable, total_steps: int) -> dict[int, int]:
        """Count the trained parameters after every change that the scheme makes during a run.

        Args:
            model: The model; it is not changed.
            total_steps: Number of optimizer steps of the run.

        Returns:
            Step -> number of parameters trained from this step on. The first key is 0.
        """
        counts: dict[int, int] = {}
        before = None
        for step in range(max(1, total_steps)):
            frozen = self._scheme_at(model, step)
            if frozen != before:
                counts[step] = sum(p.numel() for p in self.learning(model, step))
            before = frozen
        return counts

    def _scheme_at(self, model: Freezable, step: int) -> tuple[nn.Module, ...]:
        at = TrainingProgress(step, self.steps_per_epoch)
        return (*self.scheme.frozen(model, at), *model.idle, *model.resting)


def _frozen_parameter_ids(model: Freezable, frozen: Iterable[nn.Module]) -> set[int]:
    parameters = [parameter for module in frozen for parameter in module.parameters()]
    return {id(parameter) for parameter in (*parameters, *model.fixed)}
