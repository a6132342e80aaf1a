"""One training: from the configuration to a trained bundle, in order."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from candelabra.config import plain, run_id_of
from candelabra.errors import Ended, TrainingError
from candelabra.hydra_messages import building
from candelabra.launching import rank
from candelabra.reading import tasks_data
from candelabra.report import show
from candelabra.run_place import run_lock
from candelabra.training.run_folder import RunFolder

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from candelabra.resuming import StoredRun


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
        metrics = train(cfg, record, resume)
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


def train(cfg: DictConfig, record: RunFolder, resume: StoredRun | None = None) -> dict[str, float]:
    """Data, model, trainer, fit, test, bundle: the one path from configuration to result."""
    with building():
        data = tasks_data(cfg.tasks)

    # The rows are good; from here on imports take seconds.
    from candelabra import finishing, report
    from candelabra.assembly import run_parts
    from candelabra.quiet import quiet
    from candelabra.training import drift
    from candelabra.training.tracking import tracked

    quiet()
    with building():
        parts = run_parts(cfg, data, record, resume)
    module, datamodule, trainer = parts.module, parts.datamodule, parts.trainer
    model_table = report.model_table(module.model, parts.schedule.total_steps)
    report.show(report.tasks_table(data, parts.schedule), model_table)
    record.update(**parts.facts(data))

    config = plain(cfg)
    with tracked(trainer, config, cfg.tasks):
        started = time.perf_counter()
        checkpoint = None if resume is None else resume.checkpoint
        if resume is None:
            drift.score_before(trainer, module, datamodule)
        trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
        record.update(**finishing.pace(module, time.perf_counter() - started))
        metrics = finishing.take_best(trainer, module)
        if cfg.test:
            metrics |= finishing.test(trainer, module, datamodule, record.path)
        if trainer.is_global_zero:
            record.metrics(metrics)
            bundle = finishing.bundle(config, module.model, parts.tokenizer, parts.labels, metrics)
            bundle.save(record.path / "bundle")
    report.show(*report.result_tables(metrics), f"run folder: {record.path}")
    return metrics
