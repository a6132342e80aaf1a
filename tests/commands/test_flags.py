from __future__ import annotations

from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from candelabra.commands.arguments import FLAGS, WITH_VALUE, split_config_dir, split_flags
from candelabra.errors import ConfigError
from helpers.command_line import Run, called


@pytest.mark.parametrize(
    ("arguments", "words", "flags"),
    [
        ([], [], []),
        (["a=1", "-m", "b=2"], ["a=1", "b=2"], ["-m"]),
        (["--config-dir", "x=y", "a=1"], ["a=1"], ["--config-dir", "x=y"]),
        (["--config-dir=x", "a=1", "--cfg", "job"], ["a=1"], ["--config-dir=x", "--cfg", "job"]),
        (["~a", "+b=-1", "c="], ["~a", "+b=-1", "c="], []),
    ],
)
def test_flags_may_stand_anywhere(arguments: list[str], words: list[str], flags: list[str]) -> None:
    assert split_flags(arguments) == (words, flags)


def test_a_key_with_dashes_is_told_from_a_flag() -> None:
    with pytest.raises(ConfigError, match=r"no flag '--text=a'; keys have no dashes: text=a "):
        split_flags(["--text=a"])


def test_every_flag_is_one_of_hydras() -> None:
    known = {
        name: action.nargs
        for action in get_args_parser()._actions
        for name in action.option_strings
    }
    assert set(FLAGS) <= set(known)
    assert {name for name in FLAGS if known[name] is None} == set(WITH_VALUE)


def test_config_dir_is_a_folder(tmp_path: Path) -> None:
    assert split_config_dir(["a=1"]) == (["a=1"], None)
    for given in (["--config-dir", str(tmp_path)], [f"-cd={tmp_path}"]):
        assert split_config_dir(["a=1", *given]) == (["a=1"], tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        split_config_dir(["--config-dir", str(tmp_path / "nope")])
    with pytest.raises(ConfigError, match="the only flag is"):
        split_config_dir(["--cfg", "job"])


@pytest.mark.parametrize("setting", ["precision=fp8", "accelerator=tpu"])
def test_predict_refuses_an_unknown_device(setting: str, run: Run) -> None:
    done = called("predict", f"bundle={run.bundle}", "text=x", setting)
    assert done.status == 2
    key, _, value = setting.partition("=")
    assert done.message.startswith(f"{key} must be one of ")
    assert repr(value) in done.message
