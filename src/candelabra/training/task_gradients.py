"""Each task's gradient of an optimizer step, apart from the others'.

Shapes: K tasks, P numbers in all parameters that learn.
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
from candelabra.objective.weighting.base import Weighting
from candelabra.objective.weighting.step import ALL, StepWeighting
from candelabra.training.optim import layer_of


@dataclass(frozen=True)
class StepReport:
    """What an optimizer step looked like, task by task; the same in every process.

    Attributes:
        tasks: The names, in the order of everything below.
        losses: Each times its `loss_weight`, over all processes and micro-batches; float64, CPU.
        grams: Part of the model, lowest first, and `all` -> Gram matrix of those losses' gradients
            there; float64, CPU. Parts in which only one task learns are left out. Under float16
            the gradients carry the scaler's factor.
        weights: What the shared gradients were multiplied by.
    """

    tasks: tuple[str, ...]
    losses: Tensor
    grams: Mapping[str, Tensor]
    weights: Tensor


def part_of(name: str, depth: int) -> str:
    """The part of the model that a parameter belongs to, as people speak of it.

    Args:
        name: Its name in a `MultiTaskModel`.
        depth: The number of the encoder's layers.

    Returns:
        `embeddings`, `layer_1` and so on, `pooling`, or `other`.
    """
    level = layer_of(name, depth)
    if level is None:
        return "pooling" if name.startswith("pooling.") else "other"
    return f"layer_{level}" if level else "embeddings"


class TaskGradients:
    """Gradients of each task's loss, summed over the micro-batches of one step.

    Every task has its own passes of the encoder, so its own backward pass costs nothing more; the
    memory is one float32 number for each task and learning parameter. A parameter is shared where
    the losses of two or more tasks reach it; the others belong to one task.

    Args:
        model: Encoder and heads.
        tasks: The tasks of the step.
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

    def add(self, losses: Mapping[str, Tensor], scale: Tensor, parts: int) -> None:
        """One micro-batch: a backward pass for each task.

        Args:
            losses: With their graphs, which are freed.
            scale: What gradients are multiplied by.
            parts: The micro-batches of a step.
        """
        for place, task in enumerate(self.tasks):
            self.losses_K[place] += losses[task].detach() / parts
            if not losses[task].requires_grad:
                continue  # all of the task is frozen
            found = torch.autograd.grad(
                losses[task], self.parameters, grad_outputs=scale, allow_unused=True
            )
            for index, gradient in enumerate(found):
                if gradient is not None:
                    self.reached[index].add(place)
                    self.flat_KP[place, self.slices[index]] += gradient.flatten()

    def grams(self) -> dict[str, Tensor]:
        """Gram matrices of the shared gradients: each part's, and of all; float64 on the CPU."""
        num = len(self.tasks)
        shared = [place for place, tasks in enumerate(self.reached) if len(tasks) > 1]
        rows = [self.flat_KP[:, self.slices[place]] for place in shared]
        products = [rows_KN @ rows_KN.T for rows_KN in rows] or [self.flat_KP.new_zeros(num, num)]
        sums: dict[str, Tensor] = {}  # as the model has them: the lowest part first
        # One transfer, and float64 on the host: not every device has it.
        for place, gram_KK in zip(shared, torch.stack(products).cpu().double(), strict=False):
            part = self.parts[place]
            sums[part] = sums[part] + gram_KK if part in sums else gram_KK
        total = torch.zeros(num, num, dtype=torch.float64)
        return {**sums, ALL: sum(sums.values(), total)}

    def write(self, weights_K: Tensor, *, heads: bool) -> None:
        """Puts the combined gradient into `.grad`.

        Args:
            weights_K: What each task's shared gradient is multiplied by.
            heads: Whether those of parameters that belong to one task are multiplied, too.
        """
        weights_K = weights_K.to(self.flat_KP)
        for parameter, tasks, where in zip(self.parameters, self.reached, self.slices, strict=True):
            if not tasks:
                continue  # an idle head keeps None, and the optimizer leaves it alone
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
    """Refuses, before training, what a step weighting could not do.

    Args:
        weighting: Any weighting; those of losses are always possible.
        model: Encoder and heads.
        idle_heads: Whether steps leave tasks out.
        precision: Lightning's name of the precision.
        total_steps: Optimizer steps of the run: what is frozen at first may thaw.

    Raises:
        ConfigError: It needs every task in every step, or shared parameters that learn, or
            gradients that no scaler has multiplied.
    """
    if not isinstance(weighting, StepWeighting):
        return
    if idle_heads:
        raise ConfigError(
            "this weighting needs every task in every step; found step=alternate: take step=joint, "
            "or a weighting of losses such as fixed, uncertainty, dwa or random"
        )
    if weighting.uses_gradients and len(weighting.tasks) < 2:
        raise ConfigError(
            "a weighting of gradients needs two or more tasks that share the encoder; found "
            f"{list(weighting.tasks)}: take weighting=fixed"
        )
    # What a scheme lacks or refuses is said now, and not in the first step.
    losses_K = torch.ones(len(weighting.tasks), dtype=torch.float64)
    deepcopy(weighting).weigh(losses_K, {ALL: losses_K.diag()})
    if not weighting.uses_gradients:
        return
    freezer = model.freezer
    last = max(0, total_steps - 1)
    learning = model.parameters() if freezer is None else freezer.learning(model, last)
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
    """What the tasks have in common: the encoder, and the run's pooling if two heads read it.

    With an adapter for each task they share no encoder that learns.
    """
    readers = [
        task for task in model.heads if model.head(task).pools and task not in model.poolings
    ]
    pooling = list(model.pooling.parameters()) if len(readers) > 1 else []
    encoder = [] if model.encoder.adapts_per_task else model.encoder.parameters()
    return [*encoder, *pooling]
