"""Conversion of errors of Hydra and yaml into one-line messages with suggestions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from candelabra.config.keys import nearest_key
from candelabra.config.schema import TrainConfig
from candelabra.config.targets import conf_dir
from candelabra.data.file_source import Files
from candelabra.errors import ConfigError, UserError, nearest

_log = logging.getLogger(__name__)

PLAIN_VALUE_ERRORS = (
    "Config group override",
    "Only one of --run",
    "n_jobs == 0 in Parallel",
    "Please set either",
)
"""Beginnings of the messages of the ValueErrors that Hydra and its plugins raise."""
OF_FILES = "|".join(key.name for key in fields(Files))
"""Settings of a source of files; a task's yaml has those that it needs."""
INSIDE_NOTHING = "Unexpected type for root"
"""Beginning of OmegaConf's message about a key below a list that is None."""
SUBMITIT_SETTING = "Unknown argument"
"""Beginning of the message of the NameError that submitit raises for an unknown setting."""
EXTRAS = {
    "hydra/launcher/joblib": "launchers",
    "hydra/launcher/submitit_local": "launchers",
    "hydra/launcher/submitit_slurm": "launchers",
}
"""Launcher of Hydra -> the extra of candelabra that installs it."""


@contextmanager
def building() -> Iterator[None]:
    """Convert errors of a constructor into `ConfigError`.

    Use it only around the construction of an object that a configuration names.

    Raises:
        ConfigError: The construction raised KeyError, TypeError or ValueError.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        # Log the traceback, in case the error is a bug rather than a wrong setting.
        _log.info("the configuration cannot be built", exc_info=error)
        raise ConfigError(f"the configuration cannot be built: {_first_line(error)}") from error


@contextmanager
def explained(overrides: Sequence[str] = ()) -> Iterator[None]:
    """Convert errors of Hydra and yaml into `ConfigError`; other errors propagate.

    Args:
        overrides: Command-line arguments, for the error of Hydra that does not repeat them.

    Raises:
        ConfigError: Hydra or yaml raised an error.
    """
    try:
        yield
    except InstantiationException as error:
        _raise_cause(error)
        raise ConfigError(_instantiation(error)) from error
    except MissingConfigException as error:
        raise ConfigError(_missing_option(error)) from error
    except OverrideParseException as error:
        raise ConfigError(
            f"override '{error.override}' cannot be parsed: it must be key=value. Quote a value "
            "that has commas, colons, quotes or spaces, and quote the whole word for the shell: "
            "'key=\"a, b\"'"
        ) from error
    except (ConfigCompositionException, OmegaConfBaseException) as error:
        raise ConfigError(_composition(error)) from error
    except HydraException as error:
        raise ConfigError(_first_line(error)) from error
    except YAMLError as error:
        raise ConfigError(f"a yaml file cannot be read: {' '.join(str(error).split())}") from error
    except NameError as error:
        if not str(error).startswith(SUBMITIT_SETTING):
            raise
        raise ConfigError(f"hydra.launcher: {_first_line(error)}") from error
    except AssertionError as error:
        if not str(error).startswith(INSIDE_NOTHING):
            raise
        raise ConfigError(_inside_nothing(overrides)) from error
    except ValueError as error:
        _raise_of_a_list(error, overrides)
        if not str(error).startswith(PLAIN_VALUE_ERRORS):
            raise
        of_group = str(error).startswith(PLAIN_VALUE_ERRORS[0])
        raise ConfigError((of_group and _no_option(overrides)) or str(error)) from error


def _raise_cause(error: BaseException) -> None:
    """Raise the user error or ValueError that caused an instantiation error, if there is one."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, UserError):
            raise cause
        if isinstance(cause, ValueError) and not isinstance(cause, OmegaConfBaseException):
            raise ConfigError(str(cause)) from error
        cause = cause.__cause__


def _raise_of_a_list(error: ValueError, overrides: Sequence[str]) -> None:
    """Raise ConfigError if OmegaConf took the last name of a key for a place in a list."""
    match = re.match(r"invalid literal for int\(\) with base 10: '(.*)'$", str(error))
    for override in overrides if match else ():
        key = override.lstrip("+~").partition("=")[0]
        above, _, name = key.rpartition(".")
        if match and match[1] in key.split("."):
            raise ConfigError(
                f"no key '{key}': {above} is a list, which has no {name!r}"
            ) from error


def _inside_nothing(overrides: Sequence[str]) -> str:
    """Return a message about an override of a key below a list that is None."""
    lists = [key for key, kind in TrainConfig.__annotations__.items() if kind == "list[str] | None"]
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    named = next((key for key in keys if key.startswith(tuple(f"{each}." for each in lists))), "")
    if not named:
        return "an override names a key below a list that is null; give a list, or null"
    above, _, name = named.partition(".")
    return f"no key '{named}': {above} is null, which has no {name!r}; give a list, or null"


def _instantiation(error: InstantiationException) -> str:
    """Return the message and its cause, without the advice to set an environment variable."""
    text = re.sub(r"\s*full_key: (\S+)", r" (\1)", " ".join(str(error).split()))
    text = re.sub(r", set env var HYDRA_FULL_ERROR=1 to see chained exception\.?", "", text)
    cause = error.__cause__
    known = cause is None or str(cause) in text
    return text if known else f"{text}: {' '.join(str(cause).split())}"


def _no_option(overrides: Sequence[str]) -> str:
    """Return a message about a config group whose override is not the name of an option."""
    # An option from a folder of the user is not listed in conf/, but `null` is always an error.
    for override in sorted(overrides, key=lambda word: not word.endswith("=null")):
        key, _, value = override.partition("=")
        group = key.lstrip("+").partition("@")[0]
        if value == "null" and group.startswith("hydra/"):
            return f"{group} takes the name of an option, got 'null'"
        options = sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))
        if group and options and value not in options:
            return f"{group} takes the name of an option, got '{value}' ({_listed(options)})"
    return ""


def _listed(options: Sequence[str]) -> str:
    return f"options: {', '.join(options)}"


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(":") if lines else type(error).__name__


def _missing_option(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file
    if not error.options or not isinstance(missing, str):
        return _first_line(error)
    if "//" in missing:
        group, _, path = missing.partition("/")
        folder = f"; {group}=path {group}.name={path} takes a folder" if group == "encoder" else ""
        return f"{group} takes the name of an option, got '{path}'{folder}"
    group, _, option = missing.rpartition("/")
    if missing in EXTRAS:
        return f'{group}={option} needs its extra: pip install "candelabra[{EXTRAS[missing]}]"'
    options = sorted(name for name in error.options if name != "base")
    if option == "help":
        return f"{group} is a group ({_listed(options)})"
    return f"{group} has no option '{option}'{nearest(option, options)} ({_listed(options)})"


def _composition(error: Exception) -> str:
    """Return the message of a composition error: an unknown key, a wrong type or group."""
    text = str(error)
    cause = error.__cause__
    details = f"{text}\n{cause}" if cause is not None else text
    full = re.search(r"full_key: (\S+)", details)
    key = re.search(r"Key '([^']+)' (?:is not in struct|not in '\w+')", details)
    if key:
        name = full.group(1) if full else key.group(1)
        if re.fullmatch(r"tasks\.[^.]+\.pooling", name):
            return f"no key '{name}'; +pooling@{name}=OPTION adds a pooling for this task alone"
        if re.fullmatch(rf"tasks\.[^.]+\.source\.({OF_FILES})", name):
            return f"no key '{name}' in the yaml of this task; +{name}=... adds it"
        return f"no key '{name}'{_nearest_key(cause or error, name, key.group(1))}"
    bad_value = re.search(r"Value '(.*)' of type '(.*)' could not be converted to (\w+)", details)
    if bad_value and full:
        return f"{full.group(1)} must be of type {bad_value.group(3)}, got '{bad_value.group(1)}'"
    twice = re.search(r"Multiple values for (\S+)\. To override", text)
    if twice:
        return f"{twice.group(1)} exists already; an override without the + replaces it"
    several = re.match(r"Ambiguous value for argument '(.*)'", text)
    if several:
        return f"{several[1]} has several values: -m trains each of them, and a list is [a,b]"
    group = re.search(r"Could not override '([^']+)'", text)
    if group:
        return _nothing_to_override(group.group(1), text)
    if cause is not None and full:
        return f"{full.group(1)}: {_first_line(cause)}"
    return " ".join(line.strip() for line in text.splitlines()[:2] if line.strip())


def _nothing_to_override(group: str, text: str) -> str:
    hint = re.search(r"Did you mean .*\?", text)
    return (
        f"nothing to override at '{group}'; {hint.group() + ' ' if hint else ''}"
        f"+{group}=... adds it (a group must be one of conf/, a task must be mounted)"
    )


def _nearest_key(error: BaseException, name: str, key: str) -> str:
    parent = getattr(error, "parent_node", None)
    if parent is None:
        return ""
    known = [str(name) for name in parent if name != "hydra"]
    meant = nearest_key(key, known, parent, prefix=name.removesuffix(key))
    return f"{meant} (keys: {', '.join(known)})"
