"""Separation of command-line arguments into flags of Hydra and overrides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from candelabra.errors import ConfigError, nearest

CONFIG_DIR = ("--config-dir", "-cd")
WITH_VALUE = (*CONFIG_DIR, "--cfg", "-c", "--package", "-p", "--experimental-rerun")
FLAGS = (*WITH_VALUE, "--multirun", "-m", "--run", "-r", "--resolve", "--info", "-i")


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
