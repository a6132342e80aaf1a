"""Check a run folder before anything is written to it, and lock it; imports nothing slow."""

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

from candelabra.config.interpolations import check_interpolation
from candelabra.config.schema import RUN_ID
from candelabra.errors import ConfigError
from candelabra.files import check_place, read_json
from candelabra.processes import TRIAL, rank
from candelabra.run.record import CHECKPOINT, is_of_run

_log = logging.getLogger(__name__)

LOCK = "run.lock"
BEFORE_THE_RUN = re.compile(r"\.hydra|run(\.rank[0-9]+)?\.log|output\.log|" + re.escape(LOCK))
"""Names that may remain in the folder of a run that was refused before its start."""
SWEEP_FILES = (".trials", "multirun.yaml")
LINK_OF_WANDB = re.compile(r"wandb|\.wandb\.[0-9]+\.tmp")
"""Link of a run to its W&B files outside the folder, and its draft; a run replaces both."""


class Refused(SystemExit):
    """Exit that carries a ConfigError through Hydra, which turns errors of callbacks into warnings.

    Args:
        error: Error to raise outside Hydra.
    """

    def __init__(self, error: ConfigError) -> None:
        super().__init__(str(error))
        self.error = error


class RunPlace(Callback):
    """Hydra callback that checks the folder of a run or sweep before Hydra creates it.

    Args:
        resumes: Whether the run in the folder is resumed.
    """

    def __init__(self, *, resumes: bool = False) -> None:
        self.resumes = resumes

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Raise Refused if a run must not use the folder; Hydra calls this before it writes."""
        _check_setting(config, "hydra.run.dir", check_run_folder)
        if not self.resumes and TRIAL not in os.environ:  # a sweep itself decides about its trials
            _check_setting(config, "hydra.run.dir", check_not_resumable)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Raise Refused if a sweep must not use the folder; Hydra calls this before it writes."""
        _check_setting(config, "hydra.sweep.dir", check_sweep_folder)


def _check_setting(config: DictConfig, key: str, check: Callable[[str], None]) -> None:
    """Resolve the value of a key and check it; raise Refused with the ConfigError of the check."""
    if rank() != 0:  # only the first process checks, since it may already write to the folder
        return
    hydra_config = HydraConfig.instance()
    before = hydra_config.cfg
    try:
        hydra_config.set_config(config)  # resolves ${hydra:...} in the value
        for used in ("paths.output_dir", key):
            check_interpolation(config, used)
        if OmegaConf.select(config, "paths.output_dir") == "":
            raise ConfigError("paths.output_dir must name a folder; found ''")
        check(str(OmegaConf.select(config, key)))
    except ConfigError as error:
        raise Refused(error) from error
    except OmegaConfBaseException:
        return  # Hydra resolves the value next, and reports the error
    finally:
        hydra_config.cfg = before


def check_run_folder(given: str) -> None:
    """Check that a run may write to a folder without overwriting anything else.

    The folder may be new, empty, or that of a run that neither finished nor is still running.

    Args:
        given: Value of `hydra.run.dir`.

    Raises:
        ConfigError: If the folder has other content, or is not writable.
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
    for path in (Path(given, name) for name in names):
        # Opening a named pipe in place of the log would block without end.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ConfigError(f"hydra.run.dir={given}: {path.name} is neither a file nor a folder")
    check_links(Path(given), f"hydra.run.dir={given}")
    check_free(Path(given), f"hydra.run.dir={given}")


def check_not_resumable(given: str) -> None:
    """Check that a new run replaces no run that can be resumed.

    Args:
        given: Value of `hydra.run.dir`.

    Raises:
        ConfigError: The folder has the checkpoint of a run that did not finish.
    """
    record = _record(Path(given))
    checkpoint = Path(given) / CHECKPOINT
    if _is_id(record.get("run_id")) and is_of_run(checkpoint, record):
        raise ConfigError(
            f"hydra.run.dir={given}: holds a run that did not finish and can go on, by "
            f"resume={given}; name a new folder, or delete it"
        )


def check_sweep_folder(given: str) -> None:
    """Check that a folder is new, empty, or that of a sweep.

    Args:
        given: Value of `hydra.sweep.dir`.

    Raises:
        ConfigError: If the folder has other content, or is not writable.
    """
    names = _names(given, "hydra.sweep.dir")
    if names and not set(SWEEP_FILES) & set(names):
        raise ConfigError(
            f"hydra.sweep.dir={given}: must be a new or an empty folder, or that of a sweep; "
            f"it holds {names[0]}"
        )
    check_links(Path(given), f"hydra.sweep.dir={given}")


def check_links(folder: Path, key: str) -> None:
    """Raise ConfigError, with the key in front, if a link in a folder leads out of it."""
    for file in folder.rglob("*"):
        if file.is_symlink() and not (LINK_OF_WANDB.fullmatch(file.name) or _inside(file, folder)):
            raise ConfigError(f"{key}: {file} is a link out of the folder")


def _inside(file: Path, folder: Path) -> bool:
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links is a RuntimeError before Python 3.13
        return False


def check_free(folder: Path, key: str) -> None:
    """Raise ConfigError, with the key in front, if a run is active in the folder."""
    holder = holder_of(folder)
    if holder is not None:
        raise ConfigError(f"{key}: the run in {folder} is still running, as {holder}")


def holder_of(folder: Path) -> str | None:
    """Return the process that runs in a folder, such as `process 7 on HOST`, or `None`."""
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
    """Lock a run folder against other runs; the lock ends with the process.

    Args:
        folder: Run folder; it is created if it is missing.
        writes: Whether this process writes to the folder and so takes the lock. Of several
            processes of a run, only the first one does.

    Raises:
        ConfigError: If another run is active in the folder.
    """
    if not writes:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Do not follow a link: its target may belong to somebody else.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(folder / LOCK, flags, 0o644)
    try:
        if not _take(descriptor):
            holder = _holder(descriptor)
            raise ConfigError(f"the run in {folder} is still running, as {holder}")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Try to take the lock, which lasts until the file is closed; return whether it was free."""
    try:
        # Workers inherit a lock of flock, but not this one. A worker may outlive a killed run.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # such as on a file system without locks
        _log.warning(
            "the run folder cannot be locked, so a second run in it would not be noticed: %s", error
        )
    return True


def _holder(descriptor: int) -> str:
    holder = os.pread(descriptor, 300, 0).decode(errors="replace").strip()
    return holder or "another process"


def _names(given: str, key: str) -> list[str]:
    """Return the sorted names in a folder; an empty list if the folder does not exist.

    Raises:
        ConfigError: If the path cannot be a folder, or is not writable.
    """
    folder = Path(given)
    try:
        os.stat(folder)
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        check_place(folder, key=key)
        return []
    except OSError as error:  # such as a file, a name that is too long, or missing permissions
        raise ConfigError(f"{key}={given}: cannot be used: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{key}={given}: is not writable")
    return names


def _record(folder: Path) -> dict[str, Any]:
    """Return the content of `run.json`, or an empty dictionary if it is unreadable."""
    try:
        record: Any = read_json(folder / "run.json")
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and RUN_ID.fullmatch(value) is not None
