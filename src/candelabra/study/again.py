"""Save the inputs of a study's page, and load them to write the page again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hydra.errors import InstantiationException

from candelabra.build.study import build_decision
from candelabra.bundle.stored import is_number, stored_json
from candelabra.config.targets import check_targets
from candelabra.errors import ConfigError, DataError
from candelabra.files import write_json
from candelabra.study.collect import LOOKS
from candelabra.study.inputs import ArmRuns, Run, Status, Study
from candelabra.study.loading import load_run

INPUTS = "inputs.json"
FORMAT = 1
MOST_RESAMPLES = 100_000
STUDY_FIELDS = ("name", "question", "baseline", "equal", "command", "limits", "resamples", "seed")
ARM_FIELDS = ("name", "trained", "description", "differs", "tuning_seconds", "ms_per_text")


def keep_inputs(folder: Path, study: Study, *, runs_dir: Path, answer: Mapping[str, Any]) -> None:
    """Write `inputs.json`: the study, and the paths of its runs.

    Args:
        folder: Folder of the study.
        study: The study with its loaded runs.
        runs_dir: Folder that the names of the runs are relative to.
        answer: Config node of the rule that answers the question.
    """
    inputs = {
        "format": FORMAT,
        **{key: getattr(study, key) for key in STUDY_FIELDS},
        "margins": dict(study.margins),
        "answer": dict(answer),
        # Relative, so that a folder of studies can be moved with its runs.
        "runs": os.path.relpath(runs_dir.absolute(), folder.absolute()),
        "arms": [_arm(arm) for arm in study.arms],
    }
    write_json(folder / INPUTS, inputs)


def _arm(arm: ArmRuns) -> dict[str, Any]:
    runs = {
        str(seed): [{"name": run.name, "main_metrics": dict(run.main_metrics)} for run in several]
        for seed, several in arm.runs.items()
    }
    return {**{key: getattr(arm, key) for key in ARM_FIELDS}, "runs": runs}


def read_study(folder: Path, *, allow: Sequence[str] = ()) -> Study:
    """Load a study from its folder, with the runs that still exist.

    Args:
        folder: Folder of the study.
        allow: Names that the stored rule may use, in addition to candelabra's own.

    Returns:
        The study. This does not count as another look at the test split.

    Raises:
        ConfigError: The rule names code that is not trusted, or no run exists.
        DataError: A file is missing or damaged.
    """
    inputs = stored_json(folder, INPUTS)
    if inputs.get("format") != FORMAT:
        raise DataError(
            f"{folder / INPUTS}: missing, or of another version; the command of the study, typed "
            "again, writes it and repeats no training"
        )
    try:
        if not 1 <= inputs["resamples"] <= MOST_RESAMPLES:
            raise ValueError(f"resamples must be from 1 to {MOST_RESAMPLES:,}")
        runs_dir = folder / str(inputs["runs"])
        arms = [_loaded(stored, runs_dir) for stored in inputs["arms"]]
        check_targets(inputs["answer"], allow=allow, keys=("answer",))
        study = Study(
            arms=arms,
            margins={str(task): float(margin) for task, margin in inputs["margins"].items()},
            decide=build_decision(inputs["answer"]),
            test_reads=_looks(folder),
            **{key: inputs[key] for key in STUDY_FIELDS},
        )
    except (ConfigError, DataError):
        raise
    except InstantiationException as error:
        raise DataError(f"{folder / INPUTS}: study.answer: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{folder / INPUTS}: damaged ({type(error).__name__}: {error})") from error
    if all(run.status is Status.MISSING for arm in arms for run in _runs(arm)):
        raise ConfigError(
            f"report {folder}: {runs_dir} has none of its runs, so the page was not changed"
        )
    return study


def _loaded(stored: Mapping[str, Any], runs_dir: Path) -> ArmRuns:
    runs = {
        int(seed): tuple(_run(runs_dir, one["name"], one["main_metrics"]) for one in several)
        for seed, several in stored["runs"].items()
    }
    facts = {key: stored[key] for key in ARM_FIELDS}
    if not is_number(facts["tuning_seconds"]) or not is_number(facts["ms_per_text"] or 0):
        raise ValueError("times must be numbers")
    return ArmRuns(runs=runs, **facts)


def _run(runs_dir: Path, name: str, main_metrics: Mapping[str, str]) -> Run:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"run {name!r} must be below the folder of the runs")
    return load_run(runs_dir / path, root=runs_dir, main_metrics=main_metrics)


def _runs(arm: ArmRuns) -> list[Run]:
    return [run for several in arm.runs.values() for run in several]


def _looks(folder: Path) -> int:
    looks = stored_json(folder, LOOKS).get("looks", [])
    return max(1, len(looks)) if isinstance(looks, list) else 1
