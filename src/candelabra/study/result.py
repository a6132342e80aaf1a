"""Compare all arms of a study with its baseline, for the page and for `study.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from candelabra.study.decisions import Answer
from candelabra.study.inputs import Study
from candelabra.study.power import smallest_detectable
from candelabra.study.samples import Sample, mean_of, sample_of
from candelabra.study.statistics import Adjusted, Estimate, holm
from candelabra.study.verdicts import Remedy, Verdict, remedy_of, verdict_of, words_of

ALPHA = 0.05
DECIMALS = 6
ALIKE = "the models score the same on every test row, which does not tell how sure that is"
"""Reason not to judge, such as when no model has learned anything."""


@dataclass(frozen=True)
class Contrast:
    """Comparison of an arm with the baseline in one task.

    Attributes:
        estimate: The estimated difference; `None` if the comparison is not judged.
        adjusted: p-value and level of the interval by Holm's method.
        margin: Smallest difference that matters.
        reason: Reason why the comparison is not judged; otherwise empty.
        mcnemar: p-value of McNemar's test for the first pair of runs; `None` unless accuracies are
            compared.
    """

    estimate: Estimate | None
    adjusted: Adjusted
    margin: float
    reason: str = ""
    mcnemar: float | None = None

    @property
    def difference(self) -> float:
        """Return the mean difference of a judged comparison."""
        assert self.estimate is not None
        return self.estimate.difference

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Return the interval at the level of Holm's method."""
        return None if self.estimate is None else self.estimate.interval(self.adjusted.confidence)

    @property
    def verdict(self) -> Verdict:
        """Return the verdict on the interval."""
        if self.interval is None:
            return Verdict.NOT_JUDGED
        return verdict_of(*self.interval, self.margin)

    @cached_property
    def remedy(self) -> Remedy | None:
        """Return the study size that would decide an undecided comparison; otherwise `None`."""
        if self.estimate is None or self.verdict is not Verdict.UNDECIDED:
            return None
        level = self.adjusted.confidence
        return remedy_of(self.estimate, margin=self.margin, confidence=level)

    @property
    def words(self) -> str:
        """Return the verdict in words."""
        if self.estimate is None:
            return f"not judged: {self.reason}"
        return words_of(self.verdict, self.margin, self.remedy)

    @property
    def detectable(self) -> float | None:
        """Return the smallest true difference that such a study detects in four of five cases."""
        if self.estimate is None:
            return None
        level = self.adjusted.confidence
        return smallest_detectable(self.estimate.variance, confidence=level)

    def plain(self) -> dict[str, Any]:
        """Return the content for `study.json`."""
        head = {"verdict": str(self.verdict), "words": self.words, "margin": self.margin}
        if self.estimate is None or self.interval is None:
            return {**head, "reason": self.reason}
        variance = self.estimate.variance
        return {
            **head,
            "difference": _round(self.difference),
            "interval": [_round(end) for end in self.interval],
            "confidence": _round(self.adjusted.confidence),
            "interval_95": [_round(end) for end in self.estimate.interval(0.95)],
            "p_holm": _round(self.adjusted.p_value),
            "p": _round(self.estimate.p_value),
            "standard_error": _round(variance.standard_error),
            "degrees_of_freedom": _round(min(variance.degrees_of_freedom, 1e9)),
            "variance": {
                "seeds": float(f"{variance.seeds:.6g}"),
                "rows": float(f"{variance.rows:.6g}"),
                "interaction": float(f"{variance.interaction:.6g}"),
            },
            "num_seeds": variance.num_seeds,
            "num_rows": variance.num_rows,
            "by_seed": [_round(each) for each in self.estimate.by_seed],
            "chance_of_gain": _round(self.estimate.chance_of_gain),
            "mcnemar_p": _round(self.mcnemar),
            "smallest_detectable": _round(self.detectable),
            "seeds_to_decide": None if self.remedy is None else self.remedy.num_seeds,
            "rows_to_decide": None if self.remedy is None else self.remedy.num_rows,
        }


@dataclass(frozen=True)
class StudyResult:
    """All comparisons of a study.

    Attributes:
        study: The study.
        samples: Scores of each task.
        contrasts: Comparison with the baseline, by task and arm.
        means: Comparison of the mean over the tasks, by arm. Holm's method adjusts them separately.
        same: Arm -> an earlier arm with the same scores in every task. The two count as one
            comparison.
    """

    study: Study
    samples: Mapping[str, Sample]
    contrasts: Mapping[str, Mapping[str, Contrast]]
    means: Mapping[str, Contrast]
    same: Mapping[str, str]

    @cached_property
    def answer(self) -> Answer:
        """Return the answer by the rule of the study."""
        return self.study.decide(self)

    @property
    def strictest(self) -> float:
        """Return the confidence level of the strictest comparison."""
        num_arms = len(self.study.others) - len(self.same)
        return 1 - ALPHA / max(1, num_arms * len(self.contrasts))

    def mean_scores(self, task: str) -> dict[str, float]:
        """Return the mean score over the seeds, for each arm that has one."""
        return {
            arm: sum(scores.values()) / len(scores)
            for arm, scores in self.samples[task].scores.items()
            if scores
        }

    def plain(self) -> dict[str, Any]:
        """Return the content of `study.json`, which depends only on the scores of the runs."""
        study = self.study
        return {
            "format": 1,
            "study": study.name,
            "question": study.question,
            "answer": {"choice": self.answer.choice, "sentence": self.answer.sentence},
            "baseline": study.baseline,
            "tasks": {task: self._task(task) for task in study.margins},
            "mean_of_tasks": {arm: found.plain() for arm, found in self.means.items()},
            "arms": {arm.name: _arm(arm) for arm in study.arms},
            "same_scores": dict(self.same),
            "alpha": ALPHA,
            "resamples": study.resamples,
            "seed": study.seed,
            "test_reads": study.test_reads,
        }

    def _task(self, task: str) -> dict[str, Any]:
        return {
            "metric": self.study.metric(task),
            "num_rows": self.samples[task].num_rows,
            "scores": {
                arm: {str(seed): _round(score) for seed, score in scores.items()}
                for arm, scores in self.samples[task].scores.items()
            },
            "comparisons": {arm: one.plain() for arm, one in self.contrasts[task].items()},
        }


def compare_arms(study: Study) -> StudyResult:
    """Compare every arm with the baseline in every task.

    Args:
        study: The study with its loaded runs.
    """
    samples = {
        task: sample_of(study, task, place=place) for place, task in enumerate(study.margins)
    }
    names = [arm.name for arm in study.others]
    pairs = {(task, arm): samples[task] for task in samples for arm in names}
    same = _same(names, samples)
    found = _contrasts(study, pairs, same)
    mean = mean_of(list(samples.values()))
    means = _contrasts(study, {("", arm): mean for arm in names}, same)
    return StudyResult(
        study,
        samples,
        {task: {arm: found[task, arm] for arm in names} for task in samples},
        {arm: means["", arm] for arm in names},
        same,
    )


def _same(names: Sequence[str], samples: Mapping[str, Sample]) -> dict[str, str]:
    """Return the first arm with the same scores, for each arm that repeats an earlier one."""
    same: dict[str, str] = {}
    for place, name in enumerate(names):
        for other in names[:place]:
            if all(sample.same(name, other) for sample in samples.values()):
                same[name] = same.get(other, other)
                break
    return same


def _contrasts(
    study: Study, pairs: Mapping[tuple[str, str], Sample], same: Mapping[str, str]
) -> dict[tuple[str, str], Contrast]:
    """Compare arms with the baseline, as one family of comparisons.

    A comparison that is not judged counts with a p-value of 1. Arms with the same scores count
    once.
    """
    reasons = {key: sample.reason(key[1], study.baseline) for key, sample in pairs.items()}
    estimates = {
        key: None if reasons[key] else sample.estimate(key[1], study.baseline)
        for key, sample in pairs.items()
    }
    for key, found in estimates.items():
        if found is not None and found.variance.total == 0:
            estimates[key], reasons[key] = None, ALIKE
    p_values = {
        key: 1.0 if found is None else found.p_value
        for key, found in estimates.items()
        if key[1] not in same
    }
    adjusted = dict(zip(p_values, holm(list(p_values.values()), alpha=ALPHA), strict=True))
    mean_margin = sum(study.margins.values()) / len(study.margins)
    return {
        key: Contrast(
            estimate=found,
            adjusted=adjusted[key[0], same.get(key[1], key[1])],
            margin=study.margins.get(key[0], mean_margin),
            reason=reasons[key],
            mcnemar=None
            if found is None or not pairs[key].items
            else pairs[key].mcnemar(key[1], study.baseline),
        )
        for key, found in estimates.items()
    }


def _arm(arm: Any) -> dict[str, Any]:
    cost = arm.cost()
    return {
        "description": arm.description,
        "trained": arm.trained,
        "differs": arm.differs,
        "seeds": arm.seeds,
        "parameters": cost.parameters,
        "encoder_passes": cost.encoder_passes,
        "missing": [
            {"seed": seed, "run": run.name, "status": str(run.status), "problem": run.problem}
            for seed, run in arm.problems()
        ],
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), DECIMALS)
