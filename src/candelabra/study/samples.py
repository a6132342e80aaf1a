"""Collect the scores of all arms on the same test rows, and on resamples of these rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from candelabra.evaluation.bootstrap import accuracy, bootstrap_scores, mcnemar
from candelabra.evaluation.row_scores import RowScores
from candelabra.study.inputs import ArmRuns, Status, Study
from candelabra.study.statistics import Estimate, estimate


@dataclass(frozen=True)
class Sample:
    """Scores of one task.

    Attributes:
        scores: Score of each arm and finished seed.
        drawn: Scores (R) on the resamples, for each finished seed of each arm that can be judged.
        items: Scores of the test rows, for the same arms and seeds.
        reasons: Reason for each arm that cannot be judged.
        num_rows: Number of test rows.
        untrained: Names of the arms that are not trained.
    """

    scores: Mapping[str, Mapping[int, float]]
    drawn: Mapping[str, Mapping[int, np.ndarray]]
    items: Mapping[str, Mapping[int, RowScores]]
    reasons: Mapping[str, str]
    num_rows: int
    untrained: frozenset[str]

    def pairs(self, arm: str, other: str) -> list[tuple[int, int]]:
        """Return the pairs of seeds of two arms that are compared with each other."""
        one, two = (sorted(self.drawn.get(name, {})) for name in (arm, other))
        if arm in self.untrained and other in self.untrained:
            return list(zip(one[:1], two[:1], strict=False))
        if arm in self.untrained:
            return [(one[0], seed) for seed in two] if one else []
        if other in self.untrained:
            return [(seed, two[0]) for seed in one] if two else []
        return [(seed, seed) for seed in one if seed in two]

    def same(self, arm: str, other: str) -> bool:
        """Return whether two arms have the same scores, on the test rows and on every resample."""
        one, two = self.drawn.get(arm, {}), self.drawn.get(other, {})
        return (
            len(one) > 0
            and self.scores[arm] == self.scores[other]
            and one.keys() == two.keys()
            and all(np.array_equal(one[seed], two[seed]) for seed in one)
        )

    def reason(self, arm: str, other: str) -> str:
        """Return the reason why two arms cannot be compared; empty if they can."""
        if other in self.reasons:
            return f"{other}: {self.reasons[other]}"
        if arm in self.reasons:
            return self.reasons[arm]
        num, trained = len(self.pairs(arm, other)), not {arm, other} <= self.untrained
        if num < 1 + trained:
            return f"needs two seeds of both arms; found {num}"
        return ""

    def estimate(self, arm: str, other: str) -> Estimate:
        """Estimate the difference between two arms that can be compared."""
        pairs = self.pairs(arm, other)
        ones, others = ([pair[side] for pair in pairs] for side in (0, 1))
        return estimate(
            np.array([self.scores[arm][seed] for seed in ones]),
            np.array([self.scores[other][seed] for seed in others]),
            drawn_arm_RS=np.stack([self.drawn[arm][seed] for seed in ones], 1),
            drawn_baseline_RS=np.stack([self.drawn[other][seed] for seed in others], 1),
            num_rows=self.num_rows,
        )

    def mcnemar(self, arm: str, other: str) -> float | None:
        """Return McNemar's p-value for the first pair of runs; `None` without accuracies."""
        one_seed, other_seed = self.pairs(arm, other)[0]
        one, two = self.items[arm][one_seed], self.items[other][other_seed]
        if one.score is not accuracy:
            return None
        return mcnemar(two.items_NS[:, 0] > 0, one.items_NS[:, 0] > 0)


def sample_of(study: Study, task: str, *, place: int) -> Sample:
    """Collect the scores of a task, and resample its rows.

    Args:
        study: The study.
        task: Name of the task.
        place: Index of the task, so that each task has its own resamples.
    """
    items: dict[str, dict[int, RowScores]] = {}
    reasons: dict[str, str] = {}
    digest = _digest(study, task)
    for arm in study.arms:
        reason = _reason(arm, task, digest)
        if reason:
            reasons[arm.name] = reason
        else:
            items[arm.name] = _items(arm, task)
    keys = [(name, seed) for name, of_arm in items.items() for seed in of_arm]
    models = [items[name][seed].items_NS for name, seed in keys]
    drawn: dict[str, dict[int, np.ndarray]] = {name: {} for name in items}
    if models:
        score = items[keys[0][0]][keys[0][1]].score
        seed = (study.seed, place)
        found_RM = bootstrap_scores(score, models, resamples=study.resamples, seed=seed)
        for (name, at), column in zip(keys, found_RM.T, strict=True):
            drawn[name][at] = column
    return Sample(
        scores={arm.name: _scores(arm, task) for arm in study.arms},
        drawn=drawn,
        items=items,
        reasons=reasons,
        num_rows=len(models[0]) if models else 0,
        untrained=frozenset(arm.name for arm in study.arms if not arm.trained),
    )


def mean_of(samples: Sequence[Sample]) -> Sample:
    """Average the scores over tasks, for seeds that are finished in all of them."""
    reasons: dict[str, str] = {}
    for sample in samples:
        reasons = {**sample.reasons, **reasons}
    names = [name for name in samples[0].scores if name not in reasons]
    common = {
        name: set.intersection(*(set(sample.drawn[name]) for sample in samples)) for name in names
    }
    return Sample(
        scores={
            name: {
                seed: sum(sample.scores[name][seed] for sample in samples) / len(samples)
                for seed in sorted(seeds)
            }
            for name, seeds in common.items()
        },
        drawn={
            name: {
                seed: np.mean([sample.drawn[name][seed] for sample in samples], axis=0)
                for seed in sorted(seeds)
            }
            for name, seeds in common.items()
        },
        items={},
        reasons=reasons,
        num_rows=min(sample.num_rows for sample in samples),
        untrained=samples[0].untrained,
    )


def _scores(arm: ArmRuns, task: str) -> dict[int, float]:
    runs = ((seed, arm.run_of(task, seed)) for seed in arm.seeds)
    return {seed: run.scores[task] for seed, run in runs if run and task in run.scores}


def _items(arm: ArmRuns, task: str) -> dict[int, RowScores]:
    found = {}
    for seed in _scores(arm, task):
        run = arm.run_of(task, seed)
        assert run is not None
        scored = run.rows[task].scored
        assert scored is not None
        found[seed] = scored
    return found


def _digest(study: Study, task: str) -> str | None:
    """Return the digest of the rows of the first finished run, preferably of the baseline."""
    for arm in (study.arm(study.baseline), *study.others):
        for seed in arm.seeds:
            run = arm.run_of(task, seed)
            if run is not None and task in run.rows:
                return run.rows[task].digest
    return None


def _reason(arm: ArmRuns, task: str, digest: str | None) -> str:
    """Return the reason why an arm cannot be judged in a task; empty if it can."""
    texts: set[str] = set()
    for seed in arm.seeds:
        run = arm.run_of(task, seed)
        failed = [one for one in arm.runs[seed] if one.status is Status.FAILED]
        if run is None and failed:
            return f"seed {seed} failed: {failed[0].problem}"
        if run is None or run.status is Status.MISSING:
            continue
        if run.status is Status.FAILED:
            return f"seed {seed} failed: {run.problem}"
        rows = run.rows.get(task)
        if rows is None or rows.scored is None:
            return f"seed {seed}: the predictions do not reproduce {run.main_metrics[task]}"
        if rows.digest != digest:
            return f"seed {seed} was evaluated on other rows than the other runs"
        # The digest is that of the labels. The texts may have been corrected since.
        texts |= {run.record.get("fingerprints", {}).get(task, {}).get("test", "")}
    if len(texts) > 1:
        return "the test texts were changed between the runs of its seeds"
    return "" if _scores(arm, task) else "no run is finished"
