"""How targets are put to a loss, and scores turned into predictions: the pair of loss and task decides.

No torch import: what does not fit is refused before there is anything to train.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from convgrid.errors import ConfigError

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Fit:
    """How one loss goes with one task: the form of its targets, and the link from scores to predictions.

    `from_scores` losses apply the link themselves, where that is exact for large scores.
    """

    form: Literal["index", "one_hot", "standardize"]
    link: Literal["identity", "softmax"]
    from_scores: bool = False


FITS: Mapping[str, Mapping[Task, Fit]] = {
    "mean_squared_error": {
        "regression": Fit("standardize", "identity"),
        "classification": Fit("one_hot", "softmax"),
    },
    # Classes mean one-hot rows to it. In digits, making those and multiplying by them took 6 % of a training step.
    "categorical_crossentropy": {"classification": Fit("index", "softmax", from_scores=True)},
    "sparse_categorical_crossentropy": {"classification": Fit("index", "softmax", from_scores=True)},
}

METRICS: Mapping[Task, tuple[str, Literal["max", "min"]]] = {
    "classification": ("accuracy", "max"),
    "regression": ("mae", "min"),
}


def fit(loss: str, task: Task) -> Fit:
    """Look up how a loss goes with a task.

    Args:
        loss: Name of the loss, as in `loss=categorical_crossentropy`.
        task: Of the data.

    Returns:
        The row of the table.

    Raises:
        ConfigError: If they do not go together, or the loss is a person's own; it names the losses that do.

    Example:
        >>> fit("sparse_categorical_crossentropy", "classification").form
        'index'
    """
    others = " or ".join(f"loss={name}" for name, tasks in FITS.items() if task in tasks)
    if loss not in FITS:
        raise ConfigError(f"loss={loss}: convgrid does not know which targets and link it goes with. Use {others}.")
    fits = FITS[loss]
    if task not in fits:
        raise ConfigError(
            f"loss={loss} does not fit: the data is a {task}, it needs a {next(iter(fits))}. Use {others}."
        )
    return fits[task]


def objective_of(task: Task, metric: str, mode: str) -> tuple[str, Literal["max", "min"]]:
    """Settle what is best: the metric by the task, the mode by the metric, where they are "auto".

    Args:
        task: Of the data.
        metric: The config's `objective.metric`.
        mode: The config's `objective.mode`.

    Returns:
        Metric and mode.

    Raises:
        ConfigError: If the task has no such metric.

    Example:
        >>> objective_of("classification", "auto", "auto")
        ('val/accuracy', 'max')
    """
    name, best = METRICS[task]
    modes: dict[str, Literal["max", "min"]] = {f"val/{name}": best, "val/loss": "min"}
    metric = f"val/{name}" if metric == "auto" else metric
    if metric not in modes:
        raise ConfigError(f"objective.metric={metric} is no metric of a {task}. Use {' or '.join(modes)}.")
    return metric, modes[metric] if mode == "auto" else ("max" if mode == "max" else "min")
