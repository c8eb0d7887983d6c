"""The metrics of `convgrid.objective.glossary`, exact, from all predictions of a part at once.

Shapes: B images, C classes, L labels, T columns of numbers. Everything stays on the predictions' device until
`evaluate` reads it, once; sums are of float64 or of whole numbers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from convgrid.objective.fit import Fit, Task
from convgrid.objective.glossary import metrics_of

TOP = 5
CALIBRATION_BINS = 15
RANKED_AT_ONCE = 2**22  # predictions: bounds what ranking takes to 300 MB


def measurable(task: Task, row: Fit, count: int, targets: Tensor) -> tuple[str, ...]:
    """Name the metrics that a part of a data set has, whatever is predicted for it.

    AUROC needs a class or label that some images have and others have not, R2 a column that varies, F1 of labels one
    that some image has.

    Args:
        row: How the loss goes with the task.
        count: Classes, labels, or columns of numbers.
        targets: The part's, classes (B,), labels (B, L) or numbers (B, T).

    Returns:
        Names, less "loss"; `convgrid.objective.glossary` says what they mean.

    Example:
        >>> from convgrid.objective.fit import fit
        >>> measurable("regression", fit("logcosh", "regression"), 1, torch.tensor([[7.0], [7.0]]))
        ('mae', 'rmse')
    """
    lacking = {"loss"}
    if not (targets.amax(0) > targets.amin(0)).any():
        lacking |= {"auroc", "r2"}
    if task == "multilabel" and not targets.any():
        lacking |= {"f1"}
    return tuple(name for name in metrics_of(task, row, count) if name not in lacking)


def evaluate(names: Sequence[str], task: Task, row: Fit, predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """Measure predictions by all metrics of a part.

    Args:
        names: Of the metrics, such as `measurable` gives.
        row: How the loss goes with the task.
        predictions: Values of the classes (B, C) or labels (B, L), or numbers (B, T) in the data's units.
        targets: The data's, classes (B,), labels (B, L) or numbers (B, T).

    Returns:
        By name.

    Example:
        >>> from convgrid.objective.fit import fit
        >>> predictions, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]])
        >>> evaluate(["mae", "r2"], "regression", fit("logcosh", "regression"), predictions, targets)
        {'mae': 1.0, 'r2': 0.11111111111111116}
    """
    match task:
        case "classification":
            found = _of_classes(predictions, targets)
        case "multilabel":
            found = _of_labels(predictions, targets, 0.5 if row.gives_probabilities else 0.0)
        case "regression":
            found = _of_numbers(predictions, targets)
    return dict(zip(names, torch.stack([found[name] for name in names]).tolist(), strict=True))


def confusion(predictions: Tensor, targets: Tensor) -> Tensor:
    """Count the images of each class by the class that is predicted highest, the first of equals.

    Args:
        predictions: Values of the classes, shape (B, C).
        targets: Classes, shape (B,).

    Returns:
        A row for each class, a column for each prediction, shape (C, C), int64.

    Example:
        >>> confusion(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), torch.tensor([0, 1, 1]))
        tensor([[1, 0],
                [1, 1]])

    Source: sklearn.metrics.confusion_matrix.
    """
    count = predictions.shape[-1]
    return (targets * count + predictions.argmax(-1)).bincount(minlength=count**2).view(count, count)


def f1(hits: Tensor, actual: Tensor, predicted: Tensor) -> Tensor:
    """Average over classes or labels the harmonic mean of precision and recall.

    2 TP / (2 TP + FP + FN), over those that occur or are predicted.

    Args:
        hits: Images of each class or label that are predicted so, shape (C,).
        actual: Images of each, shape (C,).
        predicted: Images for which each is predicted, shape (C,).

    Returns:
        A number in [0, 1], or NaN where there are no classes at all.

    Example:
        >>> f1(torch.tensor([1, 1, 0]), torch.tensor([1, 2, 0]), torch.tensor([2, 1, 0]))
        tensor(0.6667, dtype=torch.float64)

    Source: sklearn.metrics.f1_score(average="macro", zero_division=nan).
    """
    return (2 * hits.double() / (actual + predicted)).nanmean()  # 0 / 0 is NaN


def top(predictions: Tensor, targets: Tensor, *, count: int = TOP) -> Tensor:
    """Tell for which images the class is among the highest predictions; of equals, the first classes count as higher.

    Args:
        predictions: Values of the classes, shape (B, C).
        targets: Classes, shape (B,).
        count: How many are looked at.

    Returns:
        Shape (B,), bool.

    Example:
        >>> top(torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]), torch.tensor([1, 2]), count=2)
        tensor([ True, False])

    Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015.
    """
    own = predictions.gather(-1, targets[:, None])
    classes = torch.arange(predictions.shape[-1], device=targets.device)
    below = (predictions < own) | ((predictions == own) & (classes >= targets[:, None]))  # NaN is never below
    return (~below).sum(-1) < count


def calibration_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Compare how sure predictions are with how often they are right.

    Sum over 15 bins (0, 1/15], (1/15, 2/15], ... of the highest probability: share of the images in the bin times
    |mean probability - accuracy|.

    Args:
        predictions: Probabilities, shape (B, C).
        targets: Classes, shape (B,).

    Returns:
        A number in [0, 1].

    Example:
        >>> calibration_error(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]))
        tensor(0.2500, dtype=torch.float64)

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    surest, predicted = predictions.max(-1)
    edges = torch.arange(1, CALIBRATION_BINS, device=surest.device) / CALIBRATION_BINS  # linspace misses 3/5 by a bit
    bins = functional.one_hot(torch.bucketize(surest, edges), CALIBRATION_BINS).double()
    excess = surest.double() - (predicted == targets).double()
    return (excess @ bins).abs().sum() / len(targets)


def auroc(predictions: Tensor, targets: Tensor) -> Tensor:
    """Average over classes or labels the chance that an image with it is ranked above one without.

    The area under the receiver operating characteristic; of equal predictions, each is above the other by half. Classes
    or labels that all images have, or none has, do not count.

    Args:
        predictions: A value for each class or label, shape (B, C).
        targets: Whether the image has it, shape (B, C).

    Returns:
        A number in [0, 1]; NaN where no class or label counts.

    Example:
        >>> auroc(torch.tensor([[0.9], [0.4], [0.4], [0.2]]), torch.tensor([[1], [1], [0], [0]]))
        tensor(0.8750, dtype=torch.float64)

    Source: Mann and Whitney, On a test of whether one of two random variables is stochastically larger, 1947.
    """
    width = max(1, RANKED_AT_ONCE // len(targets))
    pairs = zip(predictions.split(width, -1), targets.split(width, -1), strict=True)
    ranks = torch.cat([_rank_sums(some, have) for some, have in pairs])
    having = targets.sum(0).double()
    lacking = len(targets) - having
    return ((ranks - having * (having + 1) / 2) / (having * lacking)).nanmean()  # 0 / 0 is NaN


def r2(predictions: Tensor, targets: Tensor) -> Tensor:
    """Average over columns the share of the variance that predictions explain.

    1 - sum of (t - p)^2 / sum of (t - mean t)^2, over the columns that vary.

    Args:
        predictions: Shape (B, T).
        targets: Shape (B, T).

    Returns:
        A number up to 1, 0 for the mean itself; NaN where no column varies.

    Example:
        >>> r2(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [5.0]]))
        tensor(0.5000, dtype=torch.float64)

    Source: sklearn.metrics.r2_score.
    """
    predictions, targets = predictions.double(), targets.double()
    varies = targets.amax(0) > targets.amin(0)  # rounding gives equal numbers a distance from their mean
    squares = (targets - targets.mean(0)).square().sum(0)
    shares = 1 - (targets - predictions).square().sum(0) / squares.where(varies, 1)
    return shares.where(varies, 0).sum() / varies.sum()


def _of_classes(predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
    counts = confusion(predictions, targets)
    hits = counts.diagonal()
    has = targets[:, None] == torch.arange(len(counts), device=targets.device)
    sides = slice(1, None) if len(counts) == 2 else slice(None)  # two classes mirror each other
    return {
        "accuracy": hits.sum().double() / len(targets),
        "top5": top(predictions, targets).double().mean(),
        "f1": f1(hits, counts.sum(1), counts.sum(0)),
        "calibration_error": calibration_error(predictions, targets),
        "auroc": auroc(predictions[:, sides], has[:, sides]),
    }


def _of_labels(predictions: Tensor, targets: Tensor, threshold: float) -> dict[str, Tensor]:
    told, have = predictions > threshold, targets.bool()
    right = told == have
    return {
        "accuracy": right.double().mean(),
        "exact_match": right.all(-1).double().mean(),
        "f1": f1((told & have).sum(0), have.sum(0), told.sum(0)),
        "auroc": auroc(predictions, have),
    }


def _of_numbers(predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
    errors = predictions.double() - targets.double()
    return {
        "mae": errors.abs().mean(),
        "rmse": errors.square().mean(0).sqrt().mean(),
        "r2": r2(predictions, targets),
    }


def _rank_sums(predictions: Tensor, targets: Tensor) -> Tensor:
    """Sum the ranks, counted from 1, of the images that have each class or label; equals share the mean of theirs."""
    ranked, order = predictions.T.contiguous().sort(-1)
    places = torch.arange(ranked.shape[-1], device=ranked.device)
    differs = ranked[:, 1:] != ranked[:, :-1]
    first = places.where(functional.pad(differs, (1, 0), value=True), 0).cummax(-1).values
    last = (
        places.where(functional.pad(differs, (0, 1), value=True), len(places) - 1).flip(-1).cummin(-1).values.flip(-1)
    )
    has = targets.T.gather(-1, order)
    return ((first + last + 2) * has).sum(-1).double() / 2  # whole numbers up to here
