"""Check of the command-line words that choose an option of a group, before Hydra sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException

from candelabra.config.options import options
from candelabra.errors import ConfigError, nearest

PARTS = "base/"
"""Folder inside a group for yamls that options include; they are no options themselves."""
OFF = ("debug", "experiment", "sweep")
"""Groups of which no option is chosen by default."""
LONGEST = 200
"""Maximum length of the name of an option, which is that of a file."""


def check_option_words(words: Sequence[str], folders: Sequence[Path] = ()) -> None:
    """Check that each word `GROUP=OPTION` gives the name of an option, or a list of names.

    For other values, Hydra raises an error about another group, or one without a message.

    Args:
        words: Hydra overrides.
        folders: Folders of further yamls, which may add groups.

    Raises:
        ConfigError: The value is null, a number, true, false, an empty list, an interpolation, or
            in `PARTS`; or a value holds a number of thousands of digits.
    """
    parser = OverridesParser.create()
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            continue  # Hydra raises its own error, which names the word.
        except ValueError as error:  # Python reads no number of more than 4300 digits.
            key = word.partition("=")[0]
            raise ConfigError(f"{key}: {str(error).partition(';')[0]}") from error
        names = options(override.key_or_group, folders)
        # `~GROUP` takes no value.
        if names and "=" in word:
            _check_names(override, word.partition("=")[2], names)


def _check_names(override: Override, given: str, names: Sequence[str]) -> None:
    """Raise ConfigError if a value of an override cannot be the name of an option."""
    for value in _values(override):
        name = value.text if isinstance(value, QuotedString) else value
        if not isinstance(name, str) or not _may_be_a_name(name):
            group, hint = override.key_or_group, nearest(given, names)
            if name is None and group in OFF:
                hint = f"; without {group}= there is none"
            raise ConfigError(
                f"{group} takes the name of an option, got '{given}'{hint} "
                f"(options: {', '.join(names)})"
            )


def _may_be_a_name(name: str) -> bool:
    plain = "${" not in name and name.isprintable() and len(name) <= LONGEST
    return plain and not name.startswith(PARTS)


def _values(override: Override) -> Iterator[Any]:
    """Yield each name that an override chooses, or would choose in a sweep."""
    value = override.value()
    for choice in value.list if isinstance(value, ChoiceSweep) else [value]:
        # An empty list chooses nothing, as null does.
        yield from (choice or [None]) if isinstance(choice, list) else [choice]
