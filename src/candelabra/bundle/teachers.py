"""Find the bundles that teach the tasks of a run. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from candelabra.bundle.folder import checked_folder, stored_labels
from candelabra.errors import ConfigError, nearest

KEY = "teacher"


def teacher_folders(
    teacher: str | Mapping[str, str] | None, tasks: Sequence[str]
) -> dict[str, tuple[Path, str]]:
    """Return the bundle that teaches each task, and the name of the task there.

    Args:
        teacher: Folder of a bundle or a run, whose tasks teach those of the same name; or the
            folder for each task, in which a single task may have any name.
        tasks: Tasks that are trained.

    Raises:
        BundleError: A folder is no bundle.
        ConfigError: A bundle has no such task, or none of the run.
    """
    if teacher is None:
        return {}
    if not teacher:
        raise ConfigError(f"{KEY} must name a bundle, or be null for no teacher, got {teacher!r}")
    if isinstance(teacher, str):
        root = checked_folder(Path(teacher), key=KEY)
        theirs = stored_labels(root)
        found = {task: (root, task) for task in tasks if task in theirs}
        if not found:
            raise ConfigError(
                f"{KEY}={teacher}: its tasks are {', '.join(theirs)}, none of the run's "
                f"({', '.join(tasks)}); {KEY}={{TASK: BUNDLE}} names the bundle of a task"
            )
        return found
    return {task: _named(task, folder, tasks) for task, folder in teacher.items()}


def check_needed(words: Sequence[str], teacher: str | Mapping[str, str] | None) -> None:
    """Check that a run whose overrides set how to learn from a teacher has one.

    Args:
        words: Overrides of the run.
        teacher: As in `teacher_folders`.

    Raises:
        ConfigError: It has none, so that the settings would have no effect.
    """
    if teacher is not None:
        return
    for word in words:
        if word.lstrip("+").startswith("distillation."):
            raise ConfigError(f"{word} has no effect without a teacher: add {KEY}=BUNDLE")


def _named(task: str, folder: str, tasks: Sequence[str]) -> tuple[Path, str]:
    if task not in tasks:
        raise ConfigError(
            f"{KEY}.{task}: no trained task of this name ({', '.join(tasks)}){nearest(task, tasks)}"
        )
    root = checked_folder(Path(folder), key=f"{KEY}.{task}")
    theirs = list(stored_labels(root))
    if task not in theirs and len(theirs) != 1:
        raise ConfigError(f"{KEY}.{task}={folder}: its tasks are {', '.join(theirs)}")
    return root, task if task in theirs else theirs[0]


def check_labels(task: str, labels: Sequence[str], root: Path, name: str) -> None:
    """Check that a teacher knows the same labels as the student, in any order.

    Args:
        task: Task of the student.
        labels: Its labels.
        root: Folder of the teacher's bundle.
        name: Task of the teacher.

    Raises:
        ConfigError: If labels are missing on one side.
    """
    theirs = stored_labels(root)[name]
    for one, other, whose in ((labels, theirs, "teacher"), (theirs, labels, "task")):
        missing = sorted(set(one) - set(other))
        if missing:
            raise ConfigError(
                f"{KEY}: labels must agree, and the {whose} of tasks.{task} lacks "
                f"{', '.join(map(repr, missing[:5]))}{' ...' if len(missing) > 5 else ''} ({root})"
            )
