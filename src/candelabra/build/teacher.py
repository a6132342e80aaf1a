"""Build the teacher of a run from the bundles that `teacher` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from candelabra.build.instantiate import Node, make
from candelabra.build.soft_answers import cached_answers
from candelabra.bundle.bundle import make as make_stored
from candelabra.bundle.folder import stored_config
from candelabra.bundle.teachers import check_labels, teacher_folders
from candelabra.data.loading import TaskData
from candelabra.errors import ConfigError, naming
from candelabra.model.multitask import MultiTaskModel
from candelabra.tables import show
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
        BundleError: The folder of a teacher is no whole bundle.
        ConfigError: Labels, heads or texts of a teacher and the student differ, or the
            distillation rejects its settings.
    """
    folders = teacher_folders(teacher, trained)
    if not folders or node["weight"] == 0:
        return None
    # All teachers are checked before the first one answers, which may take hours.
    for task, (root, name) in folders.items():
        head, num_texts = model.head(task), len(data[task].splits["train"].texts)
        check_head(task, root, name, kind=head.kind, num_texts=num_texts)
        if head.num_choices:
            check_labels(task, data[task].labels, root, name)
    for task in trained:
        by = folders[task][0] if task in folders else "none, it learns from its labels alone"
        show(f"teacher of {task}: {by}")
    answers = {}
    for task, (root, name) in folders.items():
        head = model.head(task)
        theirs = cached_answers(
            root,
            name,
            data[task].splits["train"],
            data[task].labels,
            fingerprint=data[task].fingerprint["train"],
            cache_dir=None if cache_dir is None else Path(cache_dir),
            precision=precision,
            device=device,
        )
        answers[task] = replace(theirs, logits=head.fit_answers(theirs.logits))
    with naming("distillation", node):
        return make(node, "distillation")(answers)


def check_head(task: str, root: Path, name: str, *, kind: str, num_texts: int) -> None:
    """Check that a teacher has the kind of head of the student, and reads as many texts.

    Args:
        task: Task of the student.
        root: Folder of the teacher's bundle.
        name: Task of the teacher.
        kind: Kind of the student's head.
        num_texts: Number of texts in an example of the task.

    Raises:
        BundleError: The configuration of the bundle is damaged, or names a head that is not
            candelabra's own.
        ConfigError: They differ.
    """
    stored = stored_config(root).tasks[name]
    theirs: Any = make_stored(stored["head"], allow=()).func
    if theirs.kind != kind:
        raise ConfigError(
            f"teacher of tasks.{task}: {root} teaches {theirs.kind}, and the head that learns from "
            f"it is one of {kind}; both must be the same"
        )
    reads = 2 if stored.get("cross", False) else theirs.num_texts
    if reads not in (0, num_texts):
        raise ConfigError(
            f"teacher of tasks.{task}: {root} reads {_texts(reads)} at a time, and an example of "
            f"the task has {_texts(num_texts)}; both must have as many"
        )


def _texts(count: int) -> str:
    return f"{count} text{'s' if count > 1 else ''}"
