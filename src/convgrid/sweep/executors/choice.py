"""From the group `sweep/executor` to those who train."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from convgrid.config import Settings, component
from convgrid.errors import ConfigError
from convgrid.sweep.executors.batch import make_launcher
from convgrid.sweep.executors.interface import Launcher, Workers
from convgrid.sweep.executors.local import Local


def launcher_of(settings: Settings) -> Launcher | None:
    """Make what brings machines; it asks for none yet.

    Returns:
        The launcher; None where this machine trains.

    Raises:
        ConfigError: If a package is missing, or the option's file is wrong.
    """
    chosen = component(settings, "sweep/executor")
    if chosen is None:
        return None
    if find_spec("zmq") is None:
        raise ConfigError(f"{chosen.option} needs pyzmq, which is not installed: pip install 'convgrid[cluster]'")
    return make_launcher(chosen)


def workers_of(settings: Settings, launcher: Launcher | None, folder: Path, trained: Sequence[Settings]) -> Workers:
    """Start those who train, or ask for them.

    Args:
        folder: The sweep's.
        trained: Settings of the trials, as far as known.

    Raises:
        ConfigError: If machines are refused, or they could not reach this one.
    """
    sweep, trainer = settings.sweep, settings.trainer
    if launcher is None:
        return Local(
            workers=sweep.workers,
            trials_per_gpu=sweep.trials_per_gpu,
            threads=trainer.threads,
            accelerator=trainer.accelerator,
        )
    from convgrid.sweep.executors.remote import Options, Remote  # pyzmq is an extra

    options = Options(sweep.workers, sweep.trials_per_gpu, trainer.threads, trainer.accelerator)
    return Remote(launcher, settings.executor, folder=folder, options=options, trained=trained)
