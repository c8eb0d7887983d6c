"""From what was typed to a survey: the grid's own mistakes first, then point after point."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from convgrid.config import (
    Composer,
    Composition,
    Grid,
    Settings,
    assignments,
    mistakes_in_sweep,
    shown,
    values_of,
)
from convgrid.config.sections import SweepSettings
from convgrid.errors import ConfigError, ConvgridError, gather, refuse
from convgrid.sweep.grid import Point, axes, points, repetitions, size
from convgrid.sweep.interfaces import Survey
from convgrid.sweep.race import check_race
from convgrid.sweep.survey import QUANTITIES, Surveyor, finished, survey
from convgrid.sweep.where import Where, parse_where

MOST_POINTS = 20_000  # of a grid: each takes half a millisecond to look at, and far longer to train


def plan_grid(found: Sequence[Grid], composition: Composition, settings: Settings) -> Survey:
    """Find out what the points of grids are, and what is to be trained.

    Args:
        settings: What is not swept, and the `sweep` group.

    Returns:
        The survey.

    Raises:
        ConvgridError: If the grid cannot be parsed, or no point of it can be trained.
    """
    sweep = settings.sweep
    refuse(mistakes_in_sweep(settings))
    refuse(gather(_checks(found, composition, settings)))
    divided = [axes(grid, sweep.zip) for grid in found]
    num_points = sum(map(size, divided)) * (sweep.most_seeds or 1) * (sweep.folds or 1)
    if num_points > MOST_POINTS:
        raise ConfigError(
            f"the sweep has {num_points:,} points, and a grid takes {MOST_POINTS:,}. Give fewer values, or draw some: "
            "sweep=random sweep.max_trials=100."
        )
    each = itertools.chain.from_iterable(map(points, divided))
    looked = survey(
        itertools.chain.from_iterable(map(partial(repeated, composition=composition, sweep=sweep), each)),
        Surveyor(composition, read_where(sweep.where, found, composition, settings)),
        num_points=num_points,
        typed=typed(found),
        max_trials=None if sweep.is_race else sweep.max_trials,
    )
    if sweep.is_race:
        check_race(looked.trials, sweep)
    return looked if sweep.rerun == "all" else replace(looked, finished=finished(looked.trials))


def typed(found: Sequence[Grid]) -> dict[str, str]:
    """List what the user typed.

    Args:
        found: Overrides, swept or not.

    Returns:
        The text of each by the keys that it sets.
    """
    every = [override for grid in found for override in grid]
    return {key: str(override.input_line) for override in every for key, *_ in assignments(override)}


def read_where(text: str | None, found: Sequence[Grid], composition: Composition, settings: Settings) -> Where | None:
    """Read the predicate of `sweep.where` or of another key, with all the names that it may use.

    Args:
        text: The predicate; None where there is none.
        found: Overrides, swept or not.
        composition: Knows the keys of the options that they choose.

    Returns:
        The predicate.

    Raises:
        ConfigError: If it cannot be parsed.
    """
    if text is None:
        return None
    groups = [group for group in settings.choices if group != "experiments"]
    names = {group.replace("/", ".") for group in groups}
    return parse_where(text, sorted({*composition.keys(found), *names, *QUANTITIES}), groups)


def _checks(found: Sequence[Grid], composition: Composition, settings: Settings) -> Iterator[Callable[[], object]]:
    """What can be wrong with a grid as a whole."""
    sweep = settings.sweep
    yield partial(_check_zips, sweep.zip, found)
    yield partial(read_where, sweep.where, found, composition, settings)
    yield partial(_check_experiments, found, composition.composer)
    yield partial(_check_folds, sweep.folds, "fold" in typed(found) or settings.fold is not None)


def _check_zips(zips: Sequence[Any], found: Sequence[Grid]) -> None:
    text = f"sweep.zip={shown(list(zips))}"
    if not all(isinstance(keys, list) and len(keys) > 1 for keys in zips):
        meant = f"[{shown(list(zips))}]" if all(isinstance(key, str) for key in zips) else "[[arch.n,arch.m]]"
        raise ConfigError(f"{text} must be a list of lists of keys, two or more in each. Did you mean {meant}?")
    keys = [key for keys in zips for key in keys]
    given = {override.key_or_group for grid in found for override in grid}
    mistakes: list[ConvgridError] = [
        ConfigError(f"{text}: {key} is not swept. Give it values, or leave it out.")
        for key in dict.fromkeys(keys)
        if key not in given
    ]
    mistakes += [
        ConfigError(f"{text}: {key} is named twice. Put all keys that advance together into one list.")
        for key in dict.fromkeys(keys)
        if keys.count(key) > 1
    ]
    refuse(mistakes or gather(partial(axes, grid, zips) for grid in found))


def _check_experiments(found: Sequence[Grid], composer: Composer) -> None:
    """Several experiments are compared as points of one sweep: what makes one a sweep of its own would be lost."""
    swept = [override for grid in found for override in grid if override.key_or_group == "experiments"]
    names = [str(name) for override in swept for name in values_of(override) if override.is_sweep_override()]
    if not names:
        return
    own = {*composer.options_with("experiments", "sweep"), *composer.options_with("experiments", "hydra.sweeper")}
    text = f"experiments={','.join(names)}"
    mistakes = [
        ConfigError(f"{text}: {name} is a sweep of its own. Run it by itself: python run.py experiments={name}")
        for name in names
        if name in own
    ]
    refuse(mistakes)


def _check_folds(folds: int | None, given: bool) -> None:
    if folds is not None and given:
        raise ConfigError(f"sweep.folds={folds} takes every fold, so fold cannot be set. Leave out one of the two.")


def repeated(point: Point, *, composition: Composition, sweep: SweepSettings) -> Iterator[Point]:
    """Give a point its seeds and folds.

    Args:
        point: Overrides with one value each.
        composition: Knows the point's own seed.

    Returns:
        One point a seed and fold; the point as it is where the sweep has neither.
    """
    if not (sweep.seeds or sweep.folds):
        return iter((point,))
    try:
        seed = composition.settings(point)[0].seed
    except ConvgridError:  # the survey tells
        seed = 0
    return repetitions(point, seed, sweep.most_seeds, sweep.folds)
