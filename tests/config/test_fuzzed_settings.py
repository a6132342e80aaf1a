"""Random settings of every command: accepted, or one message that names the key."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from helpers.command_line import wrong
from helpers.fuzzed_settings import COMMANDS, Case, answer, cases, fault, group_cases


@pytest.fixture(autouse=True)
def _files(working_folder: None) -> None:
    """Write the files of one choice of tasks."""
    for file in ("multinli_subset", "lingnli", "stsb"):
        Path(file).mkdir()
        for split in ("train", "validation", "test"):
            Path(file, f"{split}.parquet").touch()


def faults(given: Iterable[Case]) -> list[str]:
    before = sorted(os.listdir())
    found = [f"{case}: {said}"[:500] for case in given if (said := fault(case))]
    assert sorted(os.listdir()) == before, "a command has written something"
    return found


def test_random_settings() -> None:
    assert faults(cases("few", 60)) == []


def test_random_options_of_groups() -> None:
    assert faults(group_cases("few", 15)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_many_random_settings(seed: int) -> None:
    assert faults(cases(seed, 250)) == []
    assert faults(group_cases(seed, 20)) == []


@pytest.mark.parametrize("group", ["callbacks", "logger"])
def test_a_target_of_a_whole_group_is_named(group: str) -> None:
    assert f"{group}._target_" in wrong(f"++{group}._target_=''")


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_a_key_below_a_list_that_is_null_is_named(sign: str) -> None:
    assert wrong(f"{sign}init_heads.new=1").startswith(
        "no key 'init_heads.new': init_heads is null"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_the_settings_of_a_command_are_accepted_as_they_are(command: str) -> None:
    verbatim, choices = COMMANDS[command]
    for options in choices:
        assert answer(Case(command, options, verbatim)) is None


POINTING = {
    "encoder.name=${nothing.there}": "encoder.name is '${nothing.there}': ",
    "encoder.name=${encoder.name}": "encoder.name is '${encoder.name}': it points to itself",
    "encoder.name=${encoder}": "encoder.name is '${encoder}': it points to itself",
    "seed=${data_dir}": "seed is '${data_dir}': ",
    "tags=${data_dir}": "tags is '${data_dir}': a list is needed, found None",
    "tags=[${no_such:1}]": "tags[0] is '${no_such:1}': ",
    "tags=${seed}": "tags is '${seed}': a list is needed, found 0",
    "paths.cache_dir=x${..seeed}": "paths.cache_dir is 'x${..seeed}': ",
    "batch_size=${oc.env:NO_SUCH_VARIABLE}": "batch_size is '${oc.env:NO_SUCH_VARIABLE}': ",
}
OF_THE_FOLDER = {
    "paths.output_dir=${nothing}": "paths.output_dir is '${nothing}': ",
    "paths.output_dir=${paths.output_dir}": "paths.output_dir is '${paths.output_dir}': it points",
    "hydra.run.dir=${nothing}": "hydra.run.dir is '${nothing}': ",
    "hydra.run.dir=${paths.ouput_dir}/x": "hydra.run.dir is '${paths.ouput_dir}/x': ",
}


@pytest.mark.parametrize("override", POINTING)
def test_an_interpolation_that_points_to_nothing_is_named(override: str) -> None:
    done = answer(Case("train", changes=[override]))
    assert done is not None
    assert done.message.startswith(POINTING[override])


@pytest.mark.parametrize("override", OF_THE_FOLDER)
def test_it_is_named_where_hydra_makes_the_folder_of_it(override: str) -> None:
    assert wrong(override).startswith(OF_THE_FOLDER[override])
    assert not list(Path().rglob("run.log"))
