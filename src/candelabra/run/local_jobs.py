"""Trials on this machine: one after the other in this process, or several at a time.

Hydra keeps the trial that runs in global state, so each of several trials at a time has a process
of its own for it, a fork of this one. That process starts the training and waits for it.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from candelabra.config.rules import optional, real, whole
from candelabra.errors import ConfigError
from candelabra.processes import ending_signals
from candelabra.run.capacity import GIB, fitting_at_once, free_gib, num_cores
from candelabra.run.preloaded import THREADS, Preloaded
from candelabra.run.sweep import OTHER_RUN, Sweep, has_other_run
from candelabra.run.sweep_progress import SweepProgress

KEY = "hydra.launcher"
REFRESH_SECONDS = 1.0
KIB_IN_A_GIB = 2**20
PLACES = tuple(f"trainer.{key}=" for key in ("accelerator", "devices", "num_nodes"))
TRAINER_WORDS = ("trainer=", "experiment=", "debug=", *PLACES)
"""Beginnings of the overrides that can choose other devices."""


@dataclass
class Running:
    """A trial that runs.

    Attributes:
        place: Its place in the list of trials.
        slot: Which of the trials at a time it is.
        process: The process that waits for it.
        result: What that process sends at its end: result and peak memory in GiB.
    """

    place: int
    slot: int
    process: ForkProcess
    result: Connection


class LocalJobs:
    """Runs the trials of a sweep on this machine.

    Args:
        context: Hydra's loader of configurations and its callbacks.
        task: Function that runs a trial.
        config: Hydra's configuration of the sweep.
        n_jobs: Trials that run at a time; `None` chooses by cores, memory and GPU.
        memory_gb: Memory of a trial, in GiB, until a trial has ended.

    Raises:
        ConfigError: `n_jobs` or `memory_gb` is out of its range.
    """

    def __init__(
        self,
        context: HydraContext,
        task: TaskFunction,
        config: DictConfig,
        *,
        n_jobs: int | None,
        memory_gb: float,
    ) -> None:
        optional(whole(1))(f"{KEY}.n_jobs", n_jobs)
        real(above=0.0)(f"{KEY}.memory_gb", memory_gb)
        self.context = context
        self.task = task
        self.config = config
        self.n_jobs = n_jobs
        self.memory_gb = memory_gb
        self._largest_gb = 0.0
        self._num_started = 0
        self._preloaded: dict[int, Preloaded] = {}

    def at_once(self, overrides: Sequence[str]) -> int:
        """Return how many trials like the one with these overrides run at a time."""
        if self.n_jobs is not None:
            return self.n_jobs
        trial = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        return fitting_at_once(trial.trainer, self._largest_gb or self.memory_gb)

    def run(self, trials: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Run trials, and return their results in the order of the trials.

        Args:
            trials: Overrides of each trial.
            first: Number of the first trial.
        """
        setup_globals()
        self._check_folders(trials, first)
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        at_once = min(len(trials), self._fewest_at_once(trials)) if len(trials) > 1 else 1
        if at_once > 1:
            return self._several_at_once(trials, first, at_once)
        results = []
        for number, overrides in enumerate(trials, first):
            results.append(self._run(self._composed(number, overrides)))
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return results

    def _check_folders(self, trials: Sequence[Sequence[str]], first: int) -> None:
        """Raise ConfigError, before anything is written, if a trial would replace another run."""
        sweep = Path(str(self.config.hydra.sweep.dir)).absolute()
        for number, words in enumerate(trials, first):
            # A trial with a folder of another name is checked when it starts.
            folder = sweep / str(number)
            own = [word for word in words if not word.lstrip("+~").startswith("hydra")]
            if own == list(words) and has_other_run(folder, own):
                raise ConfigError(f"hydra.sweep.dir={sweep}: {number} has {OTHER_RUN}")

    def _fewest_at_once(self, trials: Sequence[Sequence[str]]) -> int:
        """Return how many of the trials run at a time, by the trainer that needs the most."""
        trainers = {
            tuple(word for word in trial if word.lstrip("+").startswith(TRAINER_WORDS)): trial
            for trial in trials
        }
        return min(map(self.at_once, trainers.values()))

    def _swept(self, trial: Sequence[str]) -> set[str]:
        """Return the keys that the sweeper chooses for each trial; `trial` is one of them."""
        typed = [word for word in self.config.hydra.overrides.task if word not in trial]
        searched = self.config.hydra.sweeper.get("params") or {}
        return {word.partition("=")[0] for word in (*typed, *map(str, searched))}

    def _composed(self, number: int, overrides: Sequence[str]) -> DictConfig:
        """Compose the configuration of a trial."""
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = number
            config.hydra.job.num = number
        return config

    def _run(self, config: DictConfig) -> JobReturn:
        """Run a trial in this process, and wait for it."""
        return run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _several_at_once(
        self, trials: Sequence[Sequence[str]], first: int, at_once: int
    ) -> list[JobReturn]:
        """Run trials in processes of their own; if this process is interrupted, end them all."""
        threads = os.environ.get(THREADS, str(max(1, num_cores() // at_once)))
        free = math.inf if self.n_jobs is not None else free_gib()
        waiting = [*enumerate(trials)][::-1]
        running: list[Running] = []
        results: dict[int, JobReturn] = {}
        with SweepProgress(trials, first, self._swept(trials[0])) as progress:
            try:
                while waiting or running:
                    # The first trials to end show how much memory the others need.
                    fitting = free / self._largest_gb if self._largest_gb else at_once
                    while waiting and len(running) < max(1, int(min(at_once, fitting))):
                        place, overrides = waiting.pop()
                        config = self._composed(first + place, overrides)
                        slot = min({*range(at_once)} - {each.slot for each in running})
                        preloaded = self._libraries(slot, threads, again=len(trials) > at_once)
                        running.append(self._start(place, slot, config, threads, preloaded))
                        progress.begin(first + place)
                    progress.refresh()
                    # A result may be larger than the pipe, so it is read before the process ends.
                    wait([each.result for each in running], REFRESH_SECONDS)
                    for each in [each for each in running if each.result.poll()]:
                        running.remove(each)
                        results[each.place] = self._result(each)
                        progress.end(first + each.place)
            except BaseException:
                _end(running)
                raise
        self._num_started += len(trials)
        return [results[place] for place in range(len(trials))]

    def _libraries(self, slot: int, threads: str, *, again: bool) -> Preloaded | None:
        """Return the process that has the libraries for the trials of a slot.

        Args:
            slot: Which of the trials at a time.
            threads: Threads of a trial.
            again: Whether the slot has several trials; for a single one it would not pay.
        """
        kept = self._preloaded.get(slot)
        if kept is not None and kept.lives() and kept.threads == threads:
            return kept
        if kept is not None:
            self._preloaded.pop(slot).close()
        if not again and not self._num_started:
            return None
        self._preloaded[slot] = Preloaded(threads)
        return self._preloaded[slot]

    def _start(
        self, place: int, slot: int, config: DictConfig, threads: str, preloaded: Preloaded | None
    ) -> Running:
        """Start a trial in a process of its own."""
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)

        def job() -> None:
            """Run the trial, and send its result."""
            _take_signals()
            os.environ[THREADS] = threads
            Sweep().captures, Sweep().preloaded = True, preloaded
            result = self._run(config)
            if result.status is JobStatus.FAILED:
                # Not every error can be sent to another process.
                error = result._return_value
                result.return_value = RuntimeError(f"{type(error).__name__}: {error}")
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            peak = max(peak, 0 if preloaded is None else preloaded.peak)
            sender.send((result, peak / (GIB if sys.platform == "darwin" else KIB_IN_A_GIB)))

        process = context.Process(target=job)
        process.start()
        sender.close()  # this process would otherwise not notice that the other one has died
        return Running(place, slot, process, receiver)

    def _result(self, ended: Running) -> JobReturn:
        """Return the result of a trial, and keep the memory that it needed."""
        try:
            result, peak_gb = ended.result.recv()
        except EOFError:
            ended.process.join()
            code = ended.process.exitcode
            error = RuntimeError(f"the process of a trial has ended with exit status {code}")
            kept = self._preloaded.pop(ended.slot, None)
            if kept is not None:
                kept.close()  # the next trial would read the answers to this one
            return JobReturn(_return_value=error, status=JobStatus.FAILED)
        ended.process.join()
        self._largest_gb = max(self._largest_gb, peak_gb)
        assert isinstance(result, JobReturn)
        return result


def _take_signals() -> None:
    """End this process by SIGTERM only, which the launcher sends.

    Ctrl-C reaches all processes of a terminal. The trial would otherwise be told to end twice, and
    this process would not wait for it.
    """

    def terminated(number: int, frame: FrameType | None) -> None:
        """End this process once."""
        signal.signal(signal.SIGTERM, ignored)
        raise SystemExit(128 + number)

    def ignored(number: int, frame: FrameType | None) -> None:
        """Do nothing; unlike SIG_IGN, the process of the training does not inherit this."""

    signal.signal(signal.SIGTERM, terminated)
    for number in ending_signals():
        if number is not signal.SIGTERM:
            signal.signal(number, ignored)


def _end(running: Sequence[Running]) -> None:
    """Ask every trial to save its state and end, and wait for all of them."""
    for each in running:
        each.process.terminate()
    for each in running:
        each.process.join()
