"""The metrics that a task has: what each means, which way is better, and what is best.

No torch import: a metric that a task has not is refused before there is anything to train.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from convgrid.errors import ConfigError
from convgrid.objective.fit import NOUNS, Fit, Task

Mode = Literal["max", "min"]

BETTER: Mapping[Mode, str] = {"max": "higher", "min": "lower"}
TARGETS: Mapping[Task, str] = {"classification": "classes", "multilabel": "labels", "regression": "numbers"}


@dataclass(frozen=True)
class Metric:
    """One metric of a task.

    Args:
        mode: Whether the greatest or the least value is best.
        meaning: For the user, in a few words.
        least_classes: Classes below which it says nothing.
        of_probabilities: Whether it needs predictions that are probabilities.
    """

    mode: Mode
    meaning: str
    least_classes: int = 0
    of_probabilities: bool = False


_LOSS = Metric("min", "mean of what is optimised, on the loss's own scale")
_F1 = Metric("max", "2 TP / (2 TP + FP + FN), the mean over those that occur or are predicted")
_AUROC = Metric("max", "chance that an image of it ranks above another, the mean over those that vary")

# The first of a task's metrics is what is best unless the user says otherwise.
METRICS: Mapping[Task, Mapping[str, Metric]] = {
    "classification": {
        "accuracy": Metric("max", "share of the images whose class is predicted highest"),
        "top5": Metric("max", "share of the images whose class is among the 5 predicted highest", least_classes=6),
        "f1": _F1,
        "calibration_error": Metric(
            "min",
            "gap of top probability and accuracy, in 15 bins",
            of_probabilities=True,
        ),
        "auroc": _AUROC,
        "loss": _LOSS,
    },
    "multilabel": {
        "accuracy": Metric("max", "share of the labels that are predicted correctly"),
        "exact_match": Metric("max", "share of the images whose labels are all predicted correctly"),
        "f1": _F1,
        "auroc": _AUROC,
        "loss": _LOSS,
    },
    "regression": {
        "mae": Metric("min", "mean absolute error, in the data's units"),
        "rmse": Metric("min", "root of the mean squared error, in the data's units, the mean over columns"),
        "r2": Metric("max", "1 - mean squared error / variance, the mean over columns that vary"),
        "loss": _LOSS,
    },
}


def metrics_of(task: Task, row: Fit | None = None, count: int | None = None) -> dict[str, Metric]:
    """List the metrics that a training has.

    Args:
        row: How the loss goes with the task; None where that is not known.
        count: Classes, labels or columns; None where only the data tells.

    Returns:
        By name; the first is what is best by default.

    Example:
        >>> list(metrics_of("regression"))
        ['mae', 'rmse', 'r2', 'loss']
    """
    return {
        name: metric
        for name, metric in METRICS[task].items()
        if (count is None or count >= metric.least_classes)
        and (row is None or row.gives_probabilities or not metric.of_probabilities)
    }


def objective_of(
    task: Task, metric: str, mode: str, row: Fit | None = None, count: int | None = None
) -> tuple[str, Mode]:
    """Settle what is best: the metric by the task, the mode by the metric, where they are "auto".

    Args:
        metric: The config's `objective.metric`.
        mode: The config's `objective.mode`.
        row: How the loss goes with the task; None where that is not known.
        count: Classes, labels or columns; None where only the data tells.

    Returns:
        Metric and mode.

    Raises:
        ConfigError: If the task has no such metric; it lists those that it has.

    Example:
        >>> objective_of("classification", "auto", "auto")
        ('val/accuracy', 'max')
    """
    modes: dict[str, Mode] = {f"val/{name}": found.mode for name, found in metrics_of(task, row, count).items()}
    metric = next(iter(modes)) if metric == "auto" else metric
    if metric not in modes:
        absent = METRICS[task].get(metric.removeprefix("val/"))
        why = f": it is {_limits(absent)}" if absent and metric.startswith("val/") else ""
        raise ConfigError(
            f"objective.metric={metric} is not a metric of this {NOUNS[task]}{why}. Use one of {', '.join(modes)}."
        )
    return metric, modes[metric] if mode == "auto" else ("max" if mode == "max" else "min")


def glossary() -> str:
    """Render what each metric means, as docs/losses.md shows it.

    Returns:
        Markdown, one row a metric, or two where tasks differ.

    Example:
        >>> glossary().splitlines()[0]
        '| metric | of | better | what it is |'
    """
    of: dict[tuple[str, Metric], list[str]] = {}
    for task, metrics in METRICS.items():
        for name, metric in metrics.items():
            of.setdefault((name, metric), []).append(TARGETS[task])
    lines = [
        f"| `{name}` | {', '.join(kinds)} | {BETTER[metric.mode]} | {_meaning(metric)} |"
        for (name, metric), kinds in sorted(of.items(), key=lambda row: row[0][0] == "loss")
    ]
    return "\n".join(["| metric | of | better | what it is |", "|---|---|---|---|", *lines])


def _limits(metric: Metric) -> str:
    if metric.of_probabilities:
        return "of probabilities only"
    return f"of {metric.least_classes} classes or more" if metric.least_classes else ""


def _meaning(metric: Metric) -> str:
    limits = _limits(metric)
    return f"{metric.meaning}; {limits}" if limits else metric.meaning
