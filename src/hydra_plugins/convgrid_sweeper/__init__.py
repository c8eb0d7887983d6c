"""Hydra's door to convgrid's sweeps. Hydra imports this at every start, so the work is imported when it begins."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ConvgridSweeper(Sweeper):
    """Hand a sweep's overrides to convgrid's task; no launcher, no folder, no multirun.yaml.

    Args:
        params: Overrides by key; they are read from the config, where an experiment's stand as well.
    """

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        del params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what composes the points, and the task of `convgrid.cli.hydra_flags`, which runs sweeps as well."""
        self._loader, self._config, self._task = hydra_context.config_loader, config, task_function

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run the sweep."""
        from convgrid.cli.hydra_flags import HydraTask
        from convgrid.config import Composer

        assert isinstance(self._task, HydraTask)
        self._task.sweep(self._config, arguments, Composer(self._config.hydra.job.config_name, self._loader))
