"""Compose and train in Python, as `candelabra train` does in a terminal.

    import candelabra

    cfg = candelabra.compose(["tasks=stsb", "freeze=encoder"])
    run = candelabra.train(cfg)
    run.metrics["val/score"], run.bundle.embed("A man eats.")

The run folder has the same content, and `candelabra train resume=FOLDER` resumes an interrupted
run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, flag_override

from candelabra.build.encoder_folder import take_folder_settings
from candelabra.config.grammar import literal, quoted
from candelabra.config.messages import explained
from candelabra.config.option_words import check_option_words
from candelabra.config.plain_form import plain
from candelabra.config.schema import register
from candelabra.config.targets import TARGET, conf_dir
from candelabra.errors import ConfigError, Ended
from candelabra.processes import processes_of
from candelabra.run.place import check_run_folder
from candelabra.run.resume import differences
from candelabra.run.start import check_settings, run

if TYPE_CHECKING:
    from candelabra.bundle.bundle import Bundle

START = "hydra"
"""Key of a composed configuration for its overrides and folders of yamls; `train` removes it."""
LOG_FORMAT = "[%(asctime)s] %(levelname)s %(name)s: %(message)s"
OF_HYDRA = re.compile(r"\$\{(hydra|run_group):")
"""Beginning of an interpolation that refers to the settings of Hydra."""


@dataclass(frozen=True)
class TrainedRun:
    """Result of a training.

    Attributes:
        folder: Run folder.
        metrics: Metrics, as in `metrics.json`.
        allow: Targets of the configuration that the bundle may build its parts from.
    """

    folder: Path
    metrics: dict[str, float]
    allow: tuple[str, ...] = ()

    @cached_property
    def bundle(self) -> Bundle:
        """Return the trained model, opened from the run folder on first use."""
        from candelabra.bundle.bundle import load

        return load(self.folder / "bundle", allow=self.allow)


def compose(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> DictConfig:
    """Compose the configuration of a training.

    Args:
        overrides: Overrides as on the command line, such as `tasks=stsb` or `optimizer.lr=1e-4`.
        config_dir: Folder of additional yamls, as `--config-dir`.

    Returns:
        The configuration. You may change its values before you pass it to `train`.

    Raises:
        ConfigError: An override is wrong.

    Example:
        >>> cfg = compose(["freeze=encoder", "seed=3"])
        >>> cfg.seed
        3
    """
    given = [*overrides]
    config_dirs = [] if config_dir is None else [str(Path(config_dir).absolute())]
    with explained(given):
        return _composed(given, config_dirs)


def train(cfg: DictConfig) -> TrainedRun:
    """Train a model in this process.

    Args:
        cfg: Configuration from `compose`; it is not changed.

    Returns:
        The run: its folder, its metrics and the trained model.

    Raises:
        ConfigError: A setting is wrong, the run folder holds another run, or the trainer asks for
            several processes.
        DataError: The data of a task cannot be used.
        TrainingError: The training cannot go on.
        KeyboardInterrupt: The training was interrupted; its state is saved.
    """
    cfg, start = _without_start(cfg)
    folder = Path(cfg.paths.run_dir)
    with explained():
        check_run_folder(str(folder))
        check_settings(cfg, start["overrides"])
        if cfg.trainer.num_nodes > 1 or processes_of(cfg.trainer) > 1:
            raise ConfigError(
                "candelabra.train trains in one process: take trainer.devices=1, or train on "
                "several devices with the command `candelabra train`"
            )
        words = [*start["overrides"], *_edits(cfg, start)]
        try:
            with _log_file(folder):
                metrics = run(cfg, folder, words, config_dirs=start["config_dirs"])
        except Ended as ended:
            raise KeyboardInterrupt from ended
    return TrainedRun(folder, metrics, tuple(sorted(_targets(plain(cfg)))))


def _composed(
    overrides: list[str], config_dirs: list[str], *, folder: str | None = None
) -> DictConfig:
    """Compose a configuration whose values no longer refer to the settings of Hydra."""
    register()
    check_option_words(overrides, [Path(folder) for folder in config_dirs])
    words = [*overrides]
    if config_dirs:
        paths = ", ".join(quoted(f"file://{path}") for path in config_dirs)
        words.append(f"hydra.searchpath=[{paths}]")
    if folder is not None:
        words.append(f"hydra.run.dir={quoted(folder)}")
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        cfg = hydra_compose("train", words, return_hydra_config=True)
    with _hydra_settings(cfg):
        run_dir = str(Path(cfg.hydra.run.dir).absolute())
    with flag_override(cfg.hydra, "readonly", False):
        cfg.hydra.runtime.output_dir = run_dir
    with _hydra_settings(cfg):
        for key in _keys_of_hydra(OmegaConf.to_container(cfg, resolve=False)):
            OmegaConf.update(cfg, key, OmegaConf.select(cfg, key))
    # Overrides of Hydra itself, such as hydra.run.dir, are left out: stored words must not
    # configure Hydra.
    stored = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
    take_folder_settings(cfg, overrides)
    with flag_override(cfg, ["struct", "readonly"], False):
        cfg[START] = {"overrides": stored, "config_dirs": config_dirs}
    return cfg


@contextmanager
def _hydra_settings(cfg: DictConfig) -> Iterator[None]:
    """Make `${hydra:...}` refer to the settings of this configuration."""
    hydra_config = HydraConfig.instance()
    before = hydra_config.cfg
    try:
        hydra_config.set_config(cfg)
        yield
    finally:
        hydra_config.cfg = before


def _keys_of_hydra(node: Any, key: str = "") -> Iterator[str]:
    """Yield the dotted keys of the values that refer to the settings of Hydra."""
    if isinstance(node, str) and OF_HYDRA.search(node):
        yield key
    elif isinstance(node, Mapping):
        for name, value in node.items():
            if key or name != START:
                yield from _keys_of_hydra(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _keys_of_hydra(value, f"{key}[{place}]")


def _without_start(cfg: DictConfig) -> tuple[DictConfig, dict[str, Any]]:
    """Return a copy of the configuration for the run, and how it was composed."""
    if START not in cfg:
        raise ConfigError("cfg must come from candelabra.compose")
    own = cfg.copy()
    with flag_override(own, ["struct", "readonly"], False):
        start = own.pop(START)
    return own, {str(key): list(words) for key, words in start.items()}


def _edits(cfg: DictConfig, start: Mapping[str, Any]) -> list[str]:
    """Return overrides for the values that were changed after the configuration was composed.

    A resumed run composes its configuration from the recorded overrides, so they must contain these
    changes.
    """
    composed = _composed(start["overrides"], start["config_dirs"], folder=cfg.paths.run_dir)
    before = plain(_without_start(composed)[0])
    return [f"++{key}={literal(now)}" for key, _, now in differences(before, plain(cfg))]


def _targets(node: Any) -> set[str]:
    """Return every `_target_` below a node."""
    if isinstance(node, list):
        return set().union(*map(_targets, node))
    if not isinstance(node, Mapping):
        return set()
    own = {node[TARGET]} if TARGET in node else set()
    return own.union(*map(_targets, node.values()))


@contextmanager
def _log_file(folder: Path) -> Iterator[None]:
    """Write log messages to `run.log`, as Hydra does for the command."""
    from candelabra.quiet import quiet

    quiet()
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()
