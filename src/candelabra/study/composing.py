"""Compose configurations of `candelabra train` without starting a run."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, flag_override

from candelabra.errors import UserError
from candelabra.run.from_python import START, compose
from candelabra.run.start import check_settings


def composed(overrides: Sequence[str]) -> DictConfig:
    """Return the configuration that `candelabra train` would run with these overrides.

    Args:
        overrides: Hydra overrides.

    Raises:
        ConfigError: An override is wrong.
    """
    cfg = compose(overrides)
    with flag_override(cfg, ["struct", "readonly"], False):
        del cfg[START]
    return cfg


def checked(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a configuration of `candelabra train`, and check it as the start of a run does.

    Args:
        name: Name of the configuration in error messages.
        overrides: Hydra overrides.

    Raises:
        ConfigError: A setting is wrong; the message names `name`.
    """
    try:
        cfg = composed(overrides)
        check_settings(cfg)
    except UserError as error:
        raise type(error)(f"{name}: {error}") from error
    return cfg
