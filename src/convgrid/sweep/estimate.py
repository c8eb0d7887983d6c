"""How long trials will take, by those that this folder has finished on the same data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, linear_regression

from convgrid.config import Settings, flatten
from convgrid.runs.trial import RUNS, read_records
from convgrid.sweep.interfaces import Trial
from convgrid.system.environment import cores

# What an epoch's time goes by, beside the network.
ALIKE = ("data", "data.limit", "data.batch_size", "trainer.limit", "trainer.precision")
FREEZE_KEYS = ("arch.freeze", "augment")  # frozen layers of unchanged images are not part of it


def estimate_seconds(trials: Sequence[Trial], settings: Settings, runs: Path = RUNS) -> float | None:
    """Estimate the seconds that trials will take on this sweep's workers.

    An epoch takes a + b * multiply-adds seconds: least squares over earlier trials of the same data and batches, a and
    b at least 0.

    Args:
        settings: What is not swept, and the `sweep` group.
        runs: Where earlier trials' folders are.

    Returns:
        Seconds; None where no earlier trial tells.
    """
    known: dict[tuple[str, ...], list[tuple[int, float]]] = {}
    for _, record in read_records(runs):
        params = record.get("params", {})
        if (
            record.get("status") == "finished"
            and record["epochs"]
            and all(key in params for key in (*ALIKE, "plan.multiply_adds"))
        ):
            point = int(params["plan.multiply_adds"]), record["seconds"] / record["epochs"]
            known.setdefault(_kind(params), []).append(point)
    lines = {kind: _line(points) for kind, points in known.items()}
    seconds = 0.0
    for trial in trials:
        values = {**dict(flatten(trial.settings.values)), **trial.settings.choices}
        line = lines.get(_kind(values))
        if line is None:
            return None
        seconds += trial.settings.trainer.max_epochs * (line[0] + line[1] * trial.plan.multiply_adds)
    workers = settings.sweep.workers or max(1, cores() // settings.trainer.threads)
    return seconds / min(workers, len(trials)) if trials else None


def _kind(values: Mapping[str, object]) -> tuple[str, ...]:
    """Runs of earlier versions have nothing frozen."""
    return tuple(str(values.get(key)) for key in ALIKE) + tuple(str(values.get(key, "none")) for key in FREEZE_KEYS)


def _line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Intercept and slope, both at least 0."""
    costs, seconds = zip(*points, strict=True)
    if len(set(costs)) == 1:
        return 0.0, fmean(seconds) / costs[0]
    fitted = linear_regression(costs, seconds)
    if fitted.slope < 0:
        return fmean(seconds), 0.0
    if fitted.intercept < 0:
        return 0.0, linear_regression(costs, seconds, proportional=True).slope
    return fitted.intercept, fitted.slope
