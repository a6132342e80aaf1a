"""Optimizer and learning-rate schedule that follow a freeze schedule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import nn

from candelabra.errors import naming
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.optim import OWN_RATE, OptimizerFactory, SchedulerFactory


class UnfreezingOptimizer:
    """Optimizer and schedule that contain exactly the trainable parameters.

    Parameters that thaw are added as new groups with a warm-up, and the other parameters keep their
    optimizer state. Parameters that freeze are removed together with their optimizer state. The
    object has no state in checkpoints: a resumed run replays `follow` for all earlier steps, so
    that the parameter groups match the stored optimizer state.

    Args:
        model: Encoder and heads; `model.freezer` decides which parameters are trainable.
        weighting: Combines the losses; its parameters are trainable from the start.
        make_optimizer: Returns an optimizer over all currently trainable parameters.
        make_scheduler: Returns the schedule of the initial groups.
        total_steps: Number of optimizer steps in the run.
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
        with naming("optimizer", getattr(make_optimizer, "keywords", ())):
            self.optimizer = make_optimizer(model, weighting)
        self._drop()
        with naming("scheduler", getattr(make_scheduler, "keywords", ())):
            self.scheduler = make_scheduler(self.optimizer, total_steps)
        self._shape = self.scheduler.lr_lambdas[0]
        if model.freezer is not None:
            for index in range(len(self.scheduler.lr_lambdas)):
                self._follow_scheme(index, model.freezer)

    def step_to(self, step: int) -> bool:
        """Update the optimizer and schedule for a step; call this for each step in order.

        Args:
            step: Index of the optimizer step, counted from 0.

        Returns:
            Whether the set of trainable parameters changed in this step.
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
        """Multiply a group's rate by the factors of the freeze scheme and of its warm-up."""
        # `LambdaLR.state_dict` stores the `__dict__` of callables; that of a partial is empty.
        self.scheduler.lr_lambdas[index] = factor = partial(
            _factor,
            shape=self.scheduler.lr_lambdas[index],
            freezer=freezer,
            joined=joined,
            is_own=self.optimizer.param_groups[index].get(OWN_RATE, False),
        )
        group, base = self.optimizer.param_groups[index], self.scheduler.base_lrs[index]
        group["lr"] = base * factor(self.scheduler.last_epoch)


def rewrap_ddp(strategy: Strategy) -> None:
    """Wrap the module in DistributedDataParallel again after the trainable parameters changed.

    DistributedDataParallel reduces the gradients of parameters that were trainable when it wrapped
    the module. Other strategies are left alone.
    """
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
