"""How targets are put to a loss, and scores turned into predictions: the pair of loss and task decides.

No torch import: what does not fit is refused before there is anything to train.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from convgrid.errors import ConfigError, DataError

Task = Literal["classification", "multilabel", "regression"]
Form = Literal["index", "one_hot", "signs", "zero_one", "numbers"]
Link = Literal["identity", "softmax", "sigmoid", "softplus"]
Domain = Literal["any", "0 or above", "above 0"]


@dataclass(frozen=True)
class Fit:
    """How one loss goes with one task: the form of its targets, and the link from scores to predictions.

    Args:
        form: Classes as numbers, as one-hot rows; classes or labels as -1 and +1, as 0 and 1; or numbers to predict.
        link: What turns scores into predictions.
        from_scores: Whether the loss applies the link itself, where that is exact for large scores.
        one_unit: Whether two classes take one output unit.
        scale: What `target=auto` does to numbers: "standardize", or "mean", which keeps them positive.
        in_units: Whether the loss is taken of numbers in the data's units, not of scaled ones.
        least_outputs: Output units below which the loss means nothing.
        domain: The numbers that the loss means anything for.
    """

    form: Form
    link: Link
    from_scores: bool = False
    one_unit: bool = False
    scale: Literal["standardize", "mean"] = "standardize"
    in_units: bool = False
    least_outputs: int = 1
    domain: Domain = "any"

    @property
    def gives_probabilities(self) -> bool:
        """Whether the link makes them of the scores."""
        return self.link in ("softmax", "sigmoid")


_DISTANCE: Mapping[Task, Fit] = {
    "regression": Fit("numbers", "identity"),
    "classification": Fit("one_hot", "softmax"),
}
_AMOUNT = Fit("numbers", "softplus", scale="mean", domain="0 or above")
_MARGIN: Mapping[Task, Fit] = {
    "classification": Fit("signs", "identity", one_unit=True),
    "multilabel": Fit("signs", "identity"),
}

FITS: Mapping[str, Mapping[Task, Fit]] = {
    "mean_squared_error": _DISTANCE,
    "mean_absolute_error": _DISTANCE,
    "logcosh": _DISTANCE,
    "mean_absolute_percentage_error": {"regression": replace(_AMOUNT, domain="above 0")},
    "poisson": {"regression": _AMOUNT},
    "mean_squared_logarithmic_error": {"regression": replace(_AMOUNT, in_units=True)},
    "hinge": _MARGIN,
    "squared_hinge": _MARGIN,
    "categorical_hinge": {"classification": Fit("one_hot", "identity")},
    # Classes mean one-hot rows to it. In digits, making those and multiplying by them took 6 % of a training step.
    "categorical_crossentropy": {"classification": Fit("index", "softmax", from_scores=True)},
    "sparse_categorical_crossentropy": {"classification": Fit("index", "softmax", from_scores=True)},
    "kullback_leibler_divergence": {"classification": Fit("one_hot", "softmax", from_scores=True)},
    "binary_crossentropy": {
        "classification": Fit("zero_one", "sigmoid", from_scores=True, one_unit=True),
        "multilabel": Fit("zero_one", "sigmoid", from_scores=True),
    },
    "cosine_proximity": {
        "regression": Fit("numbers", "identity", least_outputs=2),
        "classification": Fit("one_hot", "identity"),
    },
}

_APART = "it is made for classes of which an image has one, and labels come in any number"

# Why a loss means nothing for a task.
REASONS: Mapping[Task, Mapping[str, str]] = {
    "classification": {
        "mean_absolute_percentage_error": "it divides by the targets, and those of classes are mostly 0",
        "mean_squared_logarithmic_error": "it compares the logarithms of amounts, which classes have not",
        "poisson": "it is the likelihood of counts, which classes are not",
    },
    "multilabel": {
        "mean_squared_error": "it measures the distance of numbers or of one distribution, and labels are neither",
        "mean_absolute_error": "it measures the distance of numbers or of one distribution, and labels are neither",
        "logcosh": "it measures the distance of numbers or of one distribution, and labels are neither",
        "mean_absolute_percentage_error": "it divides by the targets, and those of absent labels are 0",
        "mean_squared_logarithmic_error": "it compares the logarithms of amounts, which labels have not",
        "poisson": "it is the likelihood of counts, which labels are not",
        "categorical_hinge": _APART,
        "categorical_crossentropy": _APART,
        "sparse_categorical_crossentropy": _APART,
        "kullback_leibler_divergence": _APART,
        "cosine_proximity": "it compares directions, and an image without labels has none",
    },
    "regression": {
        "hinge": "it asks for a sign, which a number to predict is not",
        "squared_hinge": "it asks for a sign, which a number to predict is not",
        "categorical_hinge": "it compares the true class with the best other one, which numbers to predict have not",
        "categorical_crossentropy": "it takes probabilities of classes, which numbers to predict are not",
        "sparse_categorical_crossentropy": "it takes probabilities of classes, which numbers to predict are not",
        "kullback_leibler_divergence": "it compares distributions over classes, which numbers to predict are not",
        "binary_crossentropy": "it takes probabilities of classes, which numbers to predict are not",
    },
}

NOUNS: Mapping[Task, str] = {
    "classification": "classification",
    "multilabel": "multi-label classification",
    "regression": "regression",
}

# Options of `target` that make numbers of 0 or below out of positive ones.
CROSSING_0 = ("standardize", "minmax", "log")


Table = Mapping[str, Mapping[Task, Fit]]


def fit(loss: str, task: Task, count: int | None = None, table: Table = FITS) -> Fit:
    """Look up how a loss goes with a task.

    Args:
        loss: Name of the loss, as in `loss=categorical_crossentropy`.
        count: Classes, labels, or columns of numbers; None where only the data tells.
        table: Of all losses; the user's own has its row in the config.

    Returns:
        The row of the table.

    Raises:
        ConfigError: If they do not go together; it names the losses that do.

    Example:
        >>> fit("sparse_categorical_crossentropy", "classification").form
        'index'
    """
    if task not in table[loss]:
        others = ", ".join(name for name, tasks in table.items() if task in tasks)
        reason = REASONS[task].get(loss, "the fit in its file has no row for that")
        raise ConfigError(f"loss={loss} does not fit a {NOUNS[task]}: {reason}. Use one of {others}.")
    row = table[loss][task]
    if count is not None and 1 <= count < row.least_outputs:
        raise ConfigError(
            f"loss={loss} needs {row.least_outputs} target columns or more, and the data has {count}. "
            "Use loss=mean_squared_error, or more columns."
        )
    return row


def num_outputs(fit: Fit, count: int) -> int:
    """Count the units of the output layer.

    Args:
        fit: How the loss goes with the task.
        count: Classes, labels, or columns of numbers.

    Returns:
        One a class, label or column; one altogether for two classes and a loss of signs or 0 and 1.

    Example:
        >>> num_outputs(fit("binary_crossentropy", "classification"), 2)
        1
    """
    return 1 if fit.one_unit and count == 2 else count


def check_domain(loss: str, fit: Fit, least: float, part: str) -> None:
    """Hold the numbers to predict against those that a loss means anything for.

    Args:
        loss: Name of the loss.
        fit: How it goes with the task.
        least: Of the part's targets.
        part: Name of the part of the data, for the message.

    Raises:
        DataError: If the loss means nothing for it.

    Example:
        >>> check_domain("poisson", fit("poisson", "regression"), 0.0, "training")
    """
    if (fit.domain == "0 or above" and least < 0) or (fit.domain == "above 0" and least <= 0):
        others = ", ".join(name for name, tasks in FITS.items() if tasks is _DISTANCE)
        raise DataError(
            f"loss={loss} needs targets {fit.domain.replace('0 or', 'of 0 or')}; "
            f"the least of the {part} part is {least:g}. Use one of {others}."
        )


def check_target(target: str, loss: str, task: Task, row: Fit | None) -> None:
    """Hold the option of `target` against loss and task.

    Args:
        target: Name of the scale, as in `target=log`.
        loss: Name of the loss.
        row: How the loss goes with the task; None where it does not.

    Raises:
        ConfigError: If it has no effect, or makes numbers that the loss means nothing for.

    Example:
        >>> check_target("log", "mean_squared_error", "regression", FITS["mean_squared_error"]["regression"])
    """
    if target == "auto":
        return
    if task != "regression":
        kind = "classes" if task == "classification" else "labels"
        raise ConfigError(f"target={target} has no effect: it scales numbers, and the data has {kind}. Leave it out.")
    if target in CROSSING_0 and row is not None and row.domain != "any":
        raise ConfigError(
            f"target={target} does not fit loss={loss}: it takes some targets to 0 or below, where that loss means "
            "nothing. Use target=auto or target=none."
        )


def table() -> str:
    """Render which loss goes with which targets and link, as docs/losses.md shows it.

    Returns:
        Markdown, one row for all losses that agree.

    Example:
        >>> table().splitlines()[0]
        '| `loss=` | numbers to predict | classes | labels |'
    """
    rows: dict[tuple[str, ...], list[str]] = {}
    for loss, tasks in FITS.items():
        both = (_classes(tasks.get(task)) for task in ("classification", "multilabel"))
        rows.setdefault((_numbers(tasks.get("regression")), *both), []).append(f"`{loss}`")
    lines = [f"| {' '.join(losses)} | {' | '.join(cells)} |" for cells, losses in rows.items()]
    return "\n".join(["| `loss=` | numbers to predict | classes | labels |", "|---|---|---|---|", *lines])


def _numbers(fit: Fit | None) -> str:
    if fit is None:
        return "refused"
    limits = [fit.domain] if fit.domain != "any" else []
    limits += [f"{fit.least_outputs} columns or more"] if fit.least_outputs > 1 else []
    scaled = {"standardize": "standardised", "mean": "divided by their mean"}[fit.scale]
    if fit.in_units:
        return f"{', '.join([*limits, 'in their own units'])}; {fit.link} times their mean"
    return f"{', '.join([*limits, scaled])}; {fit.link}"


def _classes(fit: Fit | None) -> str:
    if fit is None:
        return "refused"
    form = {"index": "numbers from 0", "one_hot": "one-hot", "signs": "-1 or +1", "zero_one": "0 or 1"}[fit.form]
    link = f"{fit.link} inside" if fit.from_scores else fit.link
    return f"{form}; {link}{'; one unit for 2' if fit.one_unit else ''}"
