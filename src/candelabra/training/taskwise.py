"""Optimizer steps whose tasks are told apart: what step weightings and diagnostics need."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from candelabra.errors import ConfigError
from candelabra.model.multitask import MultiTaskModel
from candelabra.objective.weighting.base import Weighting
from candelabra.objective.weighting.step import StepWeighting
from candelabra.records import Batch
from candelabra.training.task_gradients import StepReport, TaskGradients


class TaskwiseModule(pl.LightningModule):
    """How losses become the gradients of an optimizer step.

    A usual step runs one backward pass through `weighting(losses)`. A step apart, taken where the
    weighting is a `StepWeighting` or where `tell_apart` is set, runs one for each task, adds the
    micro-batches up, averages over the processes, asks for the weights, and writes the combined
    gradient: all before clipping, and before any callback looks at the gradient. There
    DistributedDataParallel's own reduction is off.

    Attributes:
        model: Encoder and heads.
        weighting: {task: loss} -> one loss.
        tell_apart: Set by a callback before the first micro-batch of a step: take it apart, where
            it has two or more tasks.
        last_step: The report of a step apart; None after any other.
    """

    model: MultiTaskModel
    weighting: Weighting | None

    def __init__(self) -> None:
        super().__init__()
        self.tell_apart = False
        self.last_step: StepReport | None = None
        self._apart: TaskGradients | None = None
        self._losses: dict[str, Tensor] = {}  # of the micro-batch, with their graphs
        self._leaves: dict[str, Tensor] = {}  # those losses again, cut off from their graphs
        self._total: Tensor | None = None  # of the leaves
        self._observed: dict[str, Tensor] = {}  # of the step so far, in this process
        self._batches: list[tuple[Mapping[str, Batch], int]] = []  # with their seeds

    @abstractmethod
    def losses_of(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Each task's part of the global mean, from a pass of the model."""

    @abstractmethod
    def weighted(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each loss times its `loss_weight`."""

    def begin_batch(
        self, batches: Mapping[str, Batch], *, step: int, micro: int, seed: int
    ) -> None:
        """Before the forward pass of a micro-batch.

        Args:
            batches: The micro-batch.
            step: The optimizer step, counted from 0.
            micro: The place of the micro-batch in the step.
            seed: What torch was seeded with.
        """
        assert self.weighting is not None
        if micro == 0:
            self.weighting.begin(step)
            always = isinstance(self.weighting, StepWeighting)
            apart = always or (self.tell_apart and len(batches) > 1)
            tasks = [task for task in self.weighting.tasks if task in batches]
            if always and len(tasks) < len(self.weighting.tasks):
                raise ConfigError(
                    f"this weighting needs all of the tasks {list(self.weighting.tasks)} in every "
                    f"step; found {tasks}: take step=joint"
                )
            self._apart = TaskGradients(self.model, tasks) if apart else None
            self.last_step, self._observed, self._batches = None, {}, []
            self._reduce_in_backward(not apart)
        if isinstance(self.weighting, StepWeighting) and self.weighting.looks_again:
            self._batches.append((batches, seed))

    def combined(self, losses: Mapping[str, Tensor]) -> Tensor:
        """One loss of the weighted losses of a micro-batch; `backward` takes it apart again."""
        assert self.weighting is not None
        if self.weighting.observes:
            parts = self.trainer.accumulate_grad_batches
            for task, loss in losses.items():
                self._observed[task] = self._observed.get(task, 0.0) + loss.detach() / parts
        if self._apart is None:
            return self.weighting(losses)
        self._losses = dict(losses)
        self._leaves = {task: loss.detach().requires_grad_() for task, loss in losses.items()}
        self._total = self.weighting(self._leaves)
        return self._total

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """As Lightning's, or a pass for each task; the last one ends with the step's gradient."""
        if self._apart is None:
            super().backward(loss, *args, **kwargs)
            return
        assert self._total is not None
        # Lightning divides by the micro-batches; float16's scaler multiplies.
        (scale,) = torch.autograd.grad(loss, self._total, retain_graph=True)
        loss.backward()  # weights come to the leaves, and gradients to the weighting's parameters
        self._apart.add(self._losses, scale, self.trainer.accumulate_grad_batches)
        self._losses, self._total = {}, None
        if not self.trainer.fit_loop._should_accumulate():
            self._settle(scale)

    def _settle(self, scale: Tensor) -> None:
        """Reduces, weighs, and writes the gradient of the whole step."""
        apart, weighting = self._apart, self.weighting
        assert apart is not None
        assert weighting is not None
        apart.flat_KP = self._mean(apart.flat_KP)
        losses_K = self._mean(apart.losses_K).cpu().double()
        for parameter in weighting.parameters():
            if parameter.grad is not None:
                parameter.grad = self._mean(parameter.grad)
        grams = apart.grams()
        heads = True
        if isinstance(weighting, StepWeighting):
            weights_K, heads = weighting.settle(losses_K, grams), weighting.heads
        else:
            leaves = [self._leaves[task].grad for task in apart.tasks]
            weights_K = torch.stack([w for w in leaves if w is not None]).cpu().double()
            weights_K = weights_K / float(scale)
        apart.write(weights_K, heads=heads)
        self.last_step = StepReport(apart.tasks, losses_K, grams, weights_K)
        self._apart, self._leaves = None, {}

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """As Lightning's; then the weighting is told what it asks for."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        assert self.weighting is not None
        self._reduce_in_backward(True)
        if self.weighting.observes:
            losses_K = self._mean(torch.stack(list(self._observed.values())))
            self.weighting.observe(dict(zip(self._observed, losses_K.unbind(), strict=True)))
        if self._batches:
            assert isinstance(self.weighting, StepWeighting)
            self.weighting.look_again(self._losses_again())
            self._batches = []

    def _losses_again(self) -> Tensor:
        """The step's losses under the weights of now, with the dropout that they had."""
        assert self.weighting is not None
        sums = dict.fromkeys(self.weighting.tasks, torch.zeros((), device=self.device))
        with torch.no_grad(), self.trainer.precision_plugin.train_step_context():
            for batches, seed in self._batches:
                torch.manual_seed(seed)
                losses = self.weighted(self.losses_of(batches))
                sums = {task: sums[task] + losses[task] / len(self._batches) for task in sums}
        return self._mean(torch.stack(list(sums.values()))).cpu().double()

    def _mean(self, tensor: Tensor) -> Tensor:
        found = self.trainer.strategy.reduce(tensor, reduce_op="mean")
        assert isinstance(found, Tensor)
        return found

    def _reduce_in_backward(self, wanted: bool) -> None:
        model = self.trainer.strategy.model
        if isinstance(model, DistributedDataParallel):
            model.require_backward_grad_sync = wanted
        elif not wanted and self.trainer.world_size > 1:
            raise ConfigError(
                "gradients of single tasks are known under DistributedDataParallel only, found "
                f"{type(self.trainer.strategy).__name__}: use trainer=ddp"
            )
