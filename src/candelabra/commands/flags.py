"""Which words of a command are flags of Hydra, and which are overrides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from candelabra.errors import ConfigError, nearest

CONFIG_DIR = ("--config-dir", "-cd")
WITH_VALUE = (*CONFIG_DIR, "--cfg", "-c", "--package", "-p", "--experimental-rerun")
FLAGS = (*WITH_VALUE, "--multirun", "-m", "--run", "-r", "--resolve", "--info", "-i")


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits off the flags with their values; either may stand anywhere.

    Raises:
        ConfigError: There is no such flag, or it lacks its value.
    """
    words: list[str] = []
    flags: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("-"):
            words.append(word)
            continue
        if word.partition("=")[0] not in FLAGS:
            # By likeness alone `--hlep` would be taken for `-p`.
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
    """As `split_flags`, for a command whose one flag is `--config-dir`.

    Raises:
        ConfigError: Another flag, or the folder is missing.
    """
    words, flags = split_flags(arguments)
    flag, _, value = flags[0].partition("=") if flags else ("", "", "")
    if not flags:
        return words, None
    if flag not in CONFIG_DIR or len(flags) > 2:
        raise ConfigError(f"the one flag here is --config-dir FOLDER, got {' '.join(flags)}")
    folder = Path(value or flags[-1]).absolute()
    if not folder.is_dir():
        raise ConfigError(f"{flag} {folder}: no such folder")
    return words, folder
