"""Resume a run from its last checkpoint: `candelabra train resume=RUN_FOLDER`.

A run folder may come from somebody else, so its content is checked like that of a bundle. This
module imports nothing slow.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from candelabra.config.grammar import quoted
from candelabra.config.targets import check_targets
from candelabra.errors import ConfigError
from candelabra.run.place import check_links
from candelabra.run.record import CHECKPOINT, is_of_run
from candelabra.run.typed_again import check_typed

ACCUMULATE = "trainer.accumulate_grad_batches"
FREE = (
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    ACCUMULATE,
    "trainer.log_every_n_steps",
    "callbacks.checkpoint.every_n_train_steps",
    "callbacks.learning_rate",
    "callbacks.progress",
    "num_workers",
    "keep_memory",
    "logger",
    "group",
    "tags",
    "data_dir",
    "paths.output_dir",
    "paths.cache_dir",
    "paths.feature_cache_gb",
)
"""Settings that a resumed run may change: they affect how it runs, not what it computes."""
SOURCE = re.compile(r"tasks\.[^.]+\.source(\..+)?")
"""Keys of a task's data source. They may change too, since the fingerprints of the rows may not."""


@dataclass(frozen=True)
class StoredRun:
    """Run that can be resumed, as its folder records it.

    Attributes:
        folder: Run folder.
        record: Content of `run.json`.
        config: Content of `config.yaml`.
        allow: Targets besides candelabra's own that the user trusts.
    """

    folder: Path
    record: Mapping[str, Any]
    config: Mapping[str, Any]
    allow: tuple[str, ...] = ()

    @property
    def checkpoint(self) -> Path:
        """Return the path of the checkpoint from which the run resumes."""
        return self.folder / CHECKPOINT

    @property
    def has_checkpoint(self) -> bool:
        """Return whether the run wrote its checkpoint, and not an earlier run in its folder."""
        return is_of_run(self.checkpoint, self.record)

    def command(self, overrides: Sequence[str]) -> list[str]:
        """Return the overrides of the first start, followed by new ones and the run folder.

        Args:
            overrides: New overrides, which replace stored ones of the same key.

        Raises:
            ConfigError: If a stored override reads the environment, is a flag, or configures Hydra
                itself. Hydra calls the targets in its own settings before they can be checked.
        """
        new = {_key(word) for word in overrides}
        stored = [word for word in self.record["overrides"] if _key(word) not in new]
        for word in stored:
            # A sweep escapes the braces of ${...}, so look for the dollar alone.
            if "$" in word or word.startswith("-") or "hydra" in _key(word):
                raise ConfigError(
                    f"resume={self.folder}: the run was started with {word}, and a stored override "
                    "of this kind is not used again; type it together with resume="
                )
        own = [] if _has_config_dir(overrides) else self.record["config_dirs"]
        folders = [word for path in own for word in ("--config-dir", path)]
        place = f"hydra.run.dir={quoted(str(self.folder))}"
        return [*stored, *overrides, place, *folders]

    def check(
        self, config: Mapping[str, Any], *, typed: Sequence[str] = (), readers: Sequence[str] = ()
    ) -> None:
        """Check that the configuration to resume with is safe and computes the same.

        Args:
            config: Configuration to resume with, resolved and masked.
            typed: Overrides that the user typed.
            readers: Keys whose values read the environment.

        Raises:
            ConfigError: If a key was changed, names code that is not trusted, or has a stored value
                that is accepted only if the user types it.
        """
        check_targets(dict(config), allow=self.allow)
        try:
            check_typed(config, typed=typed, readers=readers, folder=self.folder)
        except ConfigError as error:
            raise ConfigError(f"resume={self.folder}: {error}") from error
        for key, before, now in differences(self.config, config):
            free = any(key == each or key.startswith(f"{each}.") for each in FREE)
            if not free and not SOURCE.fullmatch(key):
                raise ConfigError(
                    f"resume={self.folder}: {key} was {before!r} and would be {now!r}; a resumed "
                    f"run keeps its configuration (only these may change: {', '.join(FREE)})"
                )
            if key == ACCUMULATE and config["trainer"]["val_check_interval"] is not None:
                raise ConfigError(
                    f"resume={self.folder}: {key} was {before!r} and would be {now!r}; that moves "
                    "the validations, which trainer.val_check_interval counts in micro-batches"
                )

    def check_data(self, fingerprints: Mapping[str, Mapping[str, str]]) -> None:
        """Check that the data are those of the first start.

        Args:
            fingerprints: Fingerprint of each split of each task.

        Raises:
            ConfigError: If a split of a task was changed.
        """
        for key, before, now in differences(self.record.get("fingerprints", {}), fingerprints):
            raise ConfigError(
                f"resume={self.folder}: the data of {key} were changed "
                f"(fingerprint {before}, now {now}); a resumed run keeps its data"
            )


def stored_run(folder: str, *, allow: Sequence[str] = ()) -> StoredRun:
    """Read a run folder that is to be resumed.

    Args:
        folder: Run folder.
        allow: Targets besides candelabra's own that the user trusts.

    Raises:
        ConfigError: If the folder is not that of a run, is damaged, has no checkpoint, or if its
            run is finished.
    """
    path = Path(folder).absolute()
    record, config = _read_record(path, folder)
    before = Path(config["paths"]["run_dir"])
    if record.get("status") == "finished":
        raise ConfigError(f"resume={folder}: this run is finished")
    if before.resolve() != path.resolve():
        config, before = moved(config, before, path), path
    run = StoredRun(before, record, config, tuple(allow))
    if not run.has_checkpoint:
        raise ConfigError(
            f"resume={folder}: no checkpoint {run.checkpoint} of this run; it ended before it "
            "wrote one, so start a new run"
        )
    if not zipfile.is_zipfile(run.checkpoint):
        raise ConfigError(f"resume={folder}: {run.checkpoint} is truncated")
    check_links(path, f"resume={folder}")
    if not isinstance(record.get("precision"), str):
        raise ConfigError(f"resume={folder}: run.json is damaged (it has no precision)")
    return run


def _read_record(path: Path, folder: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return `run.json` and `config.yaml` of a run folder.

    Raises:
        ConfigError: If a file is missing or damaged.
    """
    for name in ("run.json", "config.yaml"):
        if not (path / name).is_file():
            raise ConfigError(f"resume={folder}: not a run folder, it has no file {name}")
    try:
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        words = [*record["overrides"], *record["config_dirs"], record["cwd"], record["run_id"]]
        Path(config["paths"]["run_dir"]).resolve()
    except (ValueError, OSError, LookupError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"resume={folder}: run.json or config.yaml is damaged ({reason})"
        ) from error
    if not all(isinstance(word, str) for word in words):
        raise ConfigError(f"resume={folder}: run.json must hold words, found {words}")
    return record, config


def moved(node: Any, before: Path, now: Path) -> Any:
    """Return a stored configuration of a moved run, with its paths in the run folder replaced.

    Args:
        node: Plain values.
        before: The run folder when the configuration was written.
        now: The run folder today.
    """
    if isinstance(node, Mapping):
        return {key: moved(value, before, now) for key, value in node.items()}
    if isinstance(node, list):
        return [moved(value, before, now) for value in node]
    if isinstance(node, str) and (node == str(before) or node.startswith(f"{before}/")):
        return str(now) + node.removeprefix(str(before))
    return node


def enter_working_folder(run: StoredRun, typed: str | None = None) -> StoredRun:
    """Change to the working folder of the run, so that relative paths keep their meaning.

    Libraries read their own settings from the working folder. Therefore the user must already be
    in the stored folder, or name it by `cwd=`.

    Args:
        run: Run to resume.
        typed: Value of `cwd=`; `None` if the user did not give it. For a moved run, it may be
            another folder than that of the first start.

    Returns:
        The run, with the new working folder in its record.

    Raises:
        ConfigError: If the folder no longer exists, or is not the current one and `cwd=` is not
            given.
    """
    folder = Path(run.record["cwd"] if typed is None else typed).absolute()
    if typed is None and Path.cwd().resolve() != folder.resolve():
        raise ConfigError(
            f"resume={run.folder}: the run was started in {folder}, and this is {Path.cwd()}; "
            f"run the command there, or add cwd={shlex.quote(str(folder))}; if the run was moved, "
            "cwd=FOLDER names the folder from which relative paths count now"
        )
    try:
        os.chdir(folder)
    except OSError as error:
        where = f"the run was started in {folder}" if typed is None else f"cwd={typed}"
        raise ConfigError(f"resume={run.folder}: {where}: {error.strerror}") from error
    return replace(run, record={**run.record, "cwd": str(folder)})


def _has_config_dir(words: Sequence[str]) -> bool:
    return any(word.partition("=")[0] in ("--config-dir", "-cd") for word in words)


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def differences(before: Any, now: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Return the values that differ between two configurations.

    Args:
        before: Plain values of the first configuration.
        now: Plain values of the second configuration.
        key: Dotted key of both.

    Returns:
        For each difference its dotted key, the first and the second value.
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(name for name in now if name not in before)]
        return [
            difference
            for name in keys
            for difference in differences(
                before.get(name), now.get(name), f"{key}.{name}" if key else str(name)
            )
        ]
    return [] if before == now else [(key, before, now)]
