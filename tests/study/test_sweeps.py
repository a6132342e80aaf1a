from __future__ import annotations

from pathlib import Path

import pytest

from candelabra.errors import ConfigError
from candelabra.study.sweeps import load_sweep
from helpers.study_folders import write_run


def write_trials(folder: Path, *trials: str) -> None:
    """Write trials; each is `override override ... SEED`."""
    for number, words in enumerate(trials):
        *overrides, seed = words.split()
        write_run(
            folder / str(number),
            ["sentiment", "movie"],
            seed=int(seed),
            overrides=[*overrides, f"seed={seed}"],
        )


def test_the_values_of_a_key_are_the_arms(tmp_path: Path) -> None:
    write_trials(tmp_path, *(f"freeze={name} {seed}" for seed in (0, 1) for name in ("b", "a")))
    arms = load_sweep(tmp_path, "freeze")
    assert [(arm.name, arm.seeds) for arm in arms] == [("b", [0, 1]), ("a", [0, 1])]
    assert [run.name for run in arms[1].runs[1]] == ["3"]
    assert arms[0].description == "freeze=b"


def test_trials_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_trials(tmp_path, *(f"freeze=v{number} 0" for number in range(12)))
    assert [arm.name for arm in load_sweep(tmp_path, "freeze")] == [f"v{n}" for n in range(12)]


def test_a_trial_without_the_key_is_the_default(tmp_path: Path) -> None:
    write_trials(tmp_path, "0", "freeze=a 0")
    assert [arm.name for arm in load_sweep(tmp_path, "freeze")] == ["default", "a"]


def test_what_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"from={tmp_path}: no trials"):
        load_sweep(tmp_path, "freeze")
    write_trials(tmp_path, "freeze=a pooling=x 0", "freeze=a pooling=y 0")
    with pytest.raises(
        ConfigError, match=r"no trial of .* sets it; its trials set freeze, pooling"
    ):
        load_sweep(tmp_path, "balancing")
    with pytest.raises(ConfigError, match=r"trials 0 and 1 are both a, but differ in pooling;"):
        load_sweep(tmp_path, "freeze")


@pytest.mark.parametrize(
    ("trials", "named"),
    [
        (["freeze=a lr=1 0", "freeze=a lr=2 1"], "0 and 1 are both a, but differ in lr;"),
        (["freeze=a 0", "freeze=b lr=2 0", "freeze=b 1"], "1 and 2 are both b, but differ in lr;"),
        (["freeze=a 0", "freeze=b 1", "freeze=a 0"], "0 and 2 are both a, seed 0;"),
    ],
)
def test_the_trials_of_an_arm_differ_in_the_seed_alone(
    trials: list[str], named: str, tmp_path: Path
) -> None:
    write_trials(tmp_path, *trials)
    with pytest.raises(ConfigError, match=named):
        load_sweep(tmp_path, "freeze")
