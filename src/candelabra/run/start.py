"""Run one training, and record in its folder how it ended, whatever happens."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from candelabra.build.early import check_parts
from candelabra.build.rows import tasks_data
from candelabra.bundle.teachers import check_needed, teacher_folders
from candelabra.bundle.transfer import check_start
from candelabra.config.messages import building
from candelabra.config.plain_form import plain
from candelabra.config.schema import command_of, run_id_of
from candelabra.config.validation import training_tasks, validate
from candelabra.errors import ConfigError, Ended, PrunedError, TrainingError, UserError
from candelabra.processes import rank
from candelabra.run.place import run_lock
from candelabra.run.record import RunFolder
from candelabra.tables import show

if TYPE_CHECKING:
    from candelabra.run.resume import StoredRun

_log = logging.getLogger(__name__)

DEAD_WORKER = re.compile(r"DataLoader worker .*(pid|exit)")
"""Message of PyTorch about a process of a DataLoader that died."""
LOST_PROCESS = re.compile(r"/gloo/|NCCL|TCPStore|clients joined")
"""Messages of PyTorch about another process of the run that died or does not answer."""


def check_settings(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Check a training's configuration, and the bundle that it starts from.

    Args:
        cfg: The configuration.
        overrides: Overrides that are meant for this run alone. Those of a sweep or a resumed run
            are left out, since a baseline without a teacher, or the sample, may share them.

    Raises:
        ConfigError: A setting is wrong or has no effect, or unlabelled texts have no teacher.
        DataError: The files of a source are missing.
        BundleError: `init_from` or `teacher` names no bundle.
    """
    validate(cfg)
    _check_data_dir(cfg, overrides)
    check_parts(cfg)
    if command_of(cfg) == "pretrain":
        return
    if cfg.init_from is not None:
        check_start(cfg.init_from, cfg.init_heads, list(cfg.tasks))
    check_needed(overrides, cfg.teacher)
    trained = training_tasks(cfg.tasks)
    taught = teacher_folders(cfg.teacher, trained)
    for name, task in cfg.tasks.items():
        if task.get("unlabelled") is None:
            continue
        if name not in trained:
            raise ConfigError(
                f"tasks.{name}.unlabelled={task.unlabelled} is for training, and "
                f"tasks.{name}.train is false"
            )
        if not (name in taught and cfg.distillation.weight):
            raise ConfigError(
                f"tasks.{name}.unlabelled={task.unlabelled} needs a teacher of this task, because "
                "its answers are all that such texts teach: give teacher=BUNDLE and a "
                "distillation.weight above 0"
            )


def _check_data_dir(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise ConfigError if a folder with data is given, and the run would train on other data."""
    given = any(word.lstrip("+").startswith("data_dir=") for word in overrides)
    tasks = str(OmegaConf.to_container(cfg.tasks, resolve=True))
    if given and cfg.data_dir is not None and str(cfg.data_dir) not in tasks:
        raise ConfigError(
            f"data_dir={cfg.data_dir} is read by no task of {', '.join(map(str, cfg.tasks))}: "
            "tasks=NAME or experiment=NAME chooses tasks that read it"
        )


def run(
    cfg: DictConfig,
    folder: Path,
    overrides: list[str],
    *,
    config_dirs: Sequence[str] = (),
    resume: StoredRun | None = None,
) -> dict[str, float]:
    """Train once, and record in the run folder how the training ended, whatever happens.

    Args:
        cfg: A configuration that passed `validate`.
        folder: The run folder.
        overrides: Hydra overrides, for the record.
        config_dirs: Folders of yamls that were used besides candelabra's own, for the record.
        resume: The run to resume; `None` starts a new run.

    Returns:
        The metrics, as in `metrics.json`; none if a search ended the run early.

    Raises:
        ConfigError: Another process trains in the folder.
    """
    with run_lock(folder, writes=rank() == 0):
        record = _open_record(cfg, folder, overrides, config_dirs, resume)
        try:
            with building():
                data = tasks_data(cfg.tasks)
            # Report bad rows first, since Torch and Lightning take seconds to import.
            if command_of(cfg) == "pretrain":
                from candelabra.run.pretrain import pretrain as train
            else:
                from candelabra.run.train import train

            metrics = train(cfg, data, record, resume=resume)
        except PrunedError as pruned:
            record.finish("pruned")
            show(f"the search ended this trial: {pruned}")
            return {}
        except BaseException as error:
            better = explanation(error)
            _record_failure(record, better, command_of(cfg))
            if better is error:
                raise
            raise better from error
        record.finish("finished")
        return metrics


def _open_record(
    cfg: DictConfig,
    folder: Path,
    overrides: list[str],
    config_dirs: Sequence[str],
    resume: StoredRun | None,
) -> RunFolder:
    """Write the first entries of `run.json`, or reopen that of the resumed run."""
    if resume is None:
        record = RunFolder(folder, run_id_of(folder), writes=rank() == 0)
        record.start(plain(cfg), overrides, config_dirs)
    else:
        record = RunFolder(folder, resume.record["run_id"], dict(resume.record), writes=rank() == 0)
        record.reopen()
    return record


def _record_failure(record: RunFolder, error: BaseException, command: str) -> None:
    """Record that the run failed or was interrupted, and print the command that resumes it."""
    interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
    resume_file = record.path / "checkpoints" / "resume.ckpt"
    if interrupted and not isinstance(error, Ended) and resume_file.exists():
        show(f"go on with: candelabra {command} resume={record.path}")
    if rank() != 0 and not interrupted:
        # The first process only notices that this one exited, so write the reason to run.rankN.log.
        known = isinstance(error, UserError)
        _log.error("process %d has failed: %s", rank(), error, exc_info=None if known else error)
    try:
        if interrupted:
            record.finish("interrupted", error="ended by a signal")
        else:
            record.finish("failed", error=repr(error))
    except OSError as unwritable:
        # A full disk usually causes both errors. The caller raises the first one.
        _log.warning("the end of the run cannot be recorded: %s", unwritable)


def explanation(error: BaseException) -> BaseException:
    """Return the error that best explains the failure of a training to the user.

    Args:
        error: Error raised by the training.

    Returns:
        A `TrainingError` if a process that prepares batches or another process of the run died, a
        `KeyboardInterrupt` if Lightning turned one into a plain exit, else `error` itself.
    """
    if isinstance(error.__context__, KeyboardInterrupt):
        return KeyboardInterrupt()
    if isinstance(error, RuntimeError) and DEAD_WORKER.search(str(error)):
        return TrainingError(
            f"a process that prepares batches has died: {error} "
            "Memory may be short: num_workers=0 avoids such processes"
        )
    if isinstance(error, RuntimeError) and LOST_PROCESS.search(str(error)):
        return TrainingError(f"another process of this run has died or does not answer: {error}")
    return error
