"""Hydra's errors as one message: the group, what was given, the options, the nearest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from candelabra.errors import ConfigError, UserError, nearest


@contextmanager
def explained() -> Iterator[None]:
    """Turns what Hydra and yaml raise into ConfigError; other errors pass."""
    try:
        yield
    except InstantiationException as error:
        _raise_cause(error)
        raise ConfigError(_first_line(error)) from error
    except MissingConfigException as error:
        raise ConfigError(_missing_option(error)) from error
    except OverrideParseException as error:
        raise ConfigError(
            f"override '{error.override}' is not understood: {_first_line(error)}. "
            "Put values with commas, colons or spaces in quotes: 'key=\"a, b\"'"
        ) from error
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        raise ConfigError(_composition(error)) from error
    except HydraException as error:
        raise ConfigError(_first_line(error)) from error
    except YAMLError as error:
        raise ConfigError(f"a yaml file cannot be read: {' '.join(str(error).split())}") from error


def _raise_cause(error: BaseException) -> None:
    """A person's error inside an object's construction is the one to show."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, UserError):
            raise cause
        if isinstance(cause, ValueError) and not isinstance(cause, OmegaConfBaseException):
            raise ConfigError(str(cause)) from error
        cause = cause.__cause__


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(":") if lines else type(error).__name__


def _missing_option(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file
    if not error.options or not isinstance(missing, str):
        return _first_line(error)
    group, _, option = missing.rpartition("/")
    options = sorted(name for name in error.options if name != "base")
    listed = ", ".join(options)
    return f"{group} has no option '{option}'{nearest(option, options)} (options: {listed})"


def _composition(error: Exception) -> str:
    """An unknown key or group; `error` or its cause names it in the first lines."""
    text = str(error)
    cause = error.__cause__
    details = f"{text}\n{cause}" if cause is not None else text
    key = re.search(r"Key '([^']+)' is not in struct", details)
    if key:
        full = re.search(r"full_key: (\S+)", details)
        name = full.group(1) if full else key.group(1)
        return f"no key '{name}'{_nearest_key(cause or error, key.group(1))}"
    bad_value = re.search(r"Value '(.*)' of type '(.*)' could not be converted to (\w+)", details)
    full = re.search(r"full_key: (\S+)", details)
    if bad_value and full:
        return f"{full.group(1)} must be of type {bad_value.group(3)}, got '{bad_value.group(1)}'"
    group = re.search(r"Could not override '([^']+)'", text)
    if group:
        return (
            f"nothing to override at '{group.group(1)}'; +{group.group(1)}=... adds it "
            "(a group must be one of conf/, a task must be mounted)"
        )
    return " ".join(line.strip() for line in text.splitlines()[:2] if line.strip())


def _nearest_key(error: BaseException, key: str) -> str:
    parent = getattr(error, "parent_node", None)
    if parent is None:
        return ""
    names = [str(name) for name in parent]
    return f"{nearest(key, names)} (keys: {', '.join(names)})"
