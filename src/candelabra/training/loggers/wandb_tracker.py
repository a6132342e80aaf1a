"""Logger for W&B: offline by default, and no failure of W&B ends a training."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import (  # type: ignore[attr-defined]
    DummyExperiment,
    rank_zero_experiment,
)
from pytorch_lightning.utilities import rank_zero_only
from wandb.sdk.lib.service.service_token import WandbServiceConnectionError
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError
from wandb.sdk.mailbox.mailbox_handle import ServerResponseError

from candelabra.files import drafted
from candelabra.training.axes import GLOBAL_STEP, axis_of, chart_name, examples_axis
from candelabra.training.loggers.wandb_service import within_seconds
from candelabra.training.loggers.wandb_settings import take_settings

_log = logging.getLogger(__name__)

Mode = Literal["offline", "online"]
Media = Callable[[], Iterable[tuple[str, Any]]]
"""Makes the names and values of tables, charts and pictures."""

_LOST_SERVICE = (
    OSError,
    HandleAbandonedError,
    MailboxClosedError,
    WandbServiceConnectionError,
)
_FAILURES = (wandb.Error, ServerResponseError, *_LOST_SERVICE)
_BAD_MEDIA = (
    *(wandb.Error, OSError, ValueError, TypeError, LookupError, AttributeError),
    *(RuntimeError, AssertionError, ImportError, ArithmeticError),
)
"""Errors of damaged files, and of W&B's checks of types and sizes, when media are made."""


class WandbTracker(WandbLogger):
    """Lightning's W&B logger for long runs, and for several runs in one process.

    The files of all runs are in `save_dir/wandb`, which `wandb leet` opens; `run_dir/wandb` links
    to those of this run. Nothing is started before the first use. After the first failure of W&B
    the logger warns once and does nothing more: the CSV file in the run folder has every metric.

    Metrics have the names of `chart_name`, so that scores and losses are the first charts.

    Args:
        save_dir: Folder of all runs.
        run_dir: Folder of this run.
        name: Name of the run.
        id: Id of the run, which a resumed run keeps.
        project: Project in W&B.
        group: Name of the runs that belong together, such as those of a sweep.
        job_type: Kind of the run.
        tags: Words to find the run by.
        mode: `offline` needs no account and no network. `online` falls back to `offline` if nobody
            is logged in or W&B does not answer; it never prompts. Settings files in the working
            folder are ignored: they could send the user's key to another server.
        connect_timeout_seconds: Time that `online` waits for an answer.
        finish_timeout_seconds: Time that a run waits for W&B, as to write or send the rest at its
            end.
        max_predictions: Maximum number of test predictions of a task that a run logs.
        texts: Whether it logs their texts.

    Raises:
        ValueError: If `mode` is unknown.
    """

    _experiment: wandb.Run | None

    def __init__(
        self,
        *,
        save_dir: str | Path,
        run_dir: str | Path,
        name: str,
        id: str,
        project: str = "candelabra",
        group: str | None = None,
        job_type: str = "train",
        tags: Sequence[str] = (),
        mode: Mode = "offline",
        connect_timeout_seconds: float = 30.0,
        finish_timeout_seconds: float = 60.0,
        max_predictions: int = 1000,
        texts: bool = False,
    ) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}; found {mode!r}")
        super().__init__(
            name=name,
            id=id,
            project=project,
            save_dir=Path(save_dir).absolute(),
            group=group,
            job_type=job_type,
            tags=list(tags),
        )
        self._run_dir = Path(run_dir).absolute()
        self._mode: Mode = mode
        self._connect_timeout_seconds = connect_timeout_seconds
        self._finish_timeout_seconds = finish_timeout_seconds
        self.max_predictions = max_predictions
        self.texts = texts
        self._media: list[Media] = []
        self._tasks: set[str] = set()
        self._counted_tasks: set[str] = set()
        self._defined: set[str] = set()
        self._stopped = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the W&B run, started by the first use; a dummy after a failure or `finish`."""
        self._attempt(lambda run: None)
        return DummyExperiment() if self._stopped else self._experiment

    def define_axes(self, tasks: Iterable[str]) -> None:
        """Draw `train/<task>/*` against `<task>/examples`, from the row on that logs it."""
        self._tasks.update(tasks)

    @rank_zero_only
    def log_config(self, config: Mapping[str, Any]) -> None:
        """Store the resolved configuration, a plain dict without secrets."""
        self._attempt(lambda run: run.config.update(dict(config), allow_val_change=True))

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Store the hyperparameters of the module."""
        self._attempt(lambda run: super(WandbTracker, self).log_hyperparams(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one row, with the global step as a metric."""
        row = dict(metrics) if step is None else {**metrics, GLOBAL_STEP: step}
        self._attempt(lambda run: self._log_row(run, row))

    @rank_zero_only
    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """Store the final scores, in place of the last value that was logged of each metric."""
        scores = {chart_name(key): value for key, value in metrics.items() if key.count("/") < 3}
        self.update_summary(scores)

    @rank_zero_only
    def update_summary(self, values: Mapping[str, Any]) -> None:
        """Store values in the summary under their own names."""
        self._attempt(lambda run: run.summary.update(dict(values)))

    @rank_zero_only
    def log_at_end(self, media: Media) -> None:
        """Log media when the run ends, within the time that its end may take.

        An error of `media` is a warning.
        """
        self._media.append(media)

    @rank_zero_only
    def finish(self, exit_code: int) -> None:
        """End the run as finished (0) or failed (any other code); later calls do nothing."""
        if self._experiment is not None:
            self._attempt(lambda run: self._end(run, exit_code))
        self._stopped = True

    def _end(self, run: wandb.Run, exit_code: int) -> None:
        """Log the media, and end the run."""
        for media in self._media:
            try:
                made = dict(media())
            except _BAD_MEDIA as error:
                _log.warning(
                    "W&B gets no tables or pictures of run %s: %s: %s",
                    self._id,
                    type(error).__name__,
                    error,
                )
                continue
            if made:
                run.log(made)
        run.finish(exit_code=exit_code)

    def _log_row(self, run: wandb.Run, row: dict[str, float]) -> None:
        """Log a row, and define the axis of each new metric."""
        self._counted_tasks.update(task for task in self._tasks if examples_axis(task) in row)
        axes = {GLOBAL_STEP, *map(examples_axis, self._counted_tasks)}
        # One definition per metric: if several patterns match, W&B uses any of them.
        for metric in row.keys() - axes - self._defined:
            axis = axis_of(metric, self._counted_tasks)
            run.define_metric(chart_name(metric), step_metric=chart_name(axis))
            self._defined.add(metric)
        run.log({chart_name(metric): value for metric, value in row.items()})

    def _attempt(self, action: Callable[[wandb.Run], object]) -> None:
        """Apply an action to the run, which is started if needed; give up if W&B fails."""
        if self._stopped:
            return
        try:
            if self._experiment is None:
                self._experiment = self._start()
            within_seconds(self._finish_timeout_seconds, partial(action, self._experiment))
        except _FAILURES as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Warn once, and do nothing from then on."""
        self._stopped = True
        _log.warning(
            "W&B tracking of run %s stopped; the run itself continues: %s: %s",
            self._id,
            type(error).__name__,
            error,
        )
        if isinstance(error, _LOST_SERVICE):
            # Forget the dead service, so that the next run of a sweep starts a new one.
            with contextlib.suppress(*_FAILURES):
                wandb.teardown()

    def _start(self) -> wandb.Run:
        """Start the run, online if requested and possible."""
        Path(self._wandb_init["dir"]).mkdir(parents=True, exist_ok=True)
        # The log of W&B keeps its tracebacks; run.log gets one line.
        logging.getLogger("wandb").propagate = False
        run = self._start_online() if self._mode == "online" else None
        run = run or self._init("offline")
        self._link(Path(run.dir).parent)
        return run

    def _start_online(self) -> wandb.Run | None:
        """Return the run; warn and return `None` if W&B cannot be used."""
        take_settings()
        try:
            if wandb.login(prompt=False, verify=False):
                run = self._init("online")
                _log.info("W&B: %s", run.url)
                return run
            reason = "nobody is logged in; run `wandb login`"
        except wandb.Error as error:
            reason = str(error)
            # The service keeps the id of a run that could not start.
            with contextlib.suppress(*_FAILURES):
                wandb.teardown()
        _log.warning("W&B stays offline, `wandb sync` uploads the run later: %s", reason)
        return None

    def _init(self, mode: Mode) -> wandb.Run:
        """Start a run of W&B without side effects on other runs of this process."""
        take_settings()
        settings = wandb.Settings(
            silent=True,
            console="off",  # run.log has the output
            disable_code=True,
            disable_git=True,  # run.json has the commit; a patch could hold secrets
            init_timeout=self._connect_timeout_seconds,
            finish_timeout=self._finish_timeout_seconds,
        )
        resume = "allow" if mode == "online" else None  # offline, W&B has nothing to resume from
        settings_of_lightning = {k: v for k, v in self._wandb_init.items() if k != "anonymous"}
        # create_new: another run of this process is neither returned nor ended.
        own = {"mode": mode, "resume": resume, "reinit": "create_new", "settings": settings}
        return wandb.init(**{**settings_of_lightning, **own})

    def _link(self, folder: Path) -> None:
        """Link the files of W&B from the run folder; warn if that fails."""
        link = self._run_dir / "wandb"
        try:
            with drafted(link) as draft:
                draft.symlink_to(os.path.relpath(folder.resolve(), self._run_dir.resolve()))
        except OSError as error:
            _log.warning("no link %s to W&B's files in %s: %s", link, folder, error)
