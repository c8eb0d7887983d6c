"""How targets are put to a loss, and scores turned into predictions: the pair of loss and task decides.

No torch import: what does not fit is refused before there is anything to train.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from convgrid.errors import ConfigError

Task = Literal["classification", "regression"]


Form = Literal["index", "one_hot", "signs", "zero_one", "numbers"]
Link = Literal["identity", "softmax", "sigmoid", "softplus"]


@dataclass(frozen=True)
class Fit:
    """How one loss goes with one task: the form of its targets, and the link from scores to predictions.

    Args:
        form: Classes as numbers, as one-hot rows, as -1 and +1, as 0 and 1; or numbers to predict.
        link: What turns scores into predictions.
        from_scores: Whether the loss applies the link itself, where that is exact for large scores.
        one_unit: Whether two classes take one output unit.
        scale: What `target=auto` does to numbers: "standardize", or "mean", which keeps them positive.
        in_units: Whether the loss is taken of numbers in the data's units, not of scaled ones.
        least_outputs: Output units below which the loss means nothing.
    """

    form: Form
    link: Link
    from_scores: bool = False
    one_unit: bool = False
    scale: Literal["standardize", "mean"] = "standardize"
    in_units: bool = False
    least_outputs: int = 1


_DISTANCE: Mapping[Task, Fit] = {
    "regression": Fit("numbers", "identity"),
    "classification": Fit("one_hot", "softmax"),
}
_RATIO: Mapping[Task, Fit] = {"regression": Fit("numbers", "softplus", scale="mean")}
_MARGIN: Mapping[Task, Fit] = {"classification": Fit("signs", "identity", one_unit=True)}

FITS: Mapping[str, Mapping[Task, Fit]] = {
    "mean_squared_error": _DISTANCE,
    "mean_absolute_error": _DISTANCE,
    "logcosh": _DISTANCE,
    "mean_absolute_percentage_error": _RATIO,
    "poisson": _RATIO,
    "mean_squared_logarithmic_error": {"regression": Fit("numbers", "softplus", scale="mean", in_units=True)},
    "hinge": _MARGIN,
    "squared_hinge": _MARGIN,
    "categorical_hinge": {"classification": Fit("one_hot", "identity")},
    # Classes mean one-hot rows to it. In digits, making those and multiplying by them took 6 % of a training step.
    "categorical_crossentropy": {"classification": Fit("index", "softmax", from_scores=True)},
    "sparse_categorical_crossentropy": {"classification": Fit("index", "softmax", from_scores=True)},
    "kullback_leibler_divergence": {"classification": Fit("one_hot", "softmax", from_scores=True)},
    "binary_crossentropy": {"classification": Fit("zero_one", "sigmoid", from_scores=True, one_unit=True)},
    "cosine_proximity": {
        "regression": Fit("numbers", "identity", least_outputs=2),
        "classification": Fit("one_hot", "identity"),
    },
}

# Why a loss of one task means nothing for the other.
REASONS: Mapping[str, str] = {
    "mean_absolute_percentage_error": "it divides by the targets, and those of classes are mostly 0",
    "mean_squared_logarithmic_error": "it compares the logarithms of amounts, which classes have not",
    "poisson": "it is the likelihood of counts, which classes are not",
    "hinge": "it asks for a sign, which a number to predict is not",
    "squared_hinge": "it asks for a sign, which a number to predict is not",
    "categorical_hinge": "it compares the true class with the best other one, which numbers to predict have not",
    "categorical_crossentropy": "it takes probabilities of classes, which numbers to predict are not",
    "sparse_categorical_crossentropy": "it takes probabilities of classes, which numbers to predict are not",
    "kullback_leibler_divergence": "it compares distributions over classes, which numbers to predict are not",
    "binary_crossentropy": "it takes probabilities of classes, which numbers to predict are not",
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
    others = ", ".join(name for name, tasks in FITS.items() if task in tasks)
    if loss not in FITS:
        raise ConfigError(f"loss={loss}: convgrid does not know which targets and link it goes with. Use one of {others}.")
    if task not in FITS[loss]:
        raise ConfigError(f"loss={loss} does not fit a {task}: {REASONS[loss]}. Use one of {others}.")
    return FITS[loss][task]


def num_outputs(fit: Fit, count: int) -> int:
    """Count the units of the output layer.

    Args:
        fit: How the loss goes with the task.
        count: Classes, or target columns of a regression.

    Returns:
        One a class or column; one altogether for two classes and a loss of signs or 0 and 1.

    Raises:
        ConfigError: If the loss needs more.

    Example:
        >>> num_outputs(fit("binary_crossentropy", "classification"), 2)
        1
    """
    if count < fit.least_outputs:
        raise ConfigError(
            f"loss=cosine_proximity compares directions, and {count} target column has none. "
            "Use loss=mean_squared_error, or two columns or more."
        )
    return 1 if fit.one_unit and count == 2 else count


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
