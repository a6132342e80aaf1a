from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from candelabra.config.plain_form import MASKED, environment_keys, plain
from candelabra.data.sources import Sample
from helpers.command_line import called


def test_secrets_of_the_environment_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    cfg = OmegaConf.create(
        {
            "key": "${oc.env:A_SECRET}",
            "inside": "user:${oc.env:A_SECRET}",
            "behind": ["${key}", {"deeper": "${inside}"}],
            "harmless": "${number}",
            "number": 3,
        }
    )
    assert "hunter2" in OmegaConf.to_yaml(cfg, resolve=True)
    stored = plain(cfg)
    assert "hunter2" not in str(stored)
    assert stored["key"] == stored["behind"][0] == MASKED
    assert stored["harmless"] == 3


HIDDEN = {
    "spaces": "${ oc.env:A_SECRET}",
    "a name from elsewhere": "${oc.env:${name}}",
    "nested": "${oc.decode:${oc.env:A_SECRET}}",
    "nested with spaces": "${oc.select:missing,${ oc.env:A_SECRET}}",
    "a resolver from elsewhere": "${${resolver}:A_SECRET}",
    "built of text": "${oc.decode:${text}}",
    "a default": "${oc.env:NO_SUCH,hunter2}",
    "no value": "${oc.decode:'[${oc.env:A_SECRET}'}",
    "a node": "${oc.create:{inner: '${oc.env:A_SECRET}'}}",
}
"""Ways to read the environment."""


@pytest.mark.parametrize("case", HIDDEN)
def test_no_way_to_the_environment_is_stored(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    parts = {"name": "A_SECRET", "resolver": "oc.env", "text": r"\${oc.env:A_SECRET}"}
    given = {**parts, "key": HIDDEN[case], "list": [1, "${key}"], "node": {"behind": "${..key}"}}
    stored = plain(OmegaConf.create(given))
    assert "hunter2" not in str(stored)
    assert stored["key"] == stored["list"][1] == stored["node"]["behind"] == MASKED
    assert environment_keys(OmegaConf.create(given)) == ["key"]
    assert OmegaConf.create({"x": "${oc.env:A_SECRET}"}).x == "hunter2"


def test_what_is_not_of_the_environment_is_stored_as_it_is() -> None:
    given = {
        "a": {"b": [1, {"c": "${a.d}"}], "d": 2.5, "e": None, "f": "???"},
        "copy": "${a}",
        "made": "${oc.create:{x: [1, true]}}",
        "text": r"\${oc.env:HOME}",
        3: "number",
    }
    cfg = OmegaConf.create(given)
    found = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(found, dict)
    assert plain(cfg) == {str(key): value for key, value in found.items()}
    assert environment_keys(cfg) == []


REFERENCES = "balancing.shares.references"
GAP = "balancing=gap_driven"
TWO = f"{REFERENCES}={{sentiment: 0.9, movie: 0.7}}"

CASES = {
    "freeze setting of a part": (
        [
            *("freeze=lower_layers_and_head", "freeze.parts.head.head=movie"),
            "+freeze@freeze.parts.slow=gradual",
            *("freeze.parts.lower_layers.num_layers=1", "freeze.parts.slow.warmup_steps=-1"),
        ],
        ["freeze.parts.slow.warmup_steps must be a whole number of at least 0, got -1"],
    ),
    "rate of the heads": (
        ["optimizer.head_lr=-1"],
        ["optimizer.head_lr must be a number above 0, got -1"],
    ),
    "layer decay": (
        ["optimizer.layer_decay=1.5"],
        ["optimizer.layer_decay must be a number above 0 and at most 1, got 1.5"],
    ),
    "weight decay": (
        ["optimizer.weight_decay=-1"],
        ["optimizer.weight_decay must be a number at least 0, got -1"],
    ),
    "warm-up": (
        ["scheduler.warmup_ratio=x"],
        ["scheduler.warmup_ratio must be a number at least 0 and at most 1, got 'x'"],
    ),
    "rank of an adapter": (
        ["adapter=lora", "adapter.r=1.5"],
        ["adapter.r must be a whole number of at least 1, got 1.5"],
    ),
    "freeze setting": (
        ["freeze=gradual", "freeze.epochs_per_group=0"],
        ["freeze.epochs_per_group must be a number above 0, got 0"],
    ),
    "head of a composition": (
        ["freeze=lower_layers_and_head", "freeze.parts.head.head=moovie"],
        ["freeze.parts.head.head must be one of the tasks", "did you mean 'movie'?"],
    ),
    "rule": (
        ["balancing.epoch=all_onse"],
        ["balancing.epoch must be one of all_once", "'all_once'?"],
    ),
    "steps without a number": (
        ["balancing.epoch=steps"],
        ["balancing.epoch=steps needs balancing.steps_per_epoch=NUMBER"],
    ),
    "turns": (
        ["balancing.turns=cycle"],
        ["balancing.turns must be one of drawn, cycled", "got 'cycle'", "did you mean 'cycled'?"],
    ),
    "no references": ([GAP], [f"{REFERENCES} must be given: add {REFERENCES}=VALUE"]),
    "reference of one task": (
        [GAP, f"{REFERENCES}={{movie: 0.7}}"],
        [f"{REFERENCES} must hold a score for each of the tasks ['sentiment', 'movie']", "0.7"],
    ),
    "reference of no task": (
        [GAP, f"{REFERENCES}={{sentiment: 0.9, movie: 0.7, film: 0.7}}"],
        ["and nothing else, got", "'film': 0.7"],
    ),
    "reference that is no number": (
        [GAP, f"{REFERENCES}={{sentiment: high, movie: 0.7}}"],
        [REFERENCES, "'high'"],
    ),
    "references that are no mapping": ([GAP, f"{REFERENCES}=0.9"], [REFERENCES, "0.9"]),
    "floor": (
        [GAP, TWO, "balancing.shares.floor=0"],
        ["balancing.shares.floor must be above 0", "got 0"],
    ),
    "ratio of no task": (
        ["balancing=ratios", "+balancing.shares.ratios.film=2"],
        ["balancing.shares.ratios must name tasks ['sentiment', 'movie'], got ['film']"],
    ),
    "ratio of nothing": (
        ["balancing=ratios", "+balancing.shares.ratios.movie=0"],
        ["balancing.shares.ratios must be numbers above 0", "'movie': 0"],
    ),
    "alpha": (
        ["balancing=temperature", "balancing.shares.alpha=-1"],
        ["balancing.shares.alpha must be 0 or more, got -1"],
    ),
    "cap": (
        ["balancing=capped", "balancing.shares.cap=0"],
        ["balancing.shares.cap must be at least 1, got 0"],
    ),
    "end of the line": (
        ["balancing=annealed", "balancing.shares.end=-0.2"],
        ["balancing.shares.end must be 0 or more, got -0.2"],
    ),
    "setting of another scheme": (["+balancing.shares.cap=5"], ["proportional()", "'cap'"]),
    "budget below a text": (
        ["tasks.movie.max_tokens=255"],
        ["tasks.movie.max_tokens must be a whole number of at least 256, got 255"],
    ),
    "budget that is no number": (
        ["tasks.movie.max_tokens=many"],
        ["tasks.movie.max_tokens must be a whole number of at least 1, got 'many'"],
    ),
    "budget below a longer text": (
        ["tasks.movie.max_tokens=300", "encoder.max_length=301"],
        ["tasks.movie.max_tokens", "at least 301, got 300"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_mixing_is_said_before_any_data_are_read(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: Sample, split: str) -> None:
        pytest.fail(f"the {split} split of {self.name} was read")

    monkeypatch.setattr(Sample, "read", read)
    overrides, parts = CASES[case]
    done = called("train", *overrides)
    assert (done.status, done.out) == (2, "")
    for part in parts:
        assert part in done.message
    assert not list(Path().rglob("run.json")), "no run has begun"
