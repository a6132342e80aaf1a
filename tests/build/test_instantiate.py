"""Objects name their own settings in errors; the key is added once, where they are built."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.errors import InstantiationException

from candelabra.build.early import check_source
from candelabra.build.instantiate import make
from candelabra.errors import ConfigError, DataError, UserError, naming


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            {"_target_": "candelabra.training.callbacks.GradientDiagnostics", "every_n_steps": 0},
            "KEY.every_n_steps must be 1 or more, got 0",
        ),
        (
            {"_target_": "candelabra.model.adapters.Lora", "r": 0},
            "KEY.r must be a whole number of at least 1, got 0",
        ),
        ({"_target_": "builtins.int", "_args_": ["x"]}, "KEY: invalid literal for int()"),
    ],
)
def test_error_of_a_constructor_gets_the_key(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(node, "KEY")
    assert str(caught.value).startswith(message)


def test_unknown_setting_is_named() -> None:
    node = {"_target_": "candelabra.data.sources.Sample", "nam": "reviews"}
    message = (
        r"^no key 'tasks\.a\.source\.nam'; did you mean 'name'\? \(keys of tasks\.a\.source: name"
    )
    with pytest.raises(ConfigError, match=message):
        make(node, "tasks.a.source")


def test_other_errors_keep_the_message_of_hydra() -> None:
    with pytest.raises(InstantiationException, match="no_such_module"):
        make({"_target_": "candelabra.no_such_module.Name"}, "KEY")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("alpha must be 0 or more"), "KEY.alpha must be 0 or more"),
        (ValueError("alpha[1] must be text"), "KEY.alpha[1] must be text"),
        (ValueError("alpha.inner must be text"), "KEY.alpha.inner must be text"),
        (ValueError("alpha=x: no such folder"), "KEY.alpha=x: no such folder"),
        (ValueError("beta must be 0 or more"), "KEY: beta must be 0 or more"),
        (TypeError("alpha.csv: a file"), "KEY: alpha.csv: a file"),
        (ConfigError("alpha must be 0 or more"), "KEY.alpha must be 0 or more"),
        (ConfigError("other.alpha must be 0 or more"), "other.alpha must be 0 or more"),
        (DataError("alpha: no such file"), "alpha: no such file"),
    ],
)
def test_key_is_added_once_and_to_settings_alone(error: Exception, message: str) -> None:
    with pytest.raises(UserError) as caught, naming("outer"), naming("KEY", ["alpha"]):
        raise error
    assert str(caught.value) == message


def test_missing_file_of_a_source_names_the_task() -> None:
    node = {"_target_": "candelabra.data.sources.Files", "train": "none.csv", "folder": "/none"}
    with pytest.raises(DataError, match=r"task 'mood': .*none\.csv"):
        check_source("mood", node)
