"""Provenance of a study, to repeat it: command, code, versions, machine and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from candelabra.report.identity import SETUP
from candelabra.study.inputs import Run, Status, Study


@dataclass(frozen=True)
class Provenance:
    """Facts from the records of the runs.

    Attributes:
        command: Command that repeats the study.
        facts: Name and values of each fact. There are several values if the runs differ.
        data: Task, split and SHA-256 of the rows.
        overrides: Run and the overrides that it was started with.
    """

    command: str
    facts: Sequence[tuple[str, str]]
    data: Sequence[tuple[str, str, str]]
    overrides: Sequence[tuple[str, str]]


def provenance_of(study: Study) -> Provenance:
    """Collect the facts from the records of all finished runs."""
    runs = [
        run
        for arm in study.arms
        for seed in arm.seeds
        for run in arm.runs[seed]
        if run.status is Status.FINISHED
    ]
    facts = [(label, _values(runs, key)) for label, key in SETUP.items()]
    packages = dict.fromkeys(name for run in runs for name in _mapping(run, "versions"))
    facts += [
        (name, _joined(_mapping(run, "versions").get(name) for run in runs)) for name in packages
    ]
    data = dict.fromkeys(
        (task, split, str(digest))
        for run in runs
        for task, splits in _mapping(run, "fingerprints").items()
        if isinstance(splits, Mapping)
        for split, digest in splits.items()
    )
    overrides = {run.name: " ".join(map(str, _words(run))) for run in runs}
    known = [(label, value) for label, value in facts if value]
    return Provenance(study.command, known, sorted(data), list(overrides.items()))


def _mapping(run: Run, key: str) -> Mapping[str, object]:
    found = run.record.get(key)
    return found if isinstance(found, Mapping) else {}


def _words(run: Run) -> Sequence[object]:
    found = run.record.get("overrides")
    return found if isinstance(found, list) else ()


def _values(runs: Sequence[Run], key: str) -> str:
    return _joined(run.record.get(key) for run in runs)


def _joined(values: object) -> str:
    known = (str(value) for value in values if value is not None)  # type: ignore[attr-defined]
    return ", ".join(dict.fromkeys(known))
