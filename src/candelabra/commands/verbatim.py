"""Commands that take a person's words as typed, and the rest as Hydra overrides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields

from omegaconf import DictConfig, OmegaConf

from candelabra.commands.flags import split_config_dir
from candelabra.config import SCHEMAS, register
from candelabra.errors import ConfigError, nearest
from candelabra.hydra_messages import quoted
from candelabra.rules import unknown
from candelabra.trusted import conf_dir

WORD = re.compile(r"\w+")


def asked(
    command: str, overrides: Sequence[str], keys: Sequence[str], *, several: Sequence[str] = ()
) -> tuple[DictConfig, dict[str, str], list[str]]:
    """What a person asks of a command that has no run folder of its own.

    Args:
        command: The command.
        overrides: The words as typed.
        keys: As in `take`.
        several: As in `take`.

    Returns:
        The configuration, the verbatim values, and the words that it was composed of.

    Raises:
        ConfigError: There is no such key.
    """
    given, rest = take(overrides, keys, several=several)
    names = [item.name for item in fields(SCHEMAS[command])]
    for key in (word.partition("=")[0] for word in rest):
        # Hydra knows its own keys alone; it says what else there may be.
        meant = nearest(key, [*keys, *names])
        if WORD.fullmatch(key) and key not in names and meant != nearest(key, names):
            raise ConfigError(f"no key '{key}'{meant}")
    cfg = compose(command, rest)
    unknown("the configuration", cfg, names)
    return cfg, given, rest


def take(
    overrides: Sequence[str], keys: Sequence[str], *, several: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Splits off `key=value` of `keys`; their values never meet Hydra's grammar.

    The grammar rejects apostrophes, commas and colons, and turns 1995 into a number.

    Args:
        overrides: The words as typed.
        keys: What is split off.
        several: Keys that may stand more than once; the last value is given.

    Returns:
        The verbatim values, and the other overrides.

    Raises:
        ConfigError: A key stands twice.
    """
    given: dict[str, str] = {}
    rest = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals and key in keys:
            if key in given and key not in several:
                raise ConfigError(f"{key}= stands twice: {given[key]!r} and {value!r}; give one")
            given[key] = value
        else:
            rest.append(override)
    return given, rest


def compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a command that has no run folder of its own.

    Args:
        command: The command, which is also its yaml's name.
        overrides: Hydra overrides, and `--config-dir FOLDER` for further yamls.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register()
    words, folder = split_config_dir(overrides)
    if folder is not None:
        words.append(f"hydra.searchpath=[{quoted(f'file://{folder}')}]")
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = hydra_compose(config_name=command, overrides=words)
    OmegaConf.resolve(cfg)
    return cfg
