"""Inputs of a study: its arms, their runs, and facts for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from candelabra.evaluation.row_scores import RowScores

if TYPE_CHECKING:
    from candelabra.study.decisions import Decision

Row = Mapping[str, float]
"""One row of a run's `metrics.csv`: column -> value."""


class Status(StrEnum):
    """State of a run."""

    FINISHED = "finished"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True)
class TestRows:
    """Test rows of a task with the predictions of one run.

    Attributes:
        scored: Numbers from which the main metric is computed; `None` if the predictions do not
            reproduce it.
        num_rows: Number of rows.
        digest: SHA-256 of the row numbers and labels, equal in all runs on the same rows.
    """

    __test__ = False  # pytest collects classes of this name otherwise

    scored: RowScores | None
    num_rows: int
    digest: str


@dataclass(frozen=True)
class Cost:
    """Cost of a run; `None` where it is not known.

    Attributes:
        training_seconds: Duration of the fit with its validations, and of encoding what is frozen.
        parameters: Parameters that the bundle stores.
        encoder_passes: Encoder passes for the predictions of all tasks for one text.
        ms_per_text: Milliseconds for these predictions.
    """

    training_seconds: float | None = None
    parameters: int | None = None
    encoder_passes: int | None = None
    ms_per_text: float | None = None


@dataclass(frozen=True)
class Run:
    """One training run, or one evaluation of an encoder that is not trained.

    Attributes:
        name: Name on the page, such as the folder below the study.
        status: Whether the run finished.
        problem: Reason why the run did not finish; otherwise empty.
        main_metrics: Main metric of each task of the run.
        scores: Main metric of each task on the test split.
        rows: Test rows of each task.
        history: Rows of `metrics.csv`.
        cost: Cost of the run.
        record: Content of `run.json`.
    """

    name: str
    status: Status
    problem: str = ""
    main_metrics: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, TestRows] = field(default_factory=dict)
    history: Sequence[Row] = ()
    cost: Cost = Cost()
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ArmRuns:
    """One of the ways to train that a study compares.

    Attributes:
        name: Name on the page.
        runs: Runs of each seed. A seed has several if each task has its own model.
        trained: False for a pretrained encoder that was not trained. It has one seed.
        description: Settings of the arm, in words.
        differs: Settings that are not equal to those of the other arms; empty if all are.
        tuning_seconds: Duration of the trials of learning rates, once for all seeds.
        ms_per_text: Milliseconds for the predictions of all tasks for one text; `None` if not
            measured.
    """

    name: str
    runs: Mapping[int, Sequence[Run]]
    trained: bool = True
    description: str = ""
    differs: str = ""
    tuning_seconds: float = 0.0
    ms_per_text: float | None = None

    @property
    def seeds(self) -> list[int]:
        """Return the planned seeds in order."""
        return sorted(self.runs)

    def run_of(self, task: str, seed: int) -> Run | None:
        """Return the run of a seed that has a task, or `None` if there is none."""
        return next((run for run in self.runs.get(seed, ()) if task in run.main_metrics), None)

    def problems(self) -> list[tuple[int, Run]]:
        """Return the seed and the run for each run that did not finish."""
        return [
            (seed, run)
            for seed in self.seeds
            for run in self.runs[seed]
            if run.status is not Status.FINISHED
        ]

    def cost(self) -> Cost:
        """Return the mean cost over the seeds. The cost of a seed is the sum over its runs.

        The training time contains the time of tuning. A part of the cost is `None` if it is unknown
        for a finished run. The training time of an arm that is not trained is 0.
        """
        finished = [
            runs
            for runs in self.runs.values()
            if all(run.status is Status.FINISHED for run in runs)
        ]

        def mean(part: str) -> float | None:
            """Return the mean of a part of the cost over the seeds, or `None` if one is unknown."""
            values = [getattr(run.cost, part) for runs in finished for run in runs]
            known = bool(values) and None not in values
            return sum(values) / len(finished) if known else None

        parameters, passes = mean("parameters"), mean("encoder_passes")
        seconds = mean("training_seconds") if self.trained else 0.0
        return Cost(
            training_seconds=None if seconds is None else seconds + self.tuning_seconds,
            parameters=None if parameters is None else round(parameters),
            encoder_passes=None if passes is None else round(passes),
            ms_per_text=self.ms_per_text,
        )


@dataclass(frozen=True)
class Study:
    """A question, and the arms that answer it.

    Attributes:
        name: Name of the study, such as `sharing`.
        question: The question in words.
        arms: The arms, among them the baseline.
        baseline: Name of the arm that the others are compared with.
        margins: Smallest difference that matters, for each task in the order of the page.
        decide: Rule that answers the question from all results.
        equal: Settings that are equal in all arms, in words.
        command: Command that repeats the study.
        test_reads: Number of times that the test split was read.
        limits: Limits of this study, in addition to those of every study.
        resamples: Number of bootstrap resamples of the rows.
        seed: Seed of the bootstrap.
    """

    name: str
    question: str
    arms: Sequence[ArmRuns]
    baseline: str
    margins: Mapping[str, float]
    decide: Decision
    equal: Sequence[str] = ()
    command: str = ""
    test_reads: int = 1
    limits: Sequence[str] = ()
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check names and margins.

        Raises:
            ValueError: An arm is named twice, the baseline is no arm, there is no task, or a
                margin is not above 0.
        """
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names) or len(names) < 2:
            raise ValueError(f"arms: must be two or more with different names; found {names}")
        if self.baseline not in names:
            raise ValueError(f"baseline: must be one of the arms {names}; found {self.baseline!r}")
        if not self.margins:
            raise ValueError("margins: must name at least one task")
        for task, margin in self.margins.items():
            if not margin > 0:
                raise ValueError(f"margin of {task}: must be above 0; found {margin}")

    def arm(self, name: str) -> ArmRuns:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def others(self) -> list[ArmRuns]:
        """Return the arms that are compared with the baseline."""
        return [arm for arm in self.arms if arm.name != self.baseline]

    def metric(self, task: str) -> str:
        """Return the main metric of a task."""
        runs = (run for arm in self.arms for several in arm.runs.values() for run in several)
        return next((run.main_metrics[task] for run in runs if task in run.main_metrics), "score")
