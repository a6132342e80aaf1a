"""Command-line arguments: values that are used verbatim, and Hydra overrides."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from candelabra.build.encoder_folder import report, take_folder_settings
from candelabra.config.grammar import quoted
from candelabra.config.interpolations import check_interpolations
from candelabra.config.keys import check_known_keys
from candelabra.config.option_words import check_option_words
from candelabra.config.ranges import check_ranges
from candelabra.config.schema import SCHEMAS, register
from candelabra.config.targets import conf_dir
from candelabra.data.rows.cells import is_broken
from candelabra.errors import ConfigError, nearest

WORD = re.compile(r"\w+")
CONFIG_DIR = ("--config-dir", "-cd")
WITH_VALUE = (*CONFIG_DIR, "--cfg", "-c", "--package", "-p", "--experimental-rerun")
FLAGS = (*WITH_VALUE, "--multirun", "-m", "--run", "-r", "--resolve", "--info", "-i")
"""Flags of Hydra that candelabra passes on; those of `WITH_VALUE` are followed by a value."""


def check_text(text: str) -> None:
    """Raise ConfigError for a text of the command line that is blank or not UTF-8."""
    if not text.strip():
        raise ConfigError("text must not be empty")
    if is_broken(text):
        raise ConfigError("text must be UTF-8")


def compose_command(
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
        ConfigError: A key is unknown or repeated, or a value is of the wrong type or outside its
            range.
    """
    given, rest = split_verbatim(overrides, keys, several=several)
    names = [item.name for item in fields(SCHEMAS[command])]
    for key in (word.partition("=")[0] for word in rest):
        # Hydra does not know the verbatim keys, so it cannot suggest them for a misspelt key.
        hint = nearest(key, [*keys, *names])
        if WORD.fullmatch(key) and key not in names and hint != nearest(key, names):
            raise ConfigError(f"no key '{key}'{hint}")
        first, last = key.partition(".")[0].lstrip("+~"), key.rpartition(".")[2]
        if first not in names and last != key and last in names:
            # A training has paths.cache_dir where other commands have cache_dir.
            raise ConfigError(f"no key '{key}'; did you mean '{last}'?")
    cfg = compose(command, rest)
    check_known_keys("the configuration", cfg, names)
    check_ranges(cfg)
    return cfg, given, rest


def split_verbatim(
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
        >>> split_verbatim(["text=it's 1995, isn't it?", "seed=1"], ["text"])
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
    check_option_words(words, [folder] if folder is not None else [])
    if folder is not None:
        words.append(f"hydra.searchpath=[{quoted(f'file://{folder}')}]")
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = hydra_compose(config_name=command, overrides=words)
    check_interpolations(cfg)
    OmegaConf.resolve(cfg)
    report(take_folder_settings(cfg, overrides))
    return cfg


def check_not_input(given: Mapping[str, str], *, keys: Iterable[str] = ("input",)) -> None:
    """Raise ConfigError if `output` is one of the input files."""
    output = given.get("output")
    for key in keys:
        if output and key in given and Path(given[key]).resolve() == Path(output).resolve():
            raise ConfigError(f"output={output} is {key}= too, and would replace it")


def check_one_of(command: str, given: Collection[str], **notations: str) -> None:
    """Raise ConfigError unless exactly one of several keys is given.

    Args:
        command: Name of the command, for the error message.
        given: Keys on the command line.
        notations: Key -> its notation in the error message.
    """
    present = [key for key in notations if key in given]
    if len(present) != 1:
        got = " and ".join(f"{key}=" for key in present) or "neither"
        raise ConfigError(f"{command} needs either {' or '.join(notations.values())}, got {got}")


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate overrides from flags with their values, in any order.

    Returns:
        The overrides, and the flags, each followed by its value if it has one.

    Raises:
        ConfigError: A flag is unknown, or its value is missing.

    Example:
        >>> split_flags(["seed=1", "--config-dir", "conf"])
        (['seed=1'], ['--config-dir', 'conf'])
    """
    words: list[str] = []
    flags: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("-"):
            words.append(word)
            continue
        if word.partition("=")[0] not in FLAGS:
            # Only long flags are suggested: `-p` is more similar to `--hlep` than `--help`.
            known = ["--help", *(flag for flag in FLAGS if flag.startswith("--"))]
            hint = nearest(word, known)
            group = word.lstrip("-")
            if group and (conf_dir() / group).is_dir():
                hint = f"; keys have no dashes: {group}=OPTION"
            if not hint and "=" in word:
                hint = f"; keys have no dashes: {word.lstrip('-')}"
            raise ConfigError(f"no flag '{word}'{hint} (flags: {', '.join(known)})")
        value = list(islice(rest, 1)) if word in WITH_VALUE else []
        if word in WITH_VALUE and not value:
            raise ConfigError(f"{word} needs a value")
        flags += [word, *value]
    return words, flags


def split_config_dir(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    """Separate overrides from `--config-dir` for a command that has no other flag.

    Returns:
        The overrides, and the folder, or `None` if the flag is not given.

    Raises:
        ConfigError: There is another flag, or the folder does not exist.
    """
    words, flags = split_flags(arguments)
    flag, _, value = flags[0].partition("=") if flags else ("", "", "")
    if not flags:
        return words, None
    if flag not in CONFIG_DIR or len(flags) > 2:
        raise ConfigError(f"the only flag is --config-dir FOLDER, got {' '.join(flags)}")
    folder = Path(value or flags[-1]).absolute()
    if not folder.is_dir():
        raise ConfigError(f"{flag} {folder}: no such folder")
    return words, folder
