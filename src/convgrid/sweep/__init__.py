"""Many trials of one command line: planned together, run side by side, each found again by what it is."""

from collections.abc import Sequence

from rich.console import Console

from convgrid.config import Composition, Grid, Settings, component, values_of
from convgrid.model.published import fetch_preset
from convgrid.network.published import IMAGENET, PUBLISHED
from convgrid.runs.source import check_source
from convgrid.sweep.estimate import estimate_seconds
from convgrid.sweep.executors.choice import launcher_of
from convgrid.sweep.grid_plan import plan_grid
from convgrid.sweep.interfaces import Survey
from convgrid.sweep.once import features_once
from convgrid.sweep.plan_table import show_space, show_survey
from convgrid.sweep.race import first_look
from convgrid.sweep.search_plan import plan_random, plan_search
from convgrid.sweep.train import Swept, train_sweep
from convgrid.system.processes import preempted_as_interrupted, warm_up


def run(
    grids: Sequence[Grid], composition: Composition, settings: Settings, command: str, console: Console
) -> Swept | None:
    """Plan a sweep, show the plan, and train its trials unless `dry_run` says to stop there.

    Args:
        settings: What is not swept, and the `sweep` group.
        command: What was typed, which also continues the sweep.

    Returns:
        What was trained, and how it ended; None after a dry run.

    Raises:
        ConvgridError: If the grid cannot be parsed, or no point of it can be trained.
    """
    launcher = launcher_of(settings)
    if launcher is None and not settings.dry_run:
        warm_up()  # torch is imported while the grid is planned
    found = plan_search(grids[0], composition, settings) if settings.sweep.conditions is not None else None
    learns = found if "sweep/sampler" in settings.choices else None
    if learns is not None:
        survey = Survey(settings.sweep.max_trials or 0, ())
        show_space(learns.space, settings, console)
    else:
        survey = plan_random(found, settings) if found else plan_grid(grids, composition, settings)
        race = settings.sweep if settings.sweep.is_race else None
        todo = [trial for trial in (first_look(survey) if race else survey.trials) if trial.key not in survey.finished]
        seconds, pruner = estimate_seconds(todo, settings), component(settings, "sweep/pruner")
        show_survey(survey, console, seconds=seconds, pruner=pruner, race=race, features=features_once(todo))
    if settings.dry_run:
        return None
    for arch in _published(grids, settings, survey):
        fetch_preset(arch)
    for trial in survey.trials:
        check_source(trial.settings, trial.plan)
    with preempted_as_interrupted():
        return train_sweep(survey, settings, command, console, launcher, learns)


def _published(grids: Sequence[Grid], settings: Settings, survey: Survey) -> set[str]:
    """The presets whose published weights the trials start with; of a search that learns, all that it may choose."""
    if survey.trials:
        chosen = [trial.settings for trial in survey.trials]
        return {each.choices["arch"] for each in chosen if each.arch.weights == IMAGENET}
    typed = {override.key_or_group: values_of(override) for grid in grids for override in grid}
    asked = IMAGENET in typed.get("arch.weights", [settings.arch.weights])
    return {*map(str, typed.get("arch", [settings.choices["arch"]]))} & PUBLISHED.keys() if asked else set()
