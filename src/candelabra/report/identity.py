"""Identity of a run: times, code, versions, machine and data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from candelabra.bundle.stored import is_number
from candelabra.report.formats import clipped, duration
from candelabra.report.settings import typed_again
from candelabra.report.view import Cells, Section, Table

SETUP = {
    "commit": "git_commit",
    "Python": "python",
    "machine": "machine",
    "device": "device",
    "precision": "precision",
    "threads": "threads",
    "processes": "processes",
}
"""Label on the page -> key of `run.json`, for what the scores of runs may depend on."""
FACTS = {
    "run": "run_id",
    "status": "status",
    "started": "started",
    "ended": "ended",
    "optimizer steps": "steps",
    "seed": "seed",
    **SETUP,
}
"""Label on the page -> key of `run.json`."""


def identity_section(record: Mapping[str, Any], command: str = "train") -> Section:
    """Return the section from the content of `run.json`.

    Args:
        record: The content.
        command: Command of the run, `train` or `pretrain`.
    """
    facts = [(label, record.get(key)) for label, key in FACTS.items()]
    if is_number(record.get("fit_seconds")):
        facts.append(("training", duration(float(record["fit_seconds"]))))
    versions = record.get("versions")
    facts += list(versions.items()) if isinstance(versions, Mapping) else []
    rows = _fingerprints(record)
    table = Table(
        "Fingerprints of the data (SHA-256)", rows, ("task", "split", "rows"), folded=True
    )
    return Section(
        "To repeat it",
        facts=[(str(label), clipped(str(value))) for label, value in facts if value is not None],
        tables=[table] if rows else [],
        command=typed_again(record, command),
    )


def fingerprint_of(record: Mapping[str, Any], task: str, split: str) -> str | None:
    """Return the fingerprint of a split that the run recorded, or `None`."""
    prints = record.get("fingerprints")
    of_task = prints.get(task) if isinstance(prints, Mapping) else None
    found = of_task.get(split) if isinstance(of_task, Mapping) else None
    return found if isinstance(found, str) else None


def _fingerprints(record: Mapping[str, Any]) -> list[Cells]:
    prints = record.get("fingerprints")
    return [
        {"task": str(task), "split": str(split), "rows": clipped(str(digest))}
        for task, splits in (prints.items() if isinstance(prints, Mapping) else ())
        for split, digest in (splits.items() if isinstance(splits, Mapping) else ())
    ]
