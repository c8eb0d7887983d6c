"""What a search goes by: the objective's metric at a trial's best epoch, and sizes of its network."""

from collections.abc import Mapping, Sequence

from convgrid.config import Settings
from convgrid.errors import ConfigError
from convgrid.objective.fit import Task
from convgrid.objective.glossary import Mode, objective_of
from convgrid.sweep.interfaces import Outcome, Trial

SIZE_OBJECTIVES = ("parameters", "multiply_adds", "activation_bytes")


def objectives_of(settings: Settings) -> dict[str, Mode]:
    """Settle what a search optimises.

    Returns:
        "max" or "min" by name: `objective.metric`, or the several of `sweep.objectives`.

    Raises:
        ConfigError: If there is no such metric or size.
    """
    several, task = settings.sweep.objectives, settings.data.task
    if not several:
        return dict([main_objective(settings)])
    names = [name for name in several if isinstance(name, str)]  # the sweep's checks tell of others
    return {name: "min" if name in SIZE_OBJECTIVES else _mode_of(name, task) for name in names}


def main_objective(settings: Settings) -> tuple[str, Mode]:
    """Settle what one trial is better than another by.

    Returns:
        The metric, such as "val/accuracy", and whether the greatest or the least value is best.

    Raises:
        ConfigError: If there is no such metric.
    """
    return objective_of(settings.data.task, settings.objective.metric, settings.objective.mode)


def objective_values(objectives: Sequence[str], trial: Trial, outcome: Outcome) -> list[float]:
    """Look up what a trial reached.

    Args:
        objectives: Names of metrics and sizes.
        outcome: Knows the metrics, each at the trial's best epoch.

    Returns:
        A value each.
    """
    return [
        float(getattr(trial.plan, name)) if name in SIZE_OBJECTIVES else outcome.metrics[f"best/{name}"]
        for name in objectives
    ]


def front(results: Mapping[str, Sequence[float]], modes: Sequence[Mode]) -> list[str]:
    """Find the results that no other beats: none is as good everywhere and better somewhere (the Pareto front).

    Args:
        results: Values of the objectives by the trial's key.
        modes: Whether more or less of each objective is better.

    Returns:
        Keys, best in the first objective first.

    Example:
        >>> front({"a": [0.9, 100], "b": [0.8, 200], "c": [0.7, 50]}, ["max", "min"])
        ['a', 'c']
    """
    signs = [-1 if mode == "max" else 1 for mode in modes]
    costs = {key: [sign * value for sign, value in zip(signs, values, strict=True)] for key, values in results.items()}
    unbeaten = [key for key in costs if not any(_beats(other, costs[key]) for other in costs.values())]
    return sorted(unbeaten, key=lambda key: costs[key])


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _mode_of(name: str, task: Task) -> Mode:
    try:
        return objective_of(task, name, "auto")[1]
    except ConfigError as error:
        message = str(error).replace("objective.metric=", "sweep.objectives: ", 1)
        raise ConfigError(f"{message} Or a size: {', '.join(SIZE_OBJECTIVES)}.") from None
