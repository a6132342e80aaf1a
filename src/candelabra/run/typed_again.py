"""What a stored configuration may not do unless the person who resumes types it again.

A run folder may be a stranger's: it writes in its own place alone, sends nothing, and reads no
environment. Imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from candelabra.errors import ConfigError

WRITERS = ("callbacks", "logger", "trainer")
"""The groups whose parts write files."""
OUTPUTS = "paths.output_dir"
"""Where W&B's files of all runs go."""
PLACE = re.compile(r"(.*_)?(path|dir|dirpath|folder|file|root)")
"""Names of settings that say where a file or folder is."""
LEADS_OUT = re.compile(r"[~$]|://|::|(^|[/\\])\.\.([/\\]|$)")
"""In a path: a home, a variable, an address, or the folder above."""


def check_typed(
    config: Mapping[str, Any], *, typed: Sequence[str], readers: Sequence[str], folder: Path
) -> None:
    """Raises ConfigError for a value that is the stored run's, and may only be a person's.

    Args:
        config: Plain values, resolved.
        typed: The words that the person typed.
        readers: The keys whose values read the environment.
        folder: The run folder.
    """
    words = dict(_parted(word) for word in typed)
    for key in readers:
        if not any("$" in text and _within(key, word) for word, text in words.items()):
            raise ConfigError(f"{key} reads the environment{_again(key)}")
    for key, value in _strings(config.get("logger"), "logger"):
        online = value == "online" and key.endswith(".mode")
        if online and words.get("logger") != "wandb" and words.get(key) != "online":
            raise ConfigError(
                f"{key}=online sends the run to W&B; type logger=wandb beside resume="
            )
    _check_writing(config, set(words), folder)


def _check_writing(config: Mapping[str, Any], typed: set[str], folder: Path) -> None:
    """Links are followed for the look, so that none leads out of the folder."""
    root = folder.resolve()
    for group in WRITERS:
        for key, value in _strings(config.get(group), group):
            # Other settings, such as a file's name, are put below one of these.
            whole = PLACE.fullmatch(key.rpartition(".")[2]) or Path(value).is_absolute()
            leaves = whole and not Path(value).resolve().is_relative_to(root)
            if key not in typed and (leaves or LEADS_OUT.search(value)):
                raise ConfigError(f"{key} is {value}, which is not in the run folder{_again(key)}")
    outputs = (config.get("paths") or {}).get(OUTPUTS.partition(".")[2])
    if isinstance(outputs, str) and OUTPUTS not in typed:
        place = Path(outputs).resolve()
        # The working folder is the person's own choice.
        inside = any(place.is_relative_to(base) for base in (root, Path.cwd().resolve()))
        if not (inside or root.is_relative_to(place)):
            raise ConfigError(
                f"{OUTPUTS} is {outputs}, which is neither in the working folder nor around the "
                f"run folder{_again(OUTPUTS)}"
            )


def _strings(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text below a node, with its dotted key."""
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
    return f"; a stored setting may not do that, type {key}= beside resume="
