"""Check for stored settings that a resumed run accepts only if the user types them again.

A run folder may come from somebody else. Its stored settings may write only inside the run folder,
send nothing, and read no environment variables. This module imports nothing slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from candelabra.errors import ConfigError

WRITERS = ("callbacks", "logger", "trainer")
"""Configuration groups with objects that write files."""
OUTPUTS = "paths.output_dir"
"""Key of the folder that receives the W&B files of all runs."""
PLACE = re.compile(r"(.*_)?(path|dir|dirpath|folder|file|root)")
"""Names of settings that hold the path of a file or folder."""
LEADS_OUT = re.compile(r"[~$]|://|::|(^|[/\\])\.\.([/\\]|$)")
"""Parts of a path that leave the folder: a home, a variable, a URL or a parent folder."""


def check_typed(
    config: Mapping[str, Any], *, typed: Sequence[str], readers: Sequence[str], folder: Path
) -> None:
    """Check that the user typed each value that a stored configuration must not set.

    Args:
        config: Resolved configuration as plain values.
        typed: Overrides that the user typed.
        readers: Keys whose values read the environment.
        folder: Run folder.

    Raises:
        ConfigError: If a stored value reads the environment, sends the run or texts to W&B, or
            writes outside the run folder.
    """
    words = dict(_parted(word) for word in typed)
    for key in readers:
        if not any("$" in text and _within(key, word) for word, text in words.items()):
            raise ConfigError(f"{key} reads the environment{_again(key)}")
    for key, value in _strings(config.get("logger"), "logger"):
        online = value == "online" and key.endswith(".mode")
        if online and words.get("logger") != "wandb" and words.get(key) != "online":
            raise ConfigError(
                f"{key}=online sends the run to W&B; type logger=wandb together with resume="
            )
    for name, node in (config.get("logger") or {}).items():
        key = f"logger.{name}.texts"
        if isinstance(node, Mapping) and node.get("texts") and key not in words:
            raise ConfigError(f"{key} gives the texts of the data to W&B{_again(key)}")
    _check_writing(config, set(words), folder)


def _check_writing(config: Mapping[str, Any], typed: set[str], folder: Path) -> None:
    """Check that output paths are inside the run folder, after following links."""
    root = folder.resolve()
    for group in WRITERS:
        for key, value in _strings(config.get(group), group):
            # Other settings, such as file names, are relative to one of these paths.
            is_path = PLACE.fullmatch(key.rpartition(".")[2]) or Path(value).is_absolute()
            leaves = is_path and not Path(value).resolve().is_relative_to(root)
            if key not in typed and (leaves or LEADS_OUT.search(value)):
                raise ConfigError(f"{key} is {value}, which is not in the run folder{_again(key)}")
    outputs = (config.get("paths") or {}).get(OUTPUTS.partition(".")[2])
    if isinstance(outputs, str) and OUTPUTS not in typed:
        place = Path(outputs).resolve()
        # The user has chosen the working folder, so writing there is accepted too.
        inside = any(place.is_relative_to(base) for base in (root, Path.cwd().resolve()))
        if not (inside or root.is_relative_to(place)):
            raise ConfigError(
                f"{OUTPUTS} is {outputs}, which is neither in the working folder nor around the "
                f"run folder{_again(OUTPUTS)}"
            )


def _strings(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield every string below a node, with its dotted key."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from _strings(value, f"{key}.{name}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _strings(value, f"{key}[{number}]")


def _parted(word: str) -> tuple[str, str]:
    key, _, text = word.partition("=")
    return key.lstrip("+~"), text


def _within(key: str, word: str) -> bool:
    return key == word or key.startswith((f"{word}.", f"{word}["))


def _again(key: str) -> str:
    return f"; a stored setting must not do that, type {key}= together with resume="
