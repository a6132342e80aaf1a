"""The Hydra launcher of `hydra/launcher=local`; Hydra imports this file in every command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from candelabra.run.local_jobs import LocalJobs


ConfigStore.instance().store(
    group="hydra/launcher",
    name="local",
    node={
        "_target_": "hydra_plugins.candelabra_launchers.local.LocalLauncher",
        "n_jobs": None,
        "memory_gb": 3.0,
    },
    provider="candelabra",
)


class LocalLauncher(Launcher):
    """Run trials on this machine, several at a time where cores and memory allow it.

    Args:
        n_jobs: Trials that run at a time; `None` chooses by cores, memory and GPU.
        memory_gb: Memory of a trial, in GiB, until a trial of this sweep has ended.
    """

    def __init__(self, n_jobs: int | None, memory_gb: float) -> None:
        self.n_jobs = n_jobs
        self.memory_gb = memory_gb
        self.jobs: LocalJobs | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Check the settings.

        Raises:
            ConfigError: A setting is out of its range.
        """
        from candelabra.run.local_jobs import LocalJobs

        self.jobs = LocalJobs(
            hydra_context, task_function, config, n_jobs=self.n_jobs, memory_gb=self.memory_gb
        )

    def at_once(self, overrides: Sequence[str]) -> int:
        """Return how many trials of this kind would run at a time."""
        assert self.jobs is not None, "Hydra calls setup before launch"
        return self.jobs.at_once(overrides)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the trials, and return their results in the order of the trials."""
        assert self.jobs is not None, "Hydra calls setup before launch"
        return self.jobs.run(job_overrides, initial_job_idx)
