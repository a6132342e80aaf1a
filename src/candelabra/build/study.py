"""Build the parts of a study: the rule that makes one sentence of its results, its loggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.build.instantiate import make
from candelabra.config.schema import RUN_ID, new_run_id
from candelabra.files import write_json

if TYPE_CHECKING:
    from candelabra.training.loggers import WandbTracker

ID_FILE = "wandb.json"
"""File in the folder of a study with the id of its W&B run."""


def build_decision(node: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the rule that a study's yaml names.

    Args:
        node: Config node `study.answer`, with a `_target_` and `_partial_`.

    Raises:
        ConfigError: The rule cannot be built.
    """
    rule: Callable[..., Any] = make(node, "study.answer")
    return rule


def build_trackers(
    nodes: Mapping[str, Any], *, output_dir: str, folder: Path, name: str, group: str
) -> list[WandbTracker]:
    """Build the W&B loggers of a study by the settings of its runs; empty if these have none.

    Args:
        nodes: Config node of each logger of the runs.
        output_dir: Folder of all runs.
        folder: Folder of the study.
        name: Name of the study's run in W&B.
        group: Group of the study and its runs in W&B.

    Raises:
        ConfigError: A logger rejects its settings.
        OSError: The id of the run cannot be written.
    """
    chosen = [node for node in nodes.values() if node and node.get("_partial_")]
    if not chosen:
        return []
    from candelabra.training.loggers import WandbTracker

    makers = [make(node, "logger") for node in chosen]
    return [
        maker(
            save_dir=output_dir,
            run_dir=folder,
            name=name,
            id=run_id_of_study(folder),
            group=group,
            job_type="study",
        )
        for maker in makers
        if maker.func is WandbTracker
    ]


def run_id_of_study(folder: Path) -> str:
    """Return the id of a study's W&B run, which a study that is continued keeps.

    Args:
        folder: Folder of the study; the first call writes the id there.

    Raises:
        OSError: The id cannot be read or written.
    """
    file = folder / ID_FILE
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if stored := RUN_ID.search(text):
        return stored[0]
    run_id = new_run_id()
    write_json(file, {"run_id": run_id})
    return run_id
