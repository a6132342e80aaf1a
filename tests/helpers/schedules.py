"""Schedules over random lengths, and strategies for all that they depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

from candelabra.data.mixing.balancing import (
    RULES,
    TURNS,
    annealed,
    capped,
    equal,
    gap_driven,
    proportional,
    ratios,
    temperature,
)
from candelabra.data.mixing.order import ORDERS
from candelabra.data.mixing.schedule import Schedule, ShareFunction
from candelabra.data.mixing.steps import alternate, joint

LONGEST = 199
NAMES = ["imdb", "movie", "news", "chat"]
MADE: dict[str, Callable[[list[str]], ShareFunction]] = {
    "proportional": lambda tasks: proportional,
    "equal": lambda tasks: equal,
    "temperature": lambda tasks: partial(temperature, alpha=0.5),
    "capped temperature": lambda tasks: partial(temperature, alpha=0.3, cap=50),
    "capped": lambda tasks: partial(capped, cap=40),
    "ratios": lambda tasks: partial(ratios, ratios={tasks[0]: 2.5}),
    "gap_driven": lambda tasks: partial(gap_driven, references=dict.fromkeys(tasks, 0.8)),
    "annealed": lambda tasks: annealed,
}
"""Every scheme, given the tasks; only the last one's shares move inside an epoch."""

sizes_of_tasks = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 120), min_size=1)
scores_of_tasks = st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1))
constant = st.sampled_from([name for name in MADE if name != "annealed"])
settings = st.fixed_dictionaries(
    {
        "shares": st.sampled_from(list(MADE)),
        "step": st.sampled_from([joint, alternate]),
        "turns": st.sampled_from(TURNS),
        "order": st.sampled_from(ORDERS),
        "epoch": st.sampled_from(RULES),
        "batch_size": st.integers(4, 40),
        "seed": st.integers(0, 2**31),
        "num_epochs": st.integers(1, 3),
        "max_tokens": st.dictionaries(st.sampled_from(NAMES), st.integers(LONGEST, 3_000)),
    }
)


def make(sizes: Mapping[str, int], **kwargs: Any) -> Schedule:
    """Joint and proportional, until every task was seen, in steps of 8; 7 for the rule `steps`."""
    rng = np.random.default_rng(0)
    lengths = {task: rng.integers(3, LONGEST + 1, size) for task, size in sizes.items()}
    given = {"shares": "proportional", "step": joint, "epoch": "all_once", "batch_size": 8}
    given |= {"seed": 0, "steps_per_epoch": 7 if kwargs.get("epoch") == "steps" else None, **kwargs}
    if isinstance(given["shares"], str):
        given["shares"] = MADE[given["shares"]](list(sizes))
    return Schedule(lengths, **given)


def epoch_of(
    schedule: Schedule, epoch: int = 0, scores: Mapping[str, float] | None = None
) -> dict[str, list[list[int]]]:
    """What each step of an epoch draws of each task."""
    begin = epoch * schedule.steps_per_epoch
    steps = [schedule.batch(begin + step, scores) for step in range(schedule.steps_per_epoch)]
    return {
        task: [step[task].tolist() if task in step else [] for step in steps]
        for task in schedule.sizes
    }


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]
