"""From what was typed to a search: the space that it draws from, and what becomes of a point of it."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from convgrid.config import (
    Composition,
    Grid,
    Settings,
    digest_of,
    flatten,
    is_outside_identity,
    mistakes_in_sweep,
)
from convgrid.errors import gather, refuse
from convgrid.sweep.grid import Point
from convgrid.sweep.grid_plan import read_where, repeated, typed
from convgrid.sweep.interfaces import Survey, Trial
from convgrid.sweep.objectives import objectives_of
from convgrid.sweep.space import Space, random_points, space_of
from convgrid.sweep.survey import Surveyor, finished, survey

MOST_DRAWN = 50  # points for each trial that is asked for: then most of the space is infeasible

# Of the `sweep` group, what decides on the points.
POINT_KEYS = ("zip", "where", "seeds", "folds", "conditions", "sampler", "objectives")


@dataclass(frozen=True)
class SearchPlan:
    """Where a search may look, and how.

    Args:
        surveyor: Looks at one point.
        repeat: From a point to one for each seed and fold.
        key: Of all that decides on what is drawn; searches that agree go on from each other.
    """

    space: Space
    surveyor: Surveyor
    repeat: Callable[[Point], Iterator[Point]]
    grid: Grid
    key: str

    def trials(self, point: Point) -> list[Trial]:
        """Make the trials of a point.

        Args:
            point: Drawn from the space.

        Returns:
            One a seed and fold.

        Raises:
            ConvgridError: If the point is infeasible.
        """
        fixed = {override.key_or_group for override in self.space.fixed}
        seen = [self.surveyor.look(each).trial for each in self.repeat(point)]
        return [replace(trial, varying=_values(trial.varying, fixed)) for trial in seen]


def plan_search(grid: Grid, composition: Composition, settings: Settings) -> SearchPlan:
    """Read what a search is asked for.

    Args:
        settings: What is not searched, and the `sweep` group.

    Returns:
        Where it may look.

    Raises:
        ConvgridError: If the space or a condition cannot be parsed.
    """
    sweep = settings.sweep
    refuse([*mistakes_in_sweep(settings), *gather([partial(objectives_of, settings)])])
    options = {group.replace("/", "."): option for group, option in settings.choices.items()}
    names = dict.fromkeys(composition.keys([grid])) | dict(flatten(settings.values)) | options
    space = space_of(grid, sweep.zip, sweep.conditions or (), names, composition.composer.options_with)
    where = read_where(sweep.where, [grid], composition, settings)
    asked = [str(override.input_line) for override in grid if not is_outside_identity(override.key_or_group)]
    draws = {name: value for name, value in settings.values["sweep"].items() if name in POINT_KEYS}
    key = digest_of({"grid": asked, "seed": settings.seed, **draws})
    repeat = partial(repeated, composition=composition, sweep=sweep)
    return SearchPlan(space, Surveyor(composition, where), repeat, grid, key)


def plan_random(found: SearchPlan, settings: Settings) -> Survey:
    """Draw trials at random until there are as many as asked for.

    Args:
        settings: Say how many, and with which seed.

    Returns:
        The survey, as of a grid.

    Raises:
        ConvgridError: If no point drawn can be trained.
    """
    wanted = settings.sweep.max_trials
    assert wanted is not None  # `mistakes_in_sweep` has asked for it
    most = MOST_DRAWN * wanted
    drawn = itertools.islice(random_points(found.space, settings.seed), most)
    looked = survey(
        itertools.chain.from_iterable(map(found.repeat, drawn)),
        found.surveyor,
        num_points=most,
        typed=typed([found.grid]),
        max_trials=wanted,
    )
    others = [*looked.repeats.values(), *looked.skipped.values()]
    looked = replace(looked, num_points=len(looked.trials) + sum(map(len, others)))
    if len(looked.trials) < wanted:
        note = f"There seem to be no more than these: sweep.max_trials={wanted} were asked for."
        looked = replace(looked, notes=(*looked.notes, note))
    return looked if settings.sweep.rerun == "all" else replace(looked, finished=finished(looked.trials))


def _values(texts: Mapping[str, str], fixed: set[str]) -> dict[str, str]:
    return {name: text.partition("=")[2] for name, text in texts.items() if name not in fixed}
