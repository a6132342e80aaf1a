"""A run's folder before anything is written there, and the lock on it. Imports nothing heavy."""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from candelabra.config.schema import RUN_ID
from candelabra.errors import ConfigError
from candelabra.files import check_place, read_json
from candelabra.processes import rank

_log = logging.getLogger(__name__)

LOCK = "run.lock"
BEFORE_THE_RUN = re.compile(r"\.hydra|run(\.rank[0-9]+)?\.log|" + re.escape(LOCK))
"""What Hydra and the lock leave where a run was refused before it began."""
OF_A_SWEEP = (".trials", "multirun.yaml")


class Refused(SystemExit):
    """A ConfigError on its way through Hydra, which makes warnings of a callback's errors.

    Args:
        error: What to raise outside Hydra.
    """

    def __init__(self, error: ConfigError) -> None:
        super().__init__(str(error))
        self.error = error


class RunPlace(Callback):
    """Looks at the folder of a run, or of a sweep, before Hydra makes it."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Raise Refused where no run may begin; called by Hydra before it writes anything."""
        _look(config, "hydra.run.dir", check_run_folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Raise Refused where no sweep may begin; called by Hydra before it writes anything."""
        _look(config, "hydra.sweep.dir", check_sweep_folder)


def _look(config: DictConfig, key: str, check: Callable[[str], None]) -> None:
    if rank() != 0:  # the first of several processes may have begun to write
        return
    known = HydraConfig.instance()
    before = known.cfg
    try:
        known.set_config(config)  # for ${hydra:...} in the value
        if OmegaConf.select(config, "paths.output_dir") == "":
            raise ConfigError("paths.output_dir must name a folder; found ''")
        check(str(OmegaConf.select(config, key)))
    except ConfigError as error:
        raise Refused(error) from error
    except OmegaConfBaseException:
        return  # Hydra meets it next, and says so
    finally:
        known.cfg = before


def check_run_folder(given: str) -> None:
    """Refuse a folder that holds what is not this run's to write over.

    A folder may be new, empty, or of a run that did not finish and does not go on.

    Args:
        given: The value of `hydra.run.dir`.

    Raises:
        ConfigError: See above; or nothing can be written there.
    """
    names = _names(given, "hydra.run.dir")
    record = _record(Path(given))
    if record.get("status") == "finished" and _is_id(record.get("run_id")):
        raise ConfigError(
            f"hydra.run.dir={given}: holds a finished run; name a new folder, or delete it"
        )
    others = [name for name in names if not BEFORE_THE_RUN.fullmatch(name)]
    if others and not _is_id(record.get("run_id")):
        raise ConfigError(
            f"hydra.run.dir={given}: must be a new or an empty folder, or that of a run that did "
            f"not finish; it holds {others[0]}"
        )
    check_free(Path(given), f"hydra.run.dir={given}")


def check_sweep_folder(given: str) -> None:
    """Refuse a folder that holds something, but no sweep.

    Args:
        given: The value of `hydra.sweep.dir`.

    Raises:
        ConfigError: See above; or nothing can be written there.
    """
    names = _names(given, "hydra.sweep.dir")
    if names and not set(OF_A_SWEEP) & set(names):
        raise ConfigError(
            f"hydra.sweep.dir={given}: must be a new or an empty folder, or that of a sweep; "
            f"it holds {names[0]}"
        )


def check_free(folder: Path, key: str) -> None:
    """Raise ConfigError, which begins with the key, where a run goes on in the folder."""
    holder = holder_of(folder)
    if holder is not None:
        raise ConfigError(f"{key}: the run in {folder} still goes on, as {holder}")


def holder_of(folder: Path) -> str | None:
    """Return which process runs in a folder, such as `process 7 on HOST`, or None."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return None if _take(descriptor) else _holder(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def run_lock(folder: Path, *, writes: bool) -> Iterator[None]:
    """Hold a run folder, so that no other run writes there; a process that dies lets go of it.

    Args:
        folder: The run folder, which is made where it is missing.
        writes: False in all but the first of several processes, which hold nothing.

    Raises:
        ConfigError: Another run goes on there.
    """
    if not writes:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Never through a link: what it points to is not ours to write to.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(folder / LOCK, flags, 0o644)
    try:
        if not _take(descriptor):
            holder = _holder(descriptor)
            raise ConfigError(f"the run in {folder} still goes on, as {holder}")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Return whether nobody else has the lock, which is then ours until the file is closed."""
    try:
        # Unlike flock's, a worker that outlives a killed run does not inherit this one.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # as on a file system without locks
        _log.warning("two runs in one folder would not be noticed, it cannot be locked: %s", error)
    return True


def _holder(descriptor: int) -> str:
    told = os.pread(descriptor, 300, 0).decode(errors="replace").strip()
    return told or "another process"


def _names(given: str, key: str) -> list[str]:
    """Return what lies in a folder, sorted; nothing where there is none yet.

    Raises:
        ConfigError: It cannot be one, or nothing can be written there.
    """
    folder = Path(given)
    try:
        os.stat(folder)
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        check_place(folder, key=key)
        return []
    except OSError as error:  # a file, a name that is too long, a folder of others
        raise ConfigError(f"{key}={given}: cannot be used: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}={given}: cannot be written in")
    return names


def _record(folder: Path) -> dict[str, Any]:
    """Return what `run.json` holds; nothing where it is none of ours."""
    try:
        found: Any = read_json(folder / "run.json")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and RUN_ID.fullmatch(value) is not None
