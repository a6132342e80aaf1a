"""Build each task's loss and metrics, and the weighting of the losses."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Collection, Mapping, Sequence

from torchmetrics import Metric, MetricCollection

from candelabra.build.instantiate import Node, make
from candelabra.data.rows.shapes import CROSSED, shape_of
from candelabra.errors import ConfigError, naming, nearest
from candelabra.losses.rules import rule_of
from candelabra.model.heads.base import Head, Loss
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.scoring import Objective
from candelabra.training.task_gradients import check_possible
from candelabra.weighting.base import Weighting


def objectives(
    tasks: Mapping[str, Node],
    labels: Mapping[str, list[str]],
    counts: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Objective]:
    """Construct the loss, loss weight and metrics of each task.

    Args:
        tasks: Configuration of each task.
        labels: Label names of each task.
        counts: Number of units per label in each task's train split, for losses with a `counts`
            parameter, or `None` if nothing is trained.

    Returns:
        The objective of each task.

    Raises:
        ConfigError: The main metric of a task is not one of its metrics, or the metrics do not fit
            its labels.
    """
    return {
        name: _objective(name, task, labels[name], None if counts is None else counts[name])
        for name, task in tasks.items()
    }


def _loss(node: Node, key: str, counts: Sequence[int] | None) -> Loss:
    """Construct a loss, and bind `counts` if the loss has this parameter."""
    made = make(node, key)
    takes = "counts" in inspect.signature(made).parameters
    return functools.partial(made, counts=counts) if takes and counts is not None else made


def _objective(name: str, task: Node, labels: list[str], counts: Sequence[int] | None) -> Objective:
    """Construct the objective of one task, and check that its main metric exists."""
    key = f"tasks.{name}.metrics"
    with naming(key):
        metrics = make(task["metrics"], key)(labels=labels)
    known, main = _names(metrics), task["main_metric"]
    if main not in known:
        options = ", ".join(key for key in known if "/" not in key)
        raise ConfigError(
            f"tasks.{name}.main_metric must be one of {options}; got {main!r}{nearest(main, known)}"
        )
    return Objective(
        loss=_loss(task["loss"], f"tasks.{name}.loss", counts),
        loss_weight=task.get("loss_weight", 1.0),
        metrics=metrics,
        main_metric=main,
    )


def _names(metrics: Metric | MetricCollection) -> list[str]:
    """Return the names of the values of a metric."""
    with warnings.catch_warnings():
        # torchmetrics warns about computing before an update, but only the names are needed here.
        warnings.simplefilter("ignore", UserWarning)
        known = list(metrics.compute())
    metrics.reset()
    return known


def check_monitors(monitors: Mapping[str, str], objectives: Mapping[str, Objective]) -> None:
    """Check that the metrics of tasks that the configuration monitors exist.

    Args:
        monitors: Key of the configuration, such as `callbacks.best.monitor` -> monitored metric.
            Only `val/<task>/<metric>` and `test/<task>/<metric>` are checked.
        objectives: Objective of each task.

    Raises:
        ConfigError: There is no such task, or the task has no such metric.
    """
    for key, monitor in monitors.items():
        split, *words = monitor.split("/")
        # `drift` is no metric: the module logs it where heads are frozen.
        if split not in ("val", "test") or len(words) < 2 or words[1] == "drift":
            continue
        task, metric = words[0], words[1]
        if task not in objectives:
            raise ConfigError(
                f"{key} must be a metric of one of the tasks {', '.join(objectives)}; got "
                f"{monitor!r}{nearest(task, objectives)}"
            )
        # Names such as `f1/Actor` depend on the labels that occur.
        known = [name for name in _names(objectives[task].metrics) if "/" not in name]
        if metric not in known:
            options = [f"{split}/{task}/{name}" for name in known]
            raise ConfigError(
                f"{key} must be one of {', '.join(options)}; got {monitor!r}"
                f"{nearest(monitor, options)}"
            )


def check_objectives(
    objectives: Mapping[str, Objective],
    model: MultiTaskModel,
    *,
    tasks: Mapping[str, Node],
    learns: Collection[str],
    accumulate: int,
) -> None:
    """Check that the data, head and loss of each task fit one another.

    Args:
        objectives: Objective of each task.
        model: Model with the heads.
        tasks: Config node of each task.
        learns: Names of the trained tasks.
        accumulate: Number of micro-batches in a step.

    Raises:
        ConfigError: Data, head and loss of a task do not match, a task with `train=false` has
            trainable parameters, or a loss that compares examples is used with gradient
            accumulation.
    """
    for name, objective in objectives.items():
        if name not in learns:
            _check_eval_only(name, model)
        elif accumulate > 1 and rule_of(objective.loss).in_batch:
            raise ConfigError(
                f"tasks.{name}.loss compares the examples of a step with each other, and "
                f"trainer.accumulate_grad_batches={accumulate} would cut it into parts: take 1; "
                f"head@tasks.{name}.head=embedding_cached fits a large step into little memory"
            )
        _check_head(name, tasks[name], model.head(name), objective.loss)


def _check_eval_only(name: str, model: MultiTaskModel) -> None:
    """Raise `ConfigError` if a task that is not trained has parameters of its own."""
    if any(list(part.parameters()) for part in model.parts_of(name)):
        raise ConfigError(
            f"tasks.{name}.train=false: its head, or its own pooling, mix of layers or adapter "
            "has parameters that would never learn; head=embedding has none"
        )


def _check_head(name: str, task: Node, head: Head, loss: Loss) -> None:
    """Raise `ConfigError` unless the head accepts the columns, and the loss accepts both."""
    shape, kind = shape_of(task["columns"]), type(head).__name__
    if task.get("cross"):
        shape = CROSSED[shape]
        if not head.num_texts:
            raise ConfigError(
                f"tasks.{name}.cross: {kind} compares texts that were encoded apart; take a "
                "linear or regression head"
            )
    if head.shapes and shape not in head.shapes:
        raise ConfigError(
            f"tasks.{name}.head is {kind}, which learns from "
            f"{' or '.join(', '.join(roles) for roles in head.shapes)}; "
            f"tasks.{name}.columns name {', '.join(shape)}"
        )
    try:
        head.check(loss, shape)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"tasks.{name}.loss: {error}; {kind} over {', '.join(shape)} takes "
            f"loss@tasks.{name}.loss={', '.join(head.takes_of(shape))}"
        ) from error


def build_weighting(
    node: Node,
    model: MultiTaskModel,
    learns: Sequence[str],
    *,
    idle_heads: bool,
    precision: str,
    total_steps: int,
) -> Weighting:
    """Build the weighting of the trained tasks' losses.

    Args:
        node: Config node of the weighting.
        model: Model with the heads, frozen as in the first step.
        learns: Names of the trained tasks.
        idle_heads: Whether some steps do not contain all tasks.
        precision: Lightning's name of the precision.
        total_steps: Number of optimizer steps in the run.

    Raises:
        ConfigError: If the weighting is incompatible with the step, freeze option or precision.
    """
    with naming("weighting", node):
        weighting = make(node, "weighting")(
            tasks={name: model.head(name).num_choices for name in learns}
        )
        check_possible(
            weighting,
            model,
            idle_heads=idle_heads,
            precision=precision,
            total_steps=total_steps,
        )
    return weighting
