"""Errors that are a person's to mend: shown as one message, without a traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

UNPRINTABLE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What steers a terminal, or turns the direction of what follows; a line break does neither."""
QUOTED = 200
"""The most characters of a quoted value that a message repeats."""
_LONG = re.compile(rf"""(?<!\w)(['"])((?:(?!\1).){{{QUOTED}}})(?:(?!\1).)+\1(?!\w)""")


def printable(text: str) -> str:
    """Return a text with its control characters as escapes that JSON knows too.

    For whatever reaches a terminal, a log or a model card: texts, labels and names of files may
    hold what clears a screen or forges a line.
    """
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def message_of(text: str) -> str:
    """Return a message that is `printable` and repeats at most `QUOTED` characters of a value."""
    return _LONG.sub(r"\1\2...\1", printable(text))


class UserError(ValueError):
    """What was given cannot be used. The message names the thing, the rule and what was found."""


class ConfigError(UserError):
    """A wrong override, option or value."""


class DataError(UserError):
    """A missing, broken or unusable source."""


class MissingSplitError(DataError):
    """A source without the split that is asked for."""


class TrainingError(UserError):
    """A training, or a test, that cannot go on."""


class Ended(SystemExit):
    """The end by a signal, after the person was told how to go on."""


class BundleError(UserError):
    """A missing, truncated or hostile bundle."""


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Names the setting under construction in what an object says against it.

    Raises:
        ConfigError: A ValueError or TypeError came from inside.
    """
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ConfigError(said if said.startswith(key) else f"{key}: {said}") from error


def nearest(name: str, options: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the most similar option, or nothing."""
    # A name of millions of characters is like none, and would take minutes to compare.
    close = difflib.get_close_matches(
        str(name)[:QUOTED], [str(option)[:QUOTED] for option in options], n=1, cutoff=0.5
    )
    return f"; did you mean '{close[0]}'?" if close else ""
