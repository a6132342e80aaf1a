"""Run one training with its record: whatever happens, the run folder says how it ended."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from candelabra.build.rows import tasks_data
from candelabra.bundle.transfer import check_start
from candelabra.config.messages import building
from candelabra.config.schema import plain, run_id_of
from candelabra.config.validation import validate
from candelabra.errors import Ended, TrainingError
from candelabra.processes import rank
from candelabra.run.place import run_lock
from candelabra.run.record import RunFolder
from candelabra.tables import show

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from candelabra.run.resume import StoredRun


def check_settings(cfg: DictConfig) -> None:
    """Check a training's configuration, and the bundle that it starts from.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The files of a source are missing.
        BundleError: `init_from` names no bundle.
    """
    validate(cfg)
    if cfg.init_from is not None:
        check_start(cfg.init_from, cfg.init_heads, list(cfg.tasks))


def run(
    cfg: DictConfig,
    folder: Path,
    overrides: list[str],
    *,
    config_dirs: Sequence[str] = (),
    resume: StoredRun | None = None,
) -> dict[str, float]:
    """One training with its record; the folder says how it ended, whatever happens.

    Args:
        cfg: A configuration that passed `validate`.
        folder: The run folder.
        overrides: What the person typed, for the record.
        config_dirs: Folders of yamls beside candelabra's own, for the record.
        resume: The run that goes on; None starts one.

    Returns:
        The metrics, as in `metrics.json`.

    Raises:
        ConfigError: Another run goes on in the folder.
    """
    with run_lock(folder, writes=rank() == 0):
        return _recorded(cfg, folder, overrides, config_dirs=config_dirs, resume=resume)


def _recorded(
    cfg: DictConfig,
    folder: Path,
    overrides: list[str],
    *,
    config_dirs: Sequence[str],
    resume: StoredRun | None,
) -> dict[str, float]:
    """As `run`, in a folder that is held."""
    if resume is None:
        record = RunFolder(folder, run_id_of(folder), writes=rank() == 0)
        record.start(plain(cfg), overrides, config_dirs)
    else:
        record = RunFolder(folder, resume.record["run_id"], dict(resume.record), writes=rank() == 0)
        record.go_on()
    try:
        with building():
            data = tasks_data(cfg.tasks)
        # Torch and Lightning take seconds to import, so bad rows are reported before.
        from candelabra.run.train import train

        metrics = train(cfg, data, record, resume=resume)
    except BaseException as error:  # recorded, whatever it is, and raised again
        interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
        resume_file = record.path / "checkpoints" / "resume.ckpt"
        if interrupted and not isinstance(error, Ended) and resume_file.exists():
            show(f"go on with: candelabra train resume={record.path}")
        if rank() != 0:
            # The first process only sees that this one is gone; run.rankN.log says why.
            _log.error("process %d has failed", rank(), exc_info=error)
        try:
            record.finish("interrupted" if interrupted else "failed", error=repr(error))
        except OSError as full:  # the same disk, as a rule; `error` is what tells more
            _log.warning("the end of the run cannot be recorded: %s", full)
        if isinstance(error.__context__, KeyboardInterrupt):
            # Lightning makes a plain exit with status 1 of it.
            raise KeyboardInterrupt from error
        if isinstance(error, RuntimeError) and re.search(
            r"DataLoader worker .*(pid|exit)", str(error)
        ):
            raise TrainingError(
                f"a process that prepares batches has died: {error} "
                "Memory may be short: num_workers=0 does without such processes"
            ) from error
        raise
    record.finish("finished")
    return metrics
