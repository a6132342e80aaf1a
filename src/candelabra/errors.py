"""Errors that are a person's to mend: shown as one message, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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
    close = difflib.get_close_matches(
        str(name), [str(option) for option in options], n=1, cutoff=0.5
    )
    return f"; did you mean '{close[0]}'?" if close else ""
