"""What Hydra itself does: --help, --cfg and --info, and runs and sweeps by its own launchers and sweepers."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from hydra import version
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from convgrid.config import CONF, Composer, Composition, Grid, Settings, from_hydra, grids
from convgrid.config.hydra_internals import flags_parser, run_hydra
from convgrid.config.secrets import secrets_kept
from convgrid.system.text import escaped

Train = Callable[[DictConfig, Any], object]
RunSweep = Callable[[Sequence[Grid], Composition, Settings], int]


def ask_hydra(words: Sequence[str], train: Train, sweep: RunSweep) -> int:
    """Let Hydra do what a command line says.

    Args:
        words: Its overrides and flags, checked.
        train: Is given each config that Hydra composes for a run, and its `hydra` node.
        sweep: Is given what Hydra has composed for a sweep.

    Returns:
        The exit status.

    Raises:
        Exception: What a run raised, without Hydra's words about it.
    """
    version.setbase("1.3")
    parser = flags_parser()
    args = parser.parse_args([*words])
    task, printed = HydraTask(train, sweep), io.StringIO()
    try:
        if args.help or args.hydra_help or args.cfg or args.info:  # Hydra would show a traceback for a broken pipe
            with redirect_stdout(printed), secrets_kept():
                run_hydra(args, parser, task, CONF, "config")
        else:
            run_hydra(args, parser, task, CONF, "config")
    except SystemExit as end:
        if task.error is not None:
            raise task.error from None
        if end.code:
            raise
    finally:
        print(escaped(printed.getvalue()), end="")
    return task.status


class HydraTask:
    """What Hydra calls for each run, and convgrid's sweeper for a sweep."""

    def __init__(self, train: Train, sweep: RunSweep) -> None:
        self._train, self._sweep = train, sweep
        self.status, self.error = 0, None

    def __call__(self, config: DictConfig) -> None:
        """Train what Hydra has composed."""
        with self._kept():
            self._train(config, HydraConfig.get())

    def sweep(self, config: DictConfig, arguments: Sequence[str], composer: Composer) -> None:
        """Run convgrid's sweep.

        Args:
            config: Composed from what is not swept, with its `hydra` node.
            arguments: The overrides that were typed, with their quotes.
        """
        with self._kept():
            composition = Composition(composer, list(config.hydra.overrides.hydra))
            found = grids(config, arguments, composer.loader)
            self.status = self._sweep(found, composition, from_hydra(config, config.hydra))

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Keep an exception for the caller: Hydra would print it with a traceback, but lets SystemExit pass."""
        try:
            yield
        except Exception as error:
            self.error: Any = error
            raise SystemExit(1) from None
