"""Task sampling for multi-task training: sizes of the tasks to sampling shares to a batch.

A sampling scheme is a function `(sizes, progress) -> {task: share}` whose shares sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

from candelabra.records import TrainingProgress

RULES = ("all_once", "max_size_cycle", "min_size", "steps")
"""Rules that end an epoch; the module of `Schedule` describes them."""
TURNS = ("drawn", "cycled")
"""Orders of the tasks where each step trains one task; see `alternate`."""


def proportional(sizes: Mapping[str, int], progress: TrainingProgress) -> dict[str, float]:
    """Return shares proportional to the sizes: `p_i = n_i / sum_j n_j`.

    Args:
        sizes: Number of training examples of each task.
        progress: Unused.

    Returns:
        The share of each task; the shares sum to 1.

    Raises:
        ValueError: There is no task, or a training set is empty.

    Example:
        >>> proportional({"imdb": 300, "movie": 100}, TrainingProgress())
        {'imdb': 0.75, 'movie': 0.25}
    """
    return temperature(sizes, progress, alpha=1.0)


def equal(sizes: Mapping[str, int], progress: TrainingProgress) -> dict[str, float]:
    """Return the same share for each of the K tasks: `p_i = 1 / K`.

    Args:
        sizes: Number of training examples of each task.
        progress: Unused.

    Returns:
        The share of each task; the shares sum to 1.

    Raises:
        ValueError: There is no task, or a training set is empty.

    Example:
        >>> equal({"imdb": 300, "movie": 100}, TrainingProgress())
        {'imdb': 0.5, 'movie': 0.5}
    """
    return temperature(sizes, progress, alpha=0.0)


def temperature(
    sizes: Mapping[str, int],
    progress: TrainingProgress,
    *,
    alpha: float = 0.5,
    cap: int | None = None,
) -> dict[str, float]:
    """Return temperature-scaled shares: `p_i` proportional to `min(n_i, cap)^alpha`.

    `alpha=0` gives equal shares and `alpha=1` proportional ones. The formula is the
    temperature-scaled mixing of Raffel et al. 2020 (T5), section 3.5.2.

    Args:
        sizes: Number of training examples of each task.
        progress: Unused.
        alpha: Exponent `1 / T` for a temperature T. T5 uses 0.5, XLM-R 0.3, mBERT 0.7.
        cap: Upper limit of a task's size in the formula; `None` sets no limit.

    Returns:
        The share of each task; the shares sum to 1.

    Raises:
        ValueError: There is no task, a training set is empty, `alpha` is negative, or `cap` is
            below 1.

    Example:
        >>> temperature({"imdb": 400, "movie": 100}, TrainingProgress(), alpha=0.0)
        {'imdb': 0.5, 'movie': 0.5}
        >>> temperature({"imdb": 900, "movie": 100}, TrainingProgress(), cap=300, alpha=1.0)
        {'imdb': 0.75, 'movie': 0.25}
    """
    if not sizes:
        raise ValueError("there must be at least one task, got none")
    for task, size in sizes.items():
        if size < 1:
            raise ValueError(f"task {task!r} must have training examples, got {size}")
    if not _is_number(alpha) or alpha < 0:
        raise ValueError(f"alpha must be 0 or more, got {alpha!r}")
    if cap is not None and (not _is_number(cap) or cap < 1):
        raise ValueError(f"cap must be at least 1, got {cap!r}")
    counted = {task: size if cap is None else min(size, cap) for task, size in sizes.items()}
    largest = max(counted.values())
    powers = {task: (size / largest) ** alpha for task, size in counted.items()}
    total = math.fsum(powers.values())
    return {task: power / total for task, power in powers.items()}


def annealed(
    sizes: Mapping[str, int],
    progress: TrainingProgress,
    *,
    start: float = 1.0,
    end: float = 0.2,
    cap: int | None = None,
) -> dict[str, float]:
    """Return temperature-scaled shares whose exponent changes linearly during training.

    By default the shares go from proportional to nearly equal, the annealed sampling of
    Stickland & Murray 2019 (PALs).

    Args:
        sizes: Number of training examples of each task.
        progress: Its `fraction` sets the exponent, which therefore changes with every step.
        start: Exponent of `temperature` in the first step.
        end: Exponent in the last step.
        cap: Upper limit of a task's size in the formula; `None` sets no limit.

    Returns:
        The share of each task; the shares sum to 1.

    Raises:
        ValueError: `start` or `end` is negative, or `temperature` raises.

    Example:
        >>> annealed({"imdb": 300, "movie": 100}, TrainingProgress())
        {'imdb': 0.75, 'movie': 0.25}
        >>> annealed({"imdb": 300, "movie": 100}, TrainingProgress(step=1, total_steps=2), end=0.0)
        {'imdb': 0.5, 'movie': 0.5}
    """
    for key, alpha in (("start", start), ("end", end)):
        if not _is_number(alpha) or alpha < 0:
            raise ValueError(f"{key} must be 0 or more, got {alpha!r}")
    return temperature(sizes, progress, alpha=start + (end - start) * progress.fraction, cap=cap)


def capped(sizes: Mapping[str, int], progress: TrainingProgress, *, cap: int) -> dict[str, float]:
    """Return shares proportional to capped sizes: `p_i` proportional to `min(n_i, cap)`.

    This is the examples-proportional mixing of Raffel et al. 2020 (T5).

    Args:
        sizes: Number of training examples of each task.
        progress: Unused.
        cap: Upper limit of a task's size in the formula.

    Returns:
        The share of each task; the shares sum to 1.

    Raises:
        ValueError: There is no task, a training set is empty, or `cap` is below 1.

    Example:
        >>> capped({"imdb": 900, "movie": 100}, TrainingProgress(), cap=300)
        {'imdb': 0.75, 'movie': 0.25}
    """
    return temperature(sizes, progress, alpha=1.0, cap=cap)


def gap_driven(
    sizes: Mapping[str, int],
    progress: TrainingProgress,
    *,
    references: Mapping[str, float],
    floor: float = 0.01,
) -> dict[str, float]:
    """Return larger shares for tasks whose score is farther below its reference.

    The share `p_i` is proportional to `max(floor, reference_i - score_i)`. Before the first
    validation no score is known, and the shares are equal.

    Args:
        sizes: Number of training examples of each task.
        progress: Its `scores` are compared with the references.
        references: Target value of each task's main metric, such as that of a single-task run.
        floor: Gap that is assumed for a task at or above its reference.

    Returns:
        The share of each task; the shares sum to 1.

    Raises:
        ValueError: A task has no reference, a reference belongs to no task or is not a finite
            number, or `floor` is not above 0.

    Example:
        >>> progress = TrainingProgress(scores={"imdb": 0.5, "movie": 0.0})
        >>> gap_driven({"imdb": 9, "movie": 9}, progress, references={"imdb": 0.75, "movie": 0.75})
        {'imdb': 0.25, 'movie': 0.75}
    """
    if not isinstance(references, Mapping) or set(references) != set(sizes):
        raise ValueError(
            f"references must hold a score for each of the tasks {list(sizes)} "
            f"and nothing else, got {references}"
        )
    if not all(map(_is_number, references.values())):
        raise ValueError(f"references must be finite numbers, got {references}")
    if not _is_number(floor) or floor <= 0:
        raise ValueError(f"floor must be above 0 and finite, got {floor!r}")
    if not progress.scores:
        return equal(sizes, progress)
    # Rounding keeps floating-point error from deciding whether a gap is above the floor.
    gaps = {t: max(floor, round(references[t] - progress.scores.get(t, 0.0), 9)) for t in sizes}
    total = math.fsum(gaps.values())
    return {task: gap / total for task, gap in gaps.items()}


def ratios(
    sizes: Mapping[str, int], progress: TrainingProgress, *, ratios: Mapping[str, float]
) -> dict[str, float]:
    """Return shares proportional to configured ratios, regardless of the sizes.

    Args:
        sizes: Number of training examples of each task; only the names matter.
        progress: Unused.
        ratios: Weight of each task relative to the others; a task without a ratio has weight 1.

    Returns:
        The share of each task; the shares sum to 1.

    Raises:
        ValueError: A ratio belongs to no task, or is not a number above 0.

    Example:
        >>> ratios({"imdb": 300, "movie": 100}, TrainingProgress(), ratios={"movie": 3})
        {'imdb': 0.25, 'movie': 0.75}
    """
    if not isinstance(ratios, Mapping):
        raise ValueError(f"ratios must be task: number, got {ratios!r}")
    unknown = sorted(set(ratios) - set(sizes))
    if unknown:
        raise ValueError(f"ratios must name tasks {list(sizes)}, got {unknown}")
    if not all(_is_number(ratio) and ratio > 0 for ratio in ratios.values()):
        raise ValueError(f"ratios must be numbers above 0, got {ratios}")
    weights = {task: float(ratios.get(task, 1.0)) for task in sizes}
    total = math.fsum(weights.values())
    return {task: ratio / total for task, ratio in weights.items()}


def _is_number(value: object) -> bool:
    """Return whether a value from a yaml file is a finite number; it may be text or nan."""
    return isinstance(value, Real) and math.isfinite(value)


def split_batch(shares: Mapping[str, float], batch_size: int) -> dict[str, int]:
    """Divide the examples of one optimizer step among the tasks.

    The counts follow the largest remainder method, with at least 1 example for each task. Where
    this minimum makes the sum too large, the tasks that exceed their share the most lose
    examples. Ties are resolved in the order of the tasks.

    Args:
        shares: Share of each task; the shares sum to 1.
        batch_size: Number of examples of all tasks together.

    Returns:
        The number of examples of each task; the numbers sum to `batch_size`.

    Raises:
        ValueError: The batch is smaller than the number of tasks, a share is negative, or the
            shares do not sum to 1.

    Example:
        >>> split_batch({"imdb": 0.7, "movie": 0.3}, 16)
        {'imdb': 11, 'movie': 5}
    """
    if batch_size < len(shares):
        raise ValueError(
            f"batch_size must be at least {len(shares)}, one example for each of the tasks "
            f"{list(shares)}, got {batch_size}"
        )
    are_shares = all(share >= 0 for share in shares.values())
    if not are_shares or not abs(math.fsum(shares.values()) - 1) <= 1e-6:
        raise ValueError(f"shares must be 0 or more and sum to 1, got {dict(shares)}")
    exact = {task: share * batch_size for task, share in shares.items()}
    counts = {task: max(1, int(number)) for task, number in exact.items()}
    while sum(counts.values()) < batch_size:
        counts[max(counts, key=lambda task: exact[task] - counts[task])] += 1
    while sum(counts.values()) > batch_size:
        spare = [task for task, count in counts.items() if count > 1]
        counts[max(spare, key=lambda task: counts[task] - exact[task])] -= 1
    return counts
