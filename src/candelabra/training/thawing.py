"""Optimizer and learning-rate schedule follow what learns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import nn

from candelabra.errors import naming
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.optim import OWN_RATE, OptimizerFactory, SchedulerFactory


class Thawing:
    """One optimizer and its schedule, which hold exactly the parameters that learn.

    Parameters that thaw join as new groups and warm up, while the others keep their moments.
    Those that freeze leave, and their moments with them. It has no state of its own: a resumed
    run follows the steps before it again, so that the stored state finds the same groups.

    Args:
        model: Encoder and heads; its `freezer` says what learns.
        weighting: Combines the losses; its parameters learn from the start.
        make_optimizer: Gives groups of everything that learns at the time of the call.
        make_scheduler: Gives the schedule of the groups of the start.
        total_steps: Optimizer steps of the run.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        weighting: nn.Module,
        *,
        make_optimizer: OptimizerFactory,
        make_scheduler: SchedulerFactory,
        total_steps: int,
    ) -> None:
        self._model, self._weighting = model, weighting
        self._make_optimizer = make_optimizer
        if model.freezer is not None:
            model.freezer.apply(model, 0)
        with naming("optimizer"):
            self.optimizer = make_optimizer(model, weighting)
        self._drop()
        with naming("scheduler"):
            self.scheduler = make_scheduler(self.optimizer, total_steps)
        self._shape = self.scheduler.lr_lambdas[0]
        if model.freezer is not None:
            for index in range(len(self.scheduler.lr_lambdas)):
                self._follow_scheme(index, model.freezer)

    def follow(self, step: int) -> bool:
        """Makes optimizer and schedule fit what learns in a step; call it for each in order.

        Returns:
            Whether it is not the same as in the step before.
        """
        freezer = self._model.freezer
        if freezer is None or not freezer.apply(self._model, step):
            return False
        self._drop()
        self._join(step, freezer)
        return True

    def _drop(self) -> None:
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if not parameter.requires_grad:
                    self.optimizer.state.pop(parameter, None)
                    parameter.grad = None
            group["params"] = [p for p in group["params"] if p.requires_grad]

    def _join(self, step: int, freezer: Freezer) -> None:
        present = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        for group in self._make_optimizer(self._model, self._weighting).param_groups:
            new = [p for p in group["params"] if p.requires_grad and id(p) not in present]
            if new:
                rate = group["lr"]
                self.optimizer.add_param_group({**group, "params": new, "initial_lr": rate})
                self.scheduler.base_lrs.append(rate)
                self.scheduler.lr_lambdas.append(self._shape)
                self._follow_scheme(len(self.scheduler.lr_lambdas) - 1, freezer, joined=step)

    def _follow_scheme(self, index: int, freezer: Freezer, *, joined: int = 0) -> None:
        """The group's rate also follows the scheme, and rises from the step in which it joined."""
        # As a partial: of other callables the schedule's state would hold the attributes.
        self.scheduler.lr_lambdas[index] = factor = partial(
            _factor,
            shape=self.scheduler.lr_lambdas[index],
            freezer=freezer,
            joined=joined,
            is_own=self.optimizer.param_groups[index].get(OWN_RATE, False),
        )
        group, base = self.optimizer.param_groups[index], self.scheduler.base_lrs[index]
        group["lr"] = base * factor(self.scheduler.last_epoch)


def wrap_anew(strategy: Strategy) -> None:
    """DistributedDataParallel sums the gradients of what learnt when it wrapped the module."""
    if isinstance(strategy, DDPStrategy):
        strategy.model = strategy.lightning_module
        strategy.configure_ddp()


def _factor(
    step: int,
    *,
    shape: Callable[[int], float],
    freezer: Freezer,
    joined: int,
    is_own: bool,
) -> float:
    rise = min(1.0, (step - joined + 1) / (freezer.scheme.warmup_steps + 1)) if joined else 1.0
    return shape(step) * (1.0 if is_own else freezer.lr_factor(step)) * rise
