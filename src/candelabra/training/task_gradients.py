"""Separate gradients for each task of an optimizer step.

Shapes: K tasks, P trainable numbers (elements of all trainable parameters).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from candelabra.errors import ConfigError
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.optim import layer_of
from candelabra.weighting.base import Weighting
from candelabra.weighting.end_of_step import ALL, StepWeighting


@dataclass(frozen=True)
class StepReport:
    """Losses, gradients and weights of one optimizer step; identical in every process.

    Attributes:
        tasks: Names of the K tasks, in the order of the other attributes.
        losses: Losses times `loss_weight` (K), summed over processes and micro-batches; float64 on
            the CPU.
        grams: Part of the model (lowest first, then `all`) -> Gram matrix (K, K) of the gradients
            of `losses` in that part; float64 on the CPU. Contains only parts that two or more tasks
            share. Under float16 the gradients include the factor of the gradient scaler.
        weights: Factors (K) of the shared gradients in the combined gradient.
    """

    tasks: tuple[str, ...]
    losses: Tensor
    grams: Mapping[str, Tensor]
    weights: Tensor


def part_of(name: str, depth: int) -> str:
    """Return the name of the part of the model that a parameter belongs to.

    Args:
        name: Name of the parameter in a `MultiTaskModel`.
        depth: Number of encoder layers.

    Returns:
        `embeddings`, `layer_1` and so on, `pooling`, or `other`.
    """
    level = layer_of(name, depth)
    if level is None:
        return "pooling" if name.startswith("pooling.") else "other"
    return f"layer_{level}" if level else "embeddings"


class TaskGradients:
    """Accumulator for the gradient of each task's loss over the micro-batches of one step.

    Separate backward passes cost no extra time if every task has its own forward pass through the
    encoder. If they share one, each backward pass goes through the texts of all tasks. The memory
    is K * P float32 numbers. A parameter is shared if the losses of two or more tasks depend on it.

    Args:
        model: Encoder and heads.
        tasks: Names of the tasks in the step.
    """

    def __init__(self, model: MultiTaskModel, tasks: Sequence[str]) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        depth = len(model.encoder.layers)
        self.tasks = tuple(tasks)
        self.parameters: list[nn.Parameter] = [parameter for _, parameter in named]
        self.parts = [part_of(name, depth) for name, _ in named]
        self.reached: list[set[int]] = [set() for _ in named]
        ends = torch.tensor([0, *(p.numel() for p in self.parameters)]).cumsum(0).tolist()
        self.slices = [slice(a, b) for a, b in pairwise(ends)]
        device = self.parameters[0].device
        self.flat_KP = torch.zeros(len(self.tasks), ends[-1], device=device)
        self.losses_K = torch.zeros(len(self.tasks), device=device)

    def add(
        self, losses: Mapping[str, Tensor], scale: Tensor, parts: int, *, keep_graph: bool = False
    ) -> None:
        """Run a backward pass for each task of a micro-batch and add up the gradients.

        Args:
            losses: Task name -> loss with its autograd graph.
            scale: Scalar factor of the gradients.
            parts: Number of micro-batches in a step.
            keep_graph: Whether the losses may share a graph, which is freed after the last of them.
        """
        for place, task in enumerate(self.tasks):
            self.losses_K[place] += losses[task].detach() / parts
            if not losses[task].requires_grad:
                continue  # every parameter of the task is frozen
            gradients = torch.autograd.grad(
                losses[task],
                self.parameters,
                grad_outputs=scale,
                retain_graph=keep_graph and task != self.tasks[-1],
                allow_unused=True,
            )
            for index, gradient in enumerate(gradients):
                if gradient is not None:
                    self.reached[index].add(place)
                    self.flat_KP[place, self.slices[index]] += gradient.flatten()

    def grams(self) -> dict[str, Tensor]:
        """Return the Gram matrices (K, K) of the shared gradients, for each part and for `all`.

        The matrices are float64 on the CPU.
        """
        num = len(self.tasks)
        shared = [place for place, tasks in enumerate(self.reached) if len(tasks) > 1]
        rows = [self.flat_KP[:, self.slices[place]] for place in shared]
        products = [rows_KN @ rows_KN.T for rows_KN in rows] or [self.flat_KP.new_zeros(num, num)]
        sums: dict[str, Tensor] = {}  # in model order: the lowest part first
        # One transfer for all; float64 on the CPU because not every device supports it.
        for place, gram_KK in zip(shared, torch.stack(products).cpu().double(), strict=False):
            part = self.parts[place]
            sums[part] = sums[part] + gram_KK if part in sums else gram_KK
        total = torch.zeros(num, num, dtype=torch.float64)
        return {**sums, ALL: sum(sums.values(), total)}

    def write(self, weights_K: Tensor, *, heads: bool) -> None:
        """Write the combined gradient into `.grad` of every parameter.

        Args:
            weights_K: Factor of each task's gradient (K).
            heads: Whether the weights also apply to parameters of a single task.
        """
        weights_K = weights_K.to(self.flat_KP)
        for parameter, tasks, where in zip(self.parameters, self.reached, self.slices, strict=True):
            if not tasks:
                continue  # the optimizer skips parameters whose `.grad` is `None`
            if len(tasks) > 1 or heads:
                gradient = weights_K @ self.flat_KP[:, where]
            else:
                gradient = self.flat_KP[min(tasks), where].clone()
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype)


def check_possible(
    weighting: Weighting,
    model: MultiTaskModel,
    *,
    idle_heads: bool,
    precision: str,
    total_steps: int = 0,
) -> None:
    """Check before training that the run meets the requirements of a step weighting.

    Args:
        weighting: Weighting of the run; a weighting of losses has no requirements.
        model: Encoder and heads.
        idle_heads: Whether some steps do not contain all tasks.
        precision: Lightning's name of the precision.
        total_steps: Number of optimizer steps in the run, in which frozen parameters may thaw.

    Raises:
        ConfigError: If steps do not contain all tasks; or, for a weighting of gradients, if there
            are fewer than two tasks, no trainable shared parameters, or float16 precision.
    """
    if not isinstance(weighting, StepWeighting):
        return
    if idle_heads:
        raise ConfigError(
            "this weighting needs every task in every step; found step=alternate: take step=joint, "
            "or a weighting of losses such as fixed, uncertainty, dwa or random"
        )
    if weighting.uses_gradients:
        _check_gradients_possible(
            weighting, model, precision=precision, last_step=max(0, total_steps - 1)
        )
    # A trial call raises the errors of the scheme before training instead of in the first step.
    losses_K = torch.ones(len(weighting.tasks), dtype=torch.float64)
    deepcopy(weighting).weigh(losses_K, {ALL: losses_K.diag()})


def _check_gradients_possible(
    weighting: StepWeighting, model: MultiTaskModel, *, precision: str, last_step: int
) -> None:
    """Raise ConfigError unless gradients of several tasks meet in trainable parameters."""
    if len(weighting.tasks) < 2:
        raise ConfigError(
            "a weighting of gradients needs two or more tasks that share the encoder; found "
            f"{list(weighting.tasks)}: take weighting=fixed"
        )
    freezer = model.freezer
    learning = model.parameters() if freezer is None else freezer.learning(model, last_step)
    if not {id(p) for p in learning} & {id(p) for p in shared(model)}:
        raise ConfigError(
            "a weighting of gradients needs shared parameters that learn, and the freeze or the "
            "adapter option leaves none: take weighting=fixed, or another freeze or adapter"
        )
    if str(precision).startswith("16"):
        raise ConfigError(
            "a weighting of gradients cannot work under float16's scaler; found "
            f"trainer.precision={precision}: take bf16-mixed or 32-true"
        )


def shared(model: MultiTaskModel) -> list[nn.Parameter]:
    """Return the parameters that tasks share: the encoder, and the pooling if two heads use it.

    With one adapter for each task, the tasks share no trainable encoder parameters.
    """
    pooled_tasks = [
        task for task in model.heads if model.head(task).pools and task not in model.poolings
    ]
    pooling = list(model.pooling.parameters()) if len(pooled_tasks) > 1 else []
    encoder = [] if model.encoder.adapts_per_task else model.encoder.parameters()
    return [*encoder, *pooling]
