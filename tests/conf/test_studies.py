"""Every option of the group `study`: its arms compose, and its rule is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from candelabra.build.study import build_decision
from candelabra.commands.arguments import compose as compose_command
from candelabra.config.targets import conf_dir
from candelabra.study import best_mean, cheapest_good_enough, share_or_separate
from candelabra.study.arms import read_arms
from candelabra.study.composing import checked

RULES = {
    "sharing": share_or_separate,
    "freezing": cheapest_good_enough,
    "imbalance": best_mean,
    "pooling": best_mean,
    "weighting": best_mean,
    "backbone": cheapest_good_enough,
    "sweep": best_mean,
}
STUDIES = sorted(file.stem for file in (conf_dir() / "study").glob("*.yaml"))


def test_every_study_has_a_rule() -> None:
    assert sorted(RULES) == STUDIES


@pytest.mark.parametrize("name", STUDIES)
def test_the_rule_is_built_and_every_metric_has_a_margin(name: str) -> None:
    cfg = compose_command("study", [f"study={name}"])
    assert build_decision(cfg.study.answer).func is RULES[name]  # type: ignore[attr-defined]
    assert all(0 < margin < 0.1 for margin in cfg.study.metric_margins.values())


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "sweep"])
def test_every_arm_is_a_training(name: str, tmp_path: Path) -> None:
    cfg = compose_command("study", [f"study={name}"])
    arms = read_arms(cfg.study.arms, cfg.study.baseline)
    assert cfg.study.question.endswith("?")
    made = [checked(arm.name, [*arm.overrides, f"paths.output_dir={tmp_path}"]) for arm in arms]
    parts = [{key: cfg[key] for key in cfg if key not in ("paths", "run_id")} for cfg in made]
    single = [arm for arm in arms if not arm.one_model_per_task]
    assert len({str(part) for part in parts}) >= len(single), "two arms are the same training"


def test_hydra_finds_the_sweeper_of_run_lists() -> None:
    names = {found.__name__ for found in Plugins.instance().discover(Sweeper)}
    assert "RunListSweeper" in names
