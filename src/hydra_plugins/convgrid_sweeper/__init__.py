"""Hydra's door to convgrid's sweeps. Hydra imports this at every start, so the work is imported when it begins."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ConvgridSweeper(Sweeper):
    """Hand a sweep's overrides to convgrid; no launcher, no folder, no multirun.yaml.

    Args:
        params: Overrides by key; they are read from the config, where an experiment's stand as well.
    """

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        del params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what composes the points; each is trained by convgrid, not by the task function."""
        del task_function
        self._loader, self._config = hydra_context.config_loader, config

    def sweep(self, arguments: Sequence[str]) -> None:
        """Run the sweep; the user's mistake must not become Hydra's traceback."""
        from convgrid.config import Composer
        from convgrid.errors import ConvgridError
        from convgrid.sweep import retyped, run

        composer = Composer(self._config.hydra.job.config_name, self._loader)
        try:
            status = run(self._config, arguments, composer, retyped(*sys.argv))
        except ConvgridError as error:
            print(error.tell(), file=sys.stderr)
            status = 1
        if status:
            sys.exit(status)
