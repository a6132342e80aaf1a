"""Which tasks a step carries: shares -> how many examples each step asks of each task.

A step scheme is a function `(shares_S, batch_size, *, turns, rng) -> {task: counts_S}` with the
shares of each of S steps; in every step the counts sum to `batch_size`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from candelabra.data.balancing import TURNS, split_batch
from candelabra.data.order import POOL_STEPS


def joint(
    shares_S: Sequence[Mapping[str, float]],
    batch_size: int,
    *,
    turns: str = "drawn",
    rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
    """Every step carries every task, as `split_batch` divides it.

    Args:
        shares_S: For each step the share of each task.
        batch_size: Examples of all tasks together.
        turns: Of no influence, as no task waits.
        rng: Of no influence.
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
    """One task a step, the same on every rank; a share is the part of the steps.

    Each step goes to the task that is farthest behind its share, so that at any moment of an epoch
    every task has its share of the steps to within a few. A share of less than one step an epoch
    gets no turn.

    Args:
        shares_S: For each step the share of each task.
        batch_size: Examples of the step's one task.
        turns: `cycled` keeps that regular order, which for equal shares is round-robin; `drawn`
            shuffles it inside pools of 100 steps.
        rng: Where the shuffle comes from.

    Raises:
        ValueError: `turns` is neither.
    """
    if turns not in TURNS:
        raise ValueError(f"balancing.turns must be one of {', '.join(TURNS)}; found {turns!r}")
    tasks = list(shares_S[0])
    owed = dict.fromkeys(tasks, 0.0)
    turn_S = np.empty(len(shares_S), dtype=np.int64)
    for step, shares in enumerate(shares_S):
        for task in tasks:
            owed[task] += shares[task]
        # Rounded: shares such as 1/3 must not decide a tie by their last bit.
        chosen = max(tasks, key=lambda task: round(owed[task], 9))
        owed[chosen] -= 1
        turn_S[step] = tasks.index(chosen)
    if turns == "drawn":
        for start in range(0, len(turn_S), POOL_STEPS):
            turn_S[start : start + POOL_STEPS] = rng.permutation(turn_S[start : start + POOL_STEPS])
    return {task: np.where(turn_S == k, batch_size, 0) for k, task in enumerate(tasks)}
