"""Errors that the user can correct; they are shown as one message, without a traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

UNPRINTABLE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Characters that control a terminal or change the direction of text, except line breaks."""
QUOTED = 200
"""Maximum number of characters of a quoted value in a message."""
_LONG = re.compile(rf"""(?<!\w)(['"])((?:(?!\1).){{{QUOTED}}})(?:(?!\1).)+\1(?!\w)""")

_SUBJECT = re.compile(r"([A-Za-z_]\w*)(?=[ =:\[]|(?:\.\w+)+ must )")
"""Setting at the beginning of a message, such as `alpha` or `parts` in `parts.upper.r must be`."""


def printable(text: str) -> str:
    r"""Return a text with its control characters replaced by JSON escapes such as `\u001b`.

    Use it for everything that reaches a terminal, a log or a model card: texts, labels and file
    names may contain characters that clear the screen or forge a line.
    """
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def message_of(text: str) -> str:
    """Return a message that is `printable` and repeats at most `QUOTED` characters of a value."""
    return _LONG.sub(r"\1\2...\1", printable(text))


class UserError(ValueError):
    """An unusable input. The message names the key or file, the rule, and the value."""


class ConfigError(UserError):
    """A wrong override, option or value."""


class DataError(UserError):
    """A missing, broken or unusable source."""


class MissingSplitError(DataError):
    """A source without the requested split."""


class TrainingError(UserError):
    """A training or test that cannot continue."""


class Ended(SystemExit):
    """An exit by a signal, raised after the user has seen how to resume."""


class PrunedError(Exception):
    """An early end of a trial whose scores are too low for its search."""


class BundleError(UserError):
    """A missing, damaged or malicious bundle."""


@contextmanager
def naming(key: str, settings: Collection[str] = ()) -> Iterator[None]:
    """Put the key of an object in front of the errors that it raises about its settings.

    An object names only its own settings, as in `alpha must be 0 or more`. With `alpha` in
    `settings`, the message becomes `KEY.alpha must be 0 or more`, otherwise `KEY: alpha must ...`.

    Args:
        key: Configuration key of the object that the block builds.
        settings: Names of the settings of the object.

    Raises:
        ConfigError: If the block raises a ValueError or a TypeError. Of the errors that the user
            can correct, only a ConfigError about one of the settings is changed.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        subject = _SUBJECT.match(reason)
        about_setting = subject is not None and subject[1] in settings
        if isinstance(error, UserError) and not (about_setting and isinstance(error, ConfigError)):
            raise
        raise ConfigError(f"{key}{'.' if about_setting else ': '}{reason}") from error


def nearest(name: str, options: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the most similar option, or an empty string."""
    # A name of millions of characters matches no option, and would take minutes to compare.
    close = difflib.get_close_matches(
        str(name)[:QUOTED], [str(option)[:QUOTED] for option in options], n=1, cutoff=0.5
    )
    return f"; did you mean '{close[0]}'?" if close else ""
