"""Build the teacher of a run from the bundles that `teacher` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from candelabra.build.instantiate import Node, make
from candelabra.build.soft_answers import cached_answers
from candelabra.bundle.teachers import check_labels, teacher_folders
from candelabra.data.loading import TaskData
from candelabra.errors import naming
from candelabra.model.multitask import MultiTaskModel
from candelabra.training.teaching import Teacher


def build_teacher(
    node: Node,
    teacher: str | Mapping[str, str] | None,
    data: Mapping[str, TaskData],
    model: MultiTaskModel,
    *,
    trained: Sequence[str],
    cache_dir: str | None,
    precision: str,
    device: str,
) -> Teacher | None:
    """Let the teachers answer the training examples of their tasks, and build the loss.

    Args:
        node: Config node of the distillation.
        teacher: Bundle, or the bundle of each task; `None` for no teacher.
        data: Rows of each task.
        model: Model with the heads of the student.
        trained: Tasks that are trained.
        cache_dir: Folder of the answers; `None` keeps none.
        precision: Lightning's name of the precision.
        device: Type of the device.

    Returns:
        The teacher, or `None` if the run has none.

    Raises:
        ConfigError: Labels or kinds of heads of a teacher and the student differ, or the
            distillation rejects its settings.
    """
    folders = teacher_folders(teacher, trained)
    if not folders or node["weight"] == 0:
        return None
    for task, (root, name) in folders.items():
        if model.head(task).num_choices:
            check_labels(task, data[task].labels, root, name)
    answers = {}
    for task, (root, name) in folders.items():
        head = model.head(task)
        theirs = cached_answers(
            root,
            name,
            data[task].splits["train"],
            data[task].labels,
            kind=head.kind,
            fingerprint=data[task].fingerprint["train"],
            cache_dir=None if cache_dir is None else Path(cache_dir),
            precision=precision,
            device=device,
        )
        answers[task] = replace(theirs, logits=head.fit_answers(theirs.logits))
    with naming("distillation", node):
        return make(node, "distillation")(answers)
