"""The plan of a sweep as the user sees it."""

import re
from collections.abc import Iterable, Mapping, Sequence

from hydra.core.override_parser.types import Override
from rich.console import Console
from rich.text import Text

from convgrid.component import Component
from convgrid.config import Settings, component
from convgrid.config.sections import SweepSettings
from convgrid.objective.glossary import Mode
from convgrid.sweep.interfaces import Outcome, Survey, Trial
from convgrid.sweep.objectives import SIZE_OBJECTIVES, front, objective_values, objectives_of
from convgrid.sweep.race import FIRST, first_look, most_trials
from convgrid.sweep.space import ALWAYS, Dimension, Interval, Space, When
from convgrid.terminal import duration, printable, shortened, show_result

MOST_REASONS = 8  # shown of the points skipped
MAX_VALUES_WIDTH = 60  # characters shown of a key's values


def show_survey(
    survey: Survey,
    console: Console,
    *,
    seconds: float | None = None,
    pruner: Component | None = None,
    race: SweepSettings | None = None,
    features: str = "",
) -> None:
    """Print what a sweep will do.

    Args:
        seconds: That it will take, as earlier trials did, of a race the least; None where nobody knows yet.
        pruner: That ends poor trials early; None where each is trained to its end.
        race: When a race ends; None where every trial is trained.
        features: What is computed before the trials, in words.
    """
    todo = [trial for trial in survey.trials if trial.key not in survey.finished]
    repeats = sum(map(len, survey.repeats.values()))
    skipped = sum(map(len, survey.skipped.values()))
    rows = {"points": f"{survey.num_points:,}"}
    varying = [f"{key}={_short(values)}" for key, values in survey.varying.items()]
    if varying:
        rows["varying"] = "\n".join(varying)
    rows["to train"] = f"{len(todo):,}"
    if race is not None:
        rows["to train"] = f"{len(first_look(survey)):,} to {most_trials(survey, race):,}"
        rows["race"] = _race(race)
    if survey.finished:
        rows["finished"] = f"{len(survey.finished):,}  in an earlier run"
    if repeats:
        rows["repeats"] = f"{repeats:,}  of another point's network and config"
    if skipped:
        rows["skipped"] = "\n".join([f"{skipped:,}", *_reasons(survey.skipped)])
    rows["parameters"] = _range(trial.plan.parameters for trial in survey.trials)
    rows["multiply-adds"] = f"{_range(trial.plan.multiply_adds for trial in survey.trials)} an image"
    if features:
        rows["features"] = features
    if pruner is not None:
        rows["pruned by"] = _pruner(pruner)
    if seconds is not None:
        least, less = "at least " if race else "", ", less what is pruned" if pruner else ""
        rows["time"] = f"{least}about {duration(seconds)} of training, as earlier trials took{less}"
    if survey.notes:
        rows["notes"] = "\n".join(survey.notes)
    show_result(rows, console)


def _race(sweep: SweepSettings) -> str:
    ends = ["until the best is told from all others"]
    if sweep.tolerance is not None:
        ends.append(f"none is better by more than {sweep.tolerance:g}")
    trials = "" if sweep.max_trials is None else f", {sweep.max_trials:,} trials in all"
    return (
        f"{FIRST} seeds each, then more for the settings in question, at most {sweep.max_seeds}{trials};\n"
        f"{' or '.join(ends)}"
    )


def show_space(space: Space, settings: Settings, console: Console) -> None:
    """Print what a search that learns will do.

    Args:
        space: What it draws from.
    """
    searched = [f"{_values(dimension)}{_condition(dimension.when)}" for dimension in space.dimensions]
    rows = {
        "searched": "\n".join(searched),
        "by": f"{settings.choices['sweep/sampler']}, {settings.sweep.max_trials:,} trials",
        "for": ", ".join(f"{name} ({mode})" for name, mode in objectives_of(settings).items()),
        "kept in": str(settings.sweep.storage),
    }
    pruner = component(settings, "sweep/pruner")
    if pruner is not None:
        rows["pruned by"] = _pruner(pruner)
    show_result(rows, console)


def show_front(results: Sequence[tuple[Trial, Outcome]], objectives: Mapping[str, Mode], console: Console) -> None:
    """Print the trials that no other beats, where there are several objectives.

    Args:
        objectives: "max" or "min" by name.
    """
    finished = {trial.key: (trial, outcome) for trial, outcome in results if outcome.status == "finished"}
    values = {key: objective_values([*objectives], *result) for key, result in finished.items()}
    if len(objectives) < 2 or not values:
        return
    unbeaten = front(values, [*objectives.values()])
    console.print(f"{len(unbeaten):,} of {len(values):,} trials are beaten by no other in {' and '.join(objectives)}:")
    for key in unbeaten:
        reached = [
            f"{name} {value:,.{0 if name in SIZE_OBJECTIVES else 4}f}"
            for name, value in zip(objectives, values[key], strict=True)
        ]
        drawn = [f"{name}={value}" for name, value in finished[key][0].varying.items()]
        console.print(Text(printable(f"  {'  '.join([*reached, *drawn])}", console)), soft_wrap=True)


def _pruner(pruner: Component) -> str:
    return "  ".join([pruner.name, *(f"{key}={value}" for key, value in pruner.options.items())])


def _values(dimension: Dimension) -> str:
    if isinstance(dimension, Interval):
        return f"{dimension.key}={dimension.low:g} to {dimension.high:g}{', by orders of magnitude' * dimension.log}"
    keys = zip(*dimension.steps, strict=True)
    return " with ".join(
        f"{step[0].key_or_group}={_short([_as_typed(override) for override in step])}" for step in keys
    )


def _as_typed(override: Override) -> str:
    """Its value without the backslashes that Hydra puts before brackets and the like, to parse it again."""
    return re.sub(r"\\([\\()\[\]{}:=, \t])", r"\1", override.get_value_element_as_str())


def _condition(when: When) -> str:
    options = [f"{group} is {' or '.join(options)}" for group, options in when.options.items()]
    return f"  if {' and '.join([*options, *(where.text for where in when.predicates)])}" if when != ALWAYS else ""


def _short(values: Sequence[str]) -> str:
    """All values, or the first and the last of many."""
    values = [shortened(value) for value in values]
    text = ",".join(values)
    if len(text) <= MAX_VALUES_WIDTH:
        return text
    return f"{values[0]}, ... {len(values):,} values ..., {values[-1]}"


def _reasons(skipped: Mapping[str, Sequence[object]]) -> list[str]:
    """The most frequent first."""
    ranked = sorted(skipped.items(), key=lambda item: -len(item[1]))
    width = len(f"{len(ranked[0][1]):,}")
    lines: list[str] = []
    for reason, points in ranked[:MOST_REASONS]:
        first, *further = reason.splitlines()
        lines += [f"{len(points):>{width},}  {first}", *(f"{'':<{width}}  {line}" for line in further)]
    left = len(ranked) - MOST_REASONS
    return [*lines, f"and {left:,} reasons more"] if left > 0 else lines


def _range(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"
