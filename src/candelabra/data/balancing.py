"""How much of each task the training carries: sizes -> shares, and shares -> a batch.

A scheme is a function `(sizes, moment) -> {task: share}`, its shares sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


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
    if not 0 <= alpha < math.inf:
        raise ValueError(f"balancing.alpha must be 0 or more; found {alpha}")
    if cap is not None and cap < 1:
        raise ValueError(f"balancing.cap must be at least 1; found {cap}")
    counted = {task: size if cap is None else min(size, cap) for task, size in sizes.items()}
    largest = max(counted.values())
    powers = {task: (size / largest) ** alpha for task, size in counted.items()}
    total = math.fsum(powers.values())
    return {task: power / total for task, power in powers.items()}


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
    unknown = sorted(set(ratios) - set(sizes))
    if unknown:
        raise ValueError(f"balancing.shares.ratios must name tasks {list(sizes)}; found {unknown}")
    if not all(0 < ratio < math.inf for ratio in ratios.values()):
        raise ValueError(f"balancing.shares.ratios must be above 0; found {dict(ratios)}")
    wanted = {task: float(ratios.get(task, 1.0)) for task in sizes}
    total = math.fsum(wanted.values())
    return {task: ratio / total for task, ratio in wanted.items()}


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
