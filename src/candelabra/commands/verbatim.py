"""Command-line arguments: values that are used verbatim, and Hydra overrides."""

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
    """Parse the arguments of a command that has no run folder.

    Args:
        command: Name of the command.
        overrides: Command-line arguments.
        keys: Keys whose values are used verbatim.
        several: Keys among them that may be repeated.

    Returns:
        The configuration, the verbatim values, and the overrides that the configuration was
        composed from.

    Raises:
        ConfigError: A key is unknown, or is repeated.
    """
    given, rest = take(overrides, keys, several=several)
    names = [item.name for item in fields(SCHEMAS[command])]
    for key in (word.partition("=")[0] for word in rest):
        # Hydra suggests only keys of the configuration: report here what resembles other keys.
        meant = nearest(key, [*keys, *names])
        if WORD.fullmatch(key) and key not in names and meant != nearest(key, names):
            raise ConfigError(f"no key '{key}'{meant}")
    cfg = compose(command, rest)
    unknown("the configuration", cfg, names)
    return cfg, given, rest


def take(
    overrides: Sequence[str], keys: Sequence[str], *, several: Sequence[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Separate arguments whose values must not be parsed by the grammar of Hydra.

    The grammar rejects apostrophes, commas and colons, and converts 1995 to a number.

    Args:
        overrides: Command-line arguments.
        keys: Keys whose values are used verbatim.
        several: Keys among them that may be repeated; the last value is returned.

    Returns:
        The verbatim values, and the other arguments.

    Raises:
        ConfigError: A key is repeated.

    Example:
        >>> take(["text=it's 1995, isn't it?", "seed=1"], ["text"])
        ({'text': "it's 1995, isn't it?"}, ['seed=1'])
    """
    given: dict[str, str] = {}
    rest = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals and key in keys:
            if key in given and key not in several:
                raise ConfigError(f"{key}= is given twice: {given[key]!r} and {value!r}; give one")
            given[key] = value
        else:
            rest.append(override)
    return given, rest


def compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """Compose and resolve the configuration of a command that has no run folder.

    Args:
        command: Name of the command and of its yaml.
        overrides: Hydra overrides, and optionally `--config-dir FOLDER` for additional yamls.

    Raises:
        ConfigError: A flag is unknown, or the folder does not exist.
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
