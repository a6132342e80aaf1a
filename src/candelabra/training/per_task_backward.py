"""Optimizer steps with one backward pass per task, for step weightings and diagnostics."""

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
from candelabra.records import Batch
from candelabra.training.internals import accumulates
from candelabra.training.task_gradients import StepReport, TaskGradients
from candelabra.weighting.base import Weighting
from candelabra.weighting.end_of_step import StepWeighting


class TaskwiseModule(pl.LightningModule):
    """LightningModule that turns the losses of the tasks into the gradients of a step.

    An ordinary step runs one backward pass through `weighting(losses)`. A taskwise step runs if the
    weighting is a `StepWeighting`, or if `separate_tasks` is set and the step has two or more
    tasks. It runs one backward pass for each task, sums over the micro-batches, averages over the
    processes, computes the weights, and writes the combined gradient. All of this happens before
    clipping and before `on_before_optimizer_step`. The gradient reduction of
    DistributedDataParallel is disabled in a taskwise step.

    Attributes:
        model: Encoder and heads.
        weighting: Combines the losses of the tasks into one scalar.
        separate_tasks: Flag that a callback sets before the first micro-batch to request a taskwise
            step.
        last_step: Report of the last step if it was taskwise, else `None`.
    """

    model: MultiTaskModel
    weighting: Weighting

    def __init__(self) -> None:
        super().__init__()
        self.separate_tasks = False
        self.last_step: StepReport | None = None
        self._apart: TaskGradients | None = None
        self._losses: dict[str, Tensor] = {}  # losses of the micro-batch with their autograd graphs
        self._leaves: dict[str, Tensor] = {}  # detached copies of `_losses`
        self._total: Tensor | None = None  # weighted loss of the leaves
        self._observed: dict[str, Tensor] = {}  # losses of the step in this process
        self._batches: list[tuple[Mapping[str, Batch], int]] = []  # micro-batches with their seeds

    @property
    def shares_pass(self) -> bool:
        """Whether the tasks of a step share a pass of the encoder, if it can do that.

        With a `StepWeighting` they do not, because each of its backward passes would then go
        through the texts of all tasks. Otherwise they do, also in a step whose gradients a callback
        compares, so that its dropout is that of an ordinary step.
        """
        return not isinstance(self.weighting, StepWeighting)

    @abstractmethod
    def losses_of(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Compute the loss of every task: this micro-batch's part of the global mean."""

    @abstractmethod
    def weighted(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each loss times its `loss_weight`."""

    def begin_batch(
        self, batches: Mapping[str, Batch], *, step: int, micro: int, seed: int
    ) -> None:
        """Prepare the forward pass of a micro-batch.

        Args:
            batches: Micro-batch: task name -> batch.
            step: Index of the optimizer step, counted from 0.
            micro: Index of the micro-batch in the step, counted from 0.
            seed: Seed of PyTorch for this micro-batch.

        Raises:
            ConfigError: If a step weighting gets a step that does not contain all tasks, or the
                strategy does not support taskwise steps.
        """
        if micro == 0:
            self.weighting.begin(step)
            always = isinstance(self.weighting, StepWeighting)
            apart = always or (self.separate_tasks and len(batches) > 1)
            tasks = [task for task in self.weighting.tasks if task in batches]
            if always and len(tasks) < len(self.weighting.tasks):
                raise ConfigError(
                    f"this weighting needs all of the tasks {list(self.weighting.tasks)} in every "
                    f"step; found {tasks}: take step=joint"
                )
            self._apart = TaskGradients(self.model, tasks) if apart else None
            self.last_step, self._observed, self._batches = None, {}, []
            self._reduce_in_backward(not apart)
        if isinstance(self.weighting, StepWeighting) and self.weighting.needs_second_forward:
            self._batches.append((batches, seed))

    def combined(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Combine the losses of a micro-batch into one scalar.

        Args:
            losses: Task name -> loss times `loss_weight`.

        Returns:
            Weighted loss; in a taskwise step it has no graph to the model, and `backward` uses the
            losses stored here.
        """
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
        """Run Lightning's backward pass, or one pass for each task in a taskwise step.

        The last micro-batch of a taskwise step also writes the combined gradient.
        """
        if self._apart is None:
            super().backward(loss, *args, **kwargs)
            return
        assert self._total is not None
        # `loss` differs from `_total` by Lightning's division and the float16 gradient scaler.
        (scale,) = torch.autograd.grad(loss, self._total, retain_graph=True)
        loss.backward()  # the gradients of the leaves are the weights of the losses
        parts = self.trainer.accumulate_grad_batches
        self._apart.add(self._losses, scale, parts, keep_graph=self.shares_pass)
        self._losses, self._total = {}, None
        if not accumulates(self.trainer):
            self._settle(scale)

    def _settle(self, scale: Tensor) -> None:
        """Reduce over processes, compute the weights, and write the gradient of the step."""
        apart, weighting = self._apart, self.weighting
        assert apart is not None
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
        """Run Lightning's optimizer step, then pass the losses to weightings that use them."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self._reduce_in_backward(True)
        if self.weighting.observes:
            losses_K = self._mean(torch.stack(list(self._observed.values())))
            self.weighting.observe(dict(zip(self._observed, losses_K.unbind(), strict=True)))
        if self._batches:
            assert isinstance(self.weighting, StepWeighting)
            self.weighting.look_again(self._losses_again())
            self._batches = []

    def _losses_again(self) -> Tensor:
        """Recompute the losses (K) of the step after the update, with the same dropout."""
        sums = dict.fromkeys(self.weighting.tasks, torch.zeros((), device=self.device))
        with torch.no_grad(), self.trainer.precision_plugin.train_step_context():
            for batches, seed in self._batches:
                torch.manual_seed(seed)
                losses = self.weighted(self.losses_of(batches))
                sums = {task: sums[task] + losses[task] / len(self._batches) for task in sums}
        return self._mean(torch.stack(list(sums.values()))).cpu().double()

    def _mean(self, tensor: Tensor) -> Tensor:
        mean = self.trainer.strategy.reduce(tensor, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def _reduce_in_backward(self, wanted: bool) -> None:
        model = self.trainer.strategy.model
        if isinstance(model, DistributedDataParallel):
            model.require_backward_grad_sync = wanted
        elif not wanted and self.trainer.world_size > 1:
            raise ConfigError(
                "gradients of single tasks require DistributedDataParallel; found "
                f"{type(self.trainer.strategy).__name__}: use trainer=ddp"
            )
