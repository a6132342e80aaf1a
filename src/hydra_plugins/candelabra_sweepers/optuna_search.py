"""The Hydra sweeper of `hydra/sweeper=optuna`; Hydra imports this file in every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from candelabra.tuning.search import Search


class OptunaSweeper(Sweeper):
    """Search over settings with Optuna, with any launcher.

    Args:
        settings: The keys of `conf/hydra/sweeper/optuna.yaml`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.search: Search | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Check the settings, and instantiate the launcher that `hydra/launcher` selects.

        Raises:
            ConfigError: A setting is wrong, or Optuna is not installed.
        """
        from candelabra.errors import ConfigError

        try:
            from candelabra.tuning.search import Search
            from candelabra.tuning.settings import search_settings
        except ModuleNotFoundError as error:
            if error.name != "optuna":
                raise
            raise ConfigError(
                'hydra/sweeper=optuna needs its extra: pip install "candelabra[search]"'
            ) from error
        settings = search_settings(self.settings)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.search = Search(settings, config, hydra_context.config_loader, launcher)

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials.

        Args:
            arguments: Overrides of the command; those that sweep are searched.
        """
        assert self.search is not None, "Hydra calls setup before sweep"
        self.search.run(arguments)
