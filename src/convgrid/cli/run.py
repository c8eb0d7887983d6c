"""`python run.py` and `convgrid run`: check -> compose -> plan, train or sweep."""

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from omegaconf import DictConfig
from rich.console import Console

from convgrid.cli.exit import Lasting, unwritten
from convgrid.config import Composition, Grid, Settings, check, check_values, from_hydra, register_experiments
from convgrid.model.published import fetch_published
from convgrid.network.plan import Plan
from convgrid.runs.files import blamed_on
from convgrid.runs.find import EPOCHS, find_to_resume, stored_settings
from convgrid.runs.source import check_source, found, pinned, source_notes
from convgrid.runs.trial import CONFIG, RECORD, TrialFolder, is_finished, read_settings
from convgrid.system.processes import preempted_as_interrupted
from convgrid.terminal import plan_notes, result_rows, show_plan, show_result


def run(words: Sequence[str], command: str) -> int:
    """Do what a command line says.

    Args:
        words: Hydra's overrides and flags.
        command: What does the same again, typed in the same folder.

    Returns:
        The exit status.

    Raises:
        ConvgridError: After the user's mistake.
    """
    register_experiments()
    if words and words[0] in ("-sc", "--shell-completion"):
        from convgrid.cli.completion import shell_completion

        return shell_completion(words[1:])
    output = Lasting(sys.stdout)  # a training that has begun ends whole where nobody reads of it
    status = _run(words, command, Console(file=cast("TextIO", output)))
    return status or (0 if output.failure is None else unwritten(output.failure))


def _run(words: Sequence[str], command: str, console: Console) -> int:
    line, command = check(pinned(words)), shlex.join(pinned(shlex.split(command)))
    if line.settings is None:
        from convgrid.cli.hydra_flags import ask_hydra  # it composes once more, which takes as long as a dry run

        return ask_hydra(
            line.argv,
            partial(as_composed, command=command, console=console),
            partial(sweep, command=command, console=console),
        )
    if line.is_sweep:
        return sweep(line.grids, Composition(line.composer), line.settings, command=command, console=console)
    plan_or_train(line.settings, line.arguments, line.plan, command=command, console=console)
    return 0


def as_composed(config: DictConfig, hydra: Any, *, command: str, console: Console) -> None:
    """Plan or train what Hydra has composed, such as a job of its own sweeper, whose values nobody has checked.

    Args:
        hydra: The config's node of Hydra's own.
    """
    settings = from_hydra(config, hydra)
    texts = hydra.overrides.task
    plan_or_train(settings, texts, check_values(settings, texts_by_key(texts)), command=command, console=console)


def sweep(
    grids: Sequence[Grid], composition: Composition, settings: Settings, *, command: str, console: Console
) -> int:
    """Plan a sweep, and train it unless `dry_run` says to stop there.

    Args:
        settings: What is not swept, and the `sweep` group.
        command: What goes on with the sweep.

    Returns:
        The exit status.

    Raises:
        ConvgridError: If the grid cannot be parsed, or no point of it can be trained.
    """
    from convgrid.sweep import run as run_sweep

    swept = run_sweep(grids, composition, settings, command, console)
    return 0 if swept is None else swept.status


def plan_or_train(
    settings: Settings, texts: Sequence[str], plan: Plan | None, *, command: str, console: Console
) -> Path | None:
    """Show the plan where `dry_run` asks for it; train otherwise, or show what a finished run came to.

    Args:
        texts: The overrides that were typed.
        plan: As far as the settings tell; None where they are those of a run to go on with, which has its own.
        command: What was typed, for the run's record.

    Returns:
        The run's folder, free for others; None of a plan.

    Raises:
        ConvgridError: If a value or the data cannot be used.
        Interrupted: If Ctrl-C, SIGTERM or SIGUSR1 ended the training.
    """
    settings, plan, folder = resumed(settings, texts, plan)
    try:
        if settings.dry_run:
            show_plan(plan, console, [*plan_notes(plan, settings), *source_notes(settings, plan)])
            return None
        if folder is not None and is_finished(folder.record):
            planned = read_settings(folder.path).trainer.max_epochs
            if settings.trainer.max_epochs <= planned:
                show_finished(folder, settings, console)
                return folder.path
        return train(settings, folder, console, plan, command)
    finally:
        if folder is not None:
            folder.lock.release()


def resumed(settings: Settings, texts: Sequence[str], plan: Plan | None) -> tuple[Settings, Plan, TrialFolder | None]:
    """Take, with `resume`, the settings that the run was started with.

    Args:
        texts: The overrides that were typed.

    Returns:
        The settings, their plan, and the folder to go on in, locked; None for a new run.

    Raises:
        ConvgridError: If there is no such run, or a value that was typed would change its result.
    """
    if settings.resume is None:
        assert plan is not None
        settings = found(settings)
        check_source(settings, plan)
        return settings, plan, None
    folder = find_to_resume(settings.resume)
    with blamed_on(folder.path / CONFIG):
        settings = stored_settings(folder, found(settings), [key for key in texts_by_key(texts) if key != "resume"])
        return settings, check_values(settings, {}), folder


def texts_by_key(texts: Sequence[str]) -> dict[str, str]:
    """The text of each override by its key."""
    return {text.lstrip("+~").partition("=")[0]: text for text in texts}


def show_finished(folder: TrialFolder, settings: Settings, console: Console) -> None:
    """Say that nothing is left to train, and print what came of it."""
    console.print(f"{folder.path} has finished: nothing is left to train. Its result:", highlight=False, soft_wrap=True)
    with blamed_on(folder.path / RECORD):
        rows = result_rows(folder.path, settings.tracking.uri)
    show_result(rows, console)
    more = f"resume={folder.path.name} {EPOCHS}={2 * settings.trainer.max_epochs}"
    console.print(f"For more epochs, as a new run: python run.py {more}", highlight=False, soft_wrap=True)


def train(
    settings: Settings, folder: TrialFolder | None, console: Console, plan: Plan | None = None, command: str = ""
) -> Path:
    """Train, with the run brought to the tracking store meanwhile.

    Args:
        folder: Of a run to go on with; None makes a new one.
        plan: What was planned without the data; None plans.
        command: What was typed, for the run's record.

    Returns:
        The run's folder.

    Raises:
        ConvgridError: If the data or a value cannot be used; or if the training diverged.
        Interrupted: If Ctrl-C, SIGTERM or SIGUSR1 ended the training.
    """
    from convgrid.tracking.writer import following  # a plan does without

    fetch_published(settings)
    if plan is not None:
        check_source(settings, plan)  # of published weights that were not there before
    with (
        preempted_as_interrupted(),
        following(settings) as follow,
    ):  # its process imports MLflow while this one imports torch
        from convgrid.system.imports import import_lightning  # a plan does without

        import_lightning()
        from convgrid.training.trial import run as run_trial

        return run_trial(settings, console, folder, follow, plan, command)
