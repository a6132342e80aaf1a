"""A Hydra sweeper that launches the runs of a list, each with a folder name of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import MISSING, DictConfig

# Hydra finds the options of a plugin here; a yaml would be one of candelabra's own groups.
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="run_list",
    node={
        "_target_": "hydra_plugins.candelabra_sweepers.run_list.RunListSweeper",
        "file": MISSING,
    },
    provider="candelabra",
)


class RunListSweeper(Sweeper):
    """Launch the runs that a JSON file lists, with any launcher.

    Args:
        file: JSON list of objects with `folder`, the name of the run folder below
            `hydra.sweep.dir`, and `overrides`, the Hydra overrides of the run.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Instantiate the launcher that `hydra/launcher` selects."""
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Launch the listed runs.

        Args:
            arguments: Overrides that all runs share; they come first.

        Returns:
            Hydra's return value of each run.
        """
        assert self.launcher is not None, "Hydra calls setup before sweep"
        runs = json.loads(Path(self.file).read_text(encoding="utf-8"))
        jobs = [
            [*arguments, *run["overrides"], f"hydra.sweep.subdir={run['folder']}"] for run in runs
        ]
        return self.launcher.launch(jobs, initial_job_idx=0)
