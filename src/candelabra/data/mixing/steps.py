"""Step schemes: the number of examples of each task in each training step.

A step scheme is a function `(shares_S, batch_size, *, turns, rng) -> {task: counts_S}`, where
`shares_S` holds the shares of the tasks in each of S steps. The counts of a step sum to
`batch_size`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from candelabra.data.mixing.balancing import TURNS, split_batch
from candelabra.data.mixing.order import POOL_STEPS


def joint(
    shares_S: Sequence[Mapping[str, float]],
    batch_size: int,
    *,
    turns: str = "drawn",
    rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
    """Give every task examples in every step, as many as `split_batch` computes.

    Args:
        shares_S: Shares of the tasks, one mapping for each of S steps.
        batch_size: Number of examples of all tasks together in a step.
        turns: Unused, because every step trains every task.
        rng: Unused.

    Returns:
        For each task the counts `counts_S` of its examples.

    Raises:
        ValueError: The batch is smaller than the number of tasks.

    Example:
        >>> joint([{"imdb": 0.75, "movie": 0.25}] * 2, 8)
        {'imdb': array([6, 6]), 'movie': array([2, 2])}
    """
    split: dict[tuple[float, ...], list[int]] = {}
    tasks = list(shares_S[0])
    for shares in shares_S:
        key = tuple(shares.values())
        if key not in split:
            split[key] = list(split_batch(shares, batch_size).values())
    counts_SK = np.array([split[tuple(shares.values())] for shares in shares_S], dtype=np.int64)
    return {task: counts_SK[:, k] for k, task in enumerate(tasks)}


def alternate(
    shares_S: Sequence[Mapping[str, float]],
    batch_size: int,
    *,
    turns: str = "drawn",
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Give all examples of a step to one task, the same on every rank.

    A task's share is its fraction of the steps. Each step goes to the task that is farthest behind
    its share, so that after any number of steps the steps of every task differ from its share by
    only a few. A task whose share is less than one step per epoch may have no step.

    Args:
        shares_S: Shares of the tasks, one mapping for each of S steps.
        batch_size: Number of examples in a step.
        turns: `cycled` keeps this regular order, which is round-robin for equal shares; `drawn`
            shuffles it within pools of `POOL_STEPS` steps.
        rng: Random generator of the shuffle.

    Returns:
        For each task the counts `counts_S` of its examples, `batch_size` or 0.

    Raises:
        ValueError: `turns` is neither `cycled` nor `drawn`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> alternate([{"imdb": 0.5, "movie": 0.5}] * 4, 8, turns="cycled", rng=rng)
        {'imdb': array([8, 0, 8, 0]), 'movie': array([0, 8, 0, 8])}
    """
    if turns not in TURNS:
        raise ValueError(f"turns must be one of {', '.join(TURNS)}, got {turns!r}")
    turn_S = _regular_turns(shares_S)
    if turns == "drawn":
        for start in range(0, len(turn_S), POOL_STEPS):
            turn_S[start : start + POOL_STEPS] = rng.permutation(turn_S[start : start + POOL_STEPS])
    return {task: np.where(turn_S == k, batch_size, 0) for k, task in enumerate(shares_S[0])}


def _regular_turns(shares_S: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Return the position of the task of each step, the one farthest behind its share."""
    tasks = list(shares_S[0])
    owed = dict.fromkeys(tasks, 0.0)
    turn_S = np.empty(len(shares_S), dtype=np.int64)
    for step, shares in enumerate(shares_S):
        for task in tasks:
            owed[task] += shares[task]
        # Rounding makes ties independent of the floating-point error of shares such as 1/3.
        chosen = max(tasks, key=lambda task: round(owed[task], 9))
        owed[chosen] -= 1
        turn_S[step] = tasks.index(chosen)
    return turn_S
