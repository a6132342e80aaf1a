"""How much of each task the training carries: sizes -> shares, and shares -> a batch.

A scheme is a function `(sizes, moment) -> {task: share}`, its shares sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real

RULES = ("all_once", "max_size_cycle", "min_size", "steps")
"""What ends an epoch: see `data/schedule.py`."""
TURNS = ("drawn", "cycled")
"""The order of tasks that take turns: see `data/steps.py`."""


@dataclass(frozen=True)
class Moment:
    """Where the training stands when shares are asked for.

    Attributes:
        progress: The part of the training that is done, 0 to 1.
        scores: The last main metric of each task; empty before the first validation.
    """

    progress: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)


def proportional(sizes: Mapping[str, int], moment: Moment) -> dict[str, float]:
    """`p_i = n_i / sum n`: every example counts alike.

    Example:
        >>> proportional({"imdb": 300, "movie": 100}, Moment())
        {'imdb': 0.75, 'movie': 0.25}
    """
    return temperature(sizes, moment, alpha=1.0)


def equal(sizes: Mapping[str, int], moment: Moment) -> dict[str, float]:
    """`p_i = 1 / K`: every task counts alike."""
    return temperature(sizes, moment, alpha=0.0)


def temperature(
    sizes: Mapping[str, int], moment: Moment, *, alpha: float = 0.5, cap: int | None = None
) -> dict[str, float]:
    """`p_i ~ min(n_i, cap)^alpha`, between equal (0) and proportional (1) (Raffel et al. 2020).

    Args:
        sizes: Examples in each task's training set.
        moment: Where the training stands; of no influence.
        alpha: The exponent, 1 / T for a temperature T. T5 takes 0.5, XLM-R 0.3, mBERT 0.7.
        cap: A larger set counts as this many examples; None for no cap.

    Raises:
        ValueError: There is no task, a set is empty, `alpha` is negative or `cap` below 1.
    """
    if not sizes:
        raise ValueError("balancing needs at least one task; found none")
    for task, size in sizes.items():
        if size < 1:
            raise ValueError(f"task {task!r} must have training examples; found {size}")
    if not _is_number(alpha) or alpha < 0:
        raise ValueError(f"balancing.shares.alpha must be 0 or more; found {alpha!r}")
    if cap is not None and (not _is_number(cap) or cap < 1):
        raise ValueError(f"balancing.shares.cap must be at least 1; found {cap!r}")
    counted = {task: size if cap is None else min(size, cap) for task, size in sizes.items()}
    largest = max(counted.values())
    powers = {task: (size / largest) ** alpha for task, size in counted.items()}
    total = math.fsum(powers.values())
    return {task: power / total for task, power in powers.items()}


def annealed(
    sizes: Mapping[str, int],
    moment: Moment,
    *,
    start: float = 1.0,
    end: float = 0.2,
    cap: int | None = None,
) -> dict[str, float]:
    """From proportional to nearly equal: alpha falls in a line (Stickland & Murray 2019, PALs).

    Args:
        sizes: Examples in each task's training set.
        moment: Its `progress` counts, step by step.
        start: The exponent of `temperature` in the first step.
        end: The exponent in the last step.
        cap: A larger set counts as this many examples; None for no cap.

    Raises:
        ValueError: As `temperature`, and where an end of the line is negative.
    """
    for key, alpha in (("start", start), ("end", end)):
        if not _is_number(alpha) or alpha < 0:
            raise ValueError(f"balancing.shares.{key} must be 0 or more; found {alpha!r}")
    return temperature(sizes, moment, alpha=start + (end - start) * moment.progress, cap=cap)


def capped(sizes: Mapping[str, int], moment: Moment, *, cap: int) -> dict[str, float]:
    """`p_i ~ min(n_i, cap)`: proportional, but no set counts as more than `cap` (Raffel et al.).

    Raises:
        ValueError: As `temperature`.
    """
    return temperature(sizes, moment, alpha=1.0, cap=cap)


def gap_driven(
    sizes: Mapping[str, int],
    moment: Moment,
    *,
    references: Mapping[str, float],
    floor: float = 0.01,
) -> dict[str, float]:
    """`p_i ~ max(floor, reference_i - score_i)`: more of the task that is farther from its mark.

    Equal before the first validation, when no score is known.

    Args:
        sizes: Examples in each task's training set.
        moment: Its `scores` count.
        references: The main metric each task should reach, such as that of a single-task run.
        floor: The distance of a task that has reached its mark.

    Raises:
        ValueError: References are missing, unknown or no numbers, or `floor` is not above 0.

    Example:
        >>> moment = Moment(scores={"imdb": 0.8, "movie": 0.4})
        >>> gap_driven({"imdb": 9, "movie": 9}, moment, references={"imdb": 0.9, "movie": 0.7})
        {'imdb': 0.25, 'movie': 0.75}
    """
    if not isinstance(references, Mapping) or set(references) != set(sizes):
        raise ValueError(
            f"balancing.shares.references must hold a score for each of the tasks {list(sizes)} "
            f"and nothing else; found {references}"
        )
    if not all(map(_is_number, references.values())):
        raise ValueError(f"balancing.shares.references must be finite numbers; found {references}")
    if not _is_number(floor) or floor <= 0:
        raise ValueError(f"balancing.shares.floor must be above 0 and finite; found {floor!r}")
    if not moment.scores:
        return equal(sizes, moment)
    # Rounded, so that the last bits of a subtraction are not taken for a difference.
    gaps = {t: max(floor, round(references[t] - moment.scores.get(t, 0.0), 9)) for t in sizes}
    total = math.fsum(gaps.values())
    return {task: gap / total for task, gap in gaps.items()}


def ratios(
    sizes: Mapping[str, int], moment: Moment, *, ratios: Mapping[str, float]
) -> dict[str, float]:
    """Shares as a person sets them, whatever the sizes.

    Args:
        sizes: Examples in each task's training set.
        moment: Where the training stands; of no influence.
        ratios: What a task gets in proportion to the others; a task that is not named gets 1.

    Raises:
        ValueError: A name is no task, or a ratio is not above 0.

    Example:
        >>> ratios({"imdb": 300, "movie": 100}, Moment(), ratios={"movie": 3})
        {'imdb': 0.25, 'movie': 0.75}
    """
    if not isinstance(ratios, Mapping):
        raise ValueError(f"balancing.shares.ratios must be task: number; found {ratios!r}")
    unknown = sorted(set(ratios) - set(sizes))
    if unknown:
        raise ValueError(f"balancing.shares.ratios must name tasks {list(sizes)}; found {unknown}")
    if not all(_is_number(ratio) and ratio > 0 for ratio in ratios.values()):
        raise ValueError(f"balancing.shares.ratios must be numbers above 0; found {ratios}")
    wanted = {task: float(ratios.get(task, 1.0)) for task in sizes}
    total = math.fsum(wanted.values())
    return {task: ratio / total for task, ratio in wanted.items()}


def _is_number(value: object) -> bool:
    """A finite one: what a person writes in a yaml may be a word, or nan."""
    return isinstance(value, Real) and math.isfinite(value)


def split_batch(shares: Mapping[str, float], batch_size: int) -> dict[str, int]:
    """How many examples of each task one optimizer step holds.

    The largest remainder method, with at least 1 example of each task; what that takes beyond a
    task's share is given up by the tasks that are most above theirs. Ties go by the tasks' order.

    Args:
        shares: A share for each task; they sum to 1.
        batch_size: Examples of all tasks together.

    Returns:
        Examples of each task; they sum to `batch_size`.

    Raises:
        ValueError: The batch is smaller than the number of tasks, or the shares are not shares.

    Example:
        >>> split_batch({"imdb": 0.7, "movie": 0.3}, 16)
        {'imdb': 11, 'movie': 5}
    """
    if batch_size < len(shares):
        raise ValueError(
            f"batch_size must be at least {len(shares)}, one example for each of the tasks "
            f"{list(shares)}; found {batch_size}"
        )
    are_shares = all(share >= 0 for share in shares.values())
    if not are_shares or not abs(math.fsum(shares.values()) - 1) <= 1e-6:
        raise ValueError(f"shares must be 0 or more and sum to 1; found {dict(shares)}")
    wanted = {task: share * batch_size for task, share in shares.items()}
    counts = {task: max(1, int(number)) for task, number in wanted.items()}
    while sum(counts.values()) < batch_size:
        counts[max(counts, key=lambda task: wanted[task] - counts[task])] += 1
    while sum(counts.values()) > batch_size:
        spare = [task for task, count in counts.items() if count > 1]
        counts[max(spare, key=lambda task: counts[task] - wanted[task])] -= 1
    return counts
