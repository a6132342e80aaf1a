"""Rules that make one sentence of all results of a study; a study's yaml names one as `_target_`.

A rule is a function `(result) -> Answer`; its other arguments come from the yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from candelabra.study.verdicts import BETTER, OPEN, WORSE, Verdict

if TYPE_CHECKING:
    from candelabra.study.result import StudyResult


@dataclass(frozen=True)
class Answer:
    """The answer of a study.

    Attributes:
        choice: Name of the arm to take, or `None` if the study does not decide.
        sentence: The answer in one sentence.
    """

    choice: str | None
    sentence: str


Decision = Callable[["StudyResult"], Answer]


def share_or_separate(result: StudyResult, *, shared: str) -> Answer:
    """Decide between one shared model and the baseline of separate models.

    The answer is to share if the shared arm is worse by more than the margin in no task and
    undecided in none, and to separate if it is worse in at least one.

    Args:
        result: The compared arms; the baseline trains a model for each task.
        shared: Name of the arm that shares one model.

    Raises:
        ValueError: `shared` is the baseline or no arm.
    """
    verdicts = _verdicts(result, shared)
    worse = [task for task, verdict in verdicts.items() if verdict in WORSE]
    unclear = [task for task, verdict in verdicts.items() if verdict in OPEN]
    separate = result.study.baseline
    if worse:
        return Answer(separate, f"Separate: {shared!r} is worse on {_listed(worse)}.")
    if unclear:
        return Answer(None, f"Undecided: the study does not settle {_listed(unclear)}.")
    losses = [task for task, verdict in verdicts.items() if verdict is Verdict.WORSE_BY_LESS]
    if losses:
        small = f"less than the margin on {_listed(losses)}, and nothing that matters elsewhere"
        return Answer(shared, f"Share: {shared!r} loses {small}.")
    return Answer(shared, f"Share: {shared!r} loses nothing that matters on any task.")


def cheapest_good_enough(result: StudyResult) -> Answer:
    """Choose the arm with the shortest training that is not worse than the best in any task.

    An arm is good enough if, for every task, the interval of its difference from the best arm of
    the task lies above minus the margin. The intervals are as wide as those of the strictest
    comparison of the study.
    """
    names = [arm.name for arm in result.study.arms]
    if any(verdict is Verdict.NOT_JUDGED for name in names for verdict in _all(result, name)):
        return Answer(None, "Undecided: not every arm can be judged.")
    seconds = {arm.name: arm.cost().training_seconds for arm in result.study.arms}
    enough = [name for name in names if _near_the_best(result, name)]
    if not enough:
        return Answer(None, "Undecided: no arm is known to be near the best in every task.")
    known = [name for name in enough if seconds[name] is not None]
    if len(known) < len(enough):
        return Answer(None, "Undecided: the training time of an arm is not known.")
    choice = min(known, key=lambda name: seconds[name] or 0.0)
    if len(enough) == 1:
        return Answer(
            choice, f"Take {choice!r}: no other arm is known to be as good in every task."
        )
    return Answer(
        choice,
        f"Take {choice!r}: it trains in the shortest time of all arms that are not worse than the "
        "best by more than the margin in any task.",
    )


def best_mean(result: StudyResult) -> Answer:
    """Choose, of the arms that are better than the baseline on average, the one with the best mean.

    If there is none, an arm that is better in one task only is named in the sentence.
    """
    baseline = result.study.baseline
    judged = {
        name: contrast for name, contrast in result.means.items() if contrast.estimate is not None
    }
    if len(judged) < len(result.study.others):
        lacking = [arm.name for arm in result.study.others if arm.name not in judged]
        return Answer(None, f"Undecided: {_listed(map(repr, lacking))} cannot be judged.")
    better = [name for name, found in judged.items() if found.verdict in BETTER]
    if better:
        best = max(better, key=lambda name: judged[name].difference)
        worse = [task for task, verdict in _verdicts(result, best).items() if verdict in WORSE]
        but = f", though it is worse on {_listed(worse)}" if worse else ""
        gain = judged[best].difference
        above = [repr(name) for name, found in judged.items() if found.difference > gain]
        more = f"; {_listed(above)} may be better still" if above else ""
        points = f"{100 * gain:.2f} points on average"
        return Answer(best, f"Take {best!r}: better than {baseline!r} by {points}{but}{more}.")
    unclear = [
        name
        for name, found in judged.items()
        if found.verdict is Verdict.UNDECIDED and found.difference > 0
    ]
    but = f", though {_listed(map(repr, unclear))} may have" if unclear else ""
    return Answer(
        baseline,
        f"{baseline!r} will do: no other arm is shown to have a better mean of the tasks{but}"
        f"{_better_on_a_task(result)}.",
    )


def _better_on_a_task(result: StudyResult) -> str:
    """Return which arms are better than the baseline on a task, to be appended to a sentence."""
    better = {
        task: [repr(arm) for arm, found in contrasts.items() if found.verdict in BETTER]
        for task, contrasts in result.contrasts.items()
    }
    parts = [f"better on {task}: {_listed(arms)}" for task, arms in better.items() if arms]
    return "".join(f"; {part}" for part in parts)


def _near_the_best(result: StudyResult, name: str) -> bool:
    for task, margin in result.study.margins.items():
        scores = result.mean_scores(task)
        best = max(scores, key=lambda arm: scores[arm])
        if name == best:
            continue
        sample = result.samples[task]
        if sample.reason(name, best):  # such as too few common seeds
            return False
        found = sample.estimate(name, best)
        if found.interval(result.strictest)[0] <= -margin:
            return False
    return True


def _verdicts(result: StudyResult, arm: str) -> Mapping[str, Verdict]:
    others = [other.name for other in result.study.others]
    if arm not in others:
        raise ValueError(f"must be one of the arms {others}, and not the baseline; found {arm!r}")
    return {task: contrasts[arm].verdict for task, contrasts in result.contrasts.items()}


def _all(result: StudyResult, arm: str) -> list[Verdict]:
    return [found[arm].verdict for found in result.contrasts.values() if arm in found]


def _listed(items: Iterable[str]) -> str:
    names = list(items)
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
