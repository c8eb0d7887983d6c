"""`python run.py` and `convgrid run`: check -> compose -> plan, or train."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from convgrid.cli.told import told
from convgrid.config import CONF, check, from_hydra, mistakes_in_values, planned, register_experiments
from convgrid.errors import ConvgridError, refuse
from convgrid.runs.find import find, stored_settings
from convgrid.runs.trial import is_finished
from convgrid.system.processes import warm_up
from convgrid.terminal import result_rows, show_plan, show_result
from convgrid.tracking.writer import followed, start_writer

SWEEPS = frozenset({"-m", "--multirun"})


def run(argv: Sequence[str]) -> int:
    """Do what a command line says.

    Args:
        argv: Hydra's overrides and flags, without the program's name.

    Returns:
        The exit status: 0, 1 after the user's mistake, 130 after Ctrl-C.
    """
    return told(lambda: _run(argv))


def _run(argv: Sequence[str]) -> int:
    if _will_sweep(argv):
        warm_up()  # torch takes longer to import than all that is checked and composed meanwhile
    register_experiments()
    command = check(argv)
    if command.composed is not None and command.composed.hydra.mode == RunMode.MULTIRUN:
        from convgrid.sweep import retyped
        from convgrid.sweep import run as run_sweep

        return run_sweep(command.composed, command.arguments, command.composer, retyped(*sys.argv))
    if command.composed is not None:
        _plan_or_train(command.composed, command.composed.hydra)
    else:  # it composes twice more, which takes as long as all else in a dry run
        sys.argv[1:] = command.argv
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_start)()
    return 0


def _will_sweep(argv: Sequence[str]) -> bool:
    """Whether trials will be trained by workers, as far as the words alone tell it."""
    flags = {word for word in argv if word.startswith("-")}
    return bool(flags) and flags <= SWEEPS and not any(word.startswith(("dry_run=", "hydra")) for word in argv)


def _start(cfg: DictConfig) -> None:
    """Hydra calls this with the composed config; what the user did wrong must not become Hydra's traceback."""
    try:
        _plan_or_train(cfg, HydraConfig.get())
    except ConvgridError as error:
        print(error.tell(), file=sys.stderr)
        sys.exit(1)


def _plan_or_train(cfg: DictConfig, node: Any) -> None:
    console = Console()
    settings = from_hydra(cfg, node)
    typed = {override.lstrip("+~").partition("=")[0]: override for override in node.overrides.task}
    folder = None
    if settings.values["resume"] is not None:
        folder = find(str(settings.values["resume"]))
        settings = stored_settings(folder, settings, [key for key in typed if key != "resume"])
        typed = {}
    if folder is not None or node.mode == RunMode.MULTIRUN:  # values that the command line alone does not tell
        refuse(mistakes_in_values(settings, typed))
    if settings.values["dry_run"]:
        show_plan(planned(settings), console)
        return
    if folder is not None and is_finished(folder.record):
        show_result(result_rows(folder.path, settings.values["tracking"].get("uri")), console)
        return
    writer = start_writer(settings)  # MLflow is imported beside torch, which a plan does without
    try:
        from convgrid.system.imports import import_lightning

        import_lightning()
        from convgrid.training.trial import run as run_trial

        run_trial(settings, console, folder, partial(followed, writer=writer))
    finally:
        if writer is not None:
            writer.end()
