"""Recognize the kind of a folder by its files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from candelabra.errors import ConfigError

STUDY_FILE = "study.json"
RUN_FILES = ("run.json", "config.yaml")
SWEEP_FILES = (".trials", "multirun.yaml", "sweep.csv")


class FolderKind(StrEnum):
    """Kinds of folders that `candelabra report` takes."""

    RUN = "run"
    SWEEP = "sweep"
    STUDY = "study"


def kind_of(folder: Path) -> FolderKind:
    """Return the kind of a folder.

    Args:
        folder: Folder of a run, a sweep or a study.

    Raises:
        ConfigError: The folder is of another kind.
    """
    if not folder.is_dir():
        raise ConfigError(f"report {folder}: no such folder")
    if (folder / STUDY_FILE).exists():
        return FolderKind.STUDY
    if all((folder / name).exists() for name in RUN_FILES):
        return FolderKind.RUN
    if any((folder / name).exists() for name in SWEEP_FILES):
        return FolderKind.SWEEP
    raise ConfigError(
        f"report {folder}: must be the folder of a run ({' and '.join(RUN_FILES)}), of a sweep "
        f"({' or '.join(SWEEP_FILES)}) or of a study ({STUDY_FILE}); it has none of these files"
    )
