"""The metrics against scikit-learn's, on random predictions with ties, absent classes and a single class."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from torch import Tensor

from convgrid.objective import metrics
from convgrid.objective.fit import Fit, Task, fit
from convgrid.objective.metrics import auroc, calibration_error, confusion, evaluate, measurable, r2, top

RNG = np.random.default_rng(0)
PROBABLE, SCORED = fit("categorical_crossentropy", "classification"), fit("hinge", "classification")
LABELS, MARGINS = fit("binary_crossentropy", "multilabel"), fit("hinge", "multilabel")
NUMBERS = fit("mean_squared_error", "regression")


def probabilities(count: int, classes: int, *, steps: int) -> Tensor:
    """Rows that sum to 1, with many ties where the steps are few."""
    parts = RNG.integers(0, steps, (count, classes)) + 1.0
    return torch.tensor(parts / parts.sum(1, keepdims=True), dtype=torch.float32)


def some_classes(count: int, classes: list[int]) -> Tensor:
    return torch.tensor(RNG.choice(classes, count))


def measured(task: Task, row: Fit, predictions: Tensor, targets: Tensor) -> dict[str, float]:
    return evaluate(measurable(task, row, predictions.shape[-1], targets), task, row, predictions, targets)


def sk_auroc(predictions: np.ndarray, has: np.ndarray) -> float:
    """The mean over the columns that scikit-learn defines it for."""
    varying = [column for column in range(has.shape[1]) if 0 < has[:, column].sum() < len(has)]
    return float(np.mean([sk.roc_auc_score(has[:, column], predictions[:, column]) for column in varying]))


def sk_calibration(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Guo et al.'s formula, bin by bin; scikit-learn has none."""
    surest, hits = predictions.max(1), predictions.argmax(1) == targets
    total, edges = 0.0, (np.arange(16) / 15).astype(np.float32)
    for low, high in pairwise(edges):
        inside = (surest > low) & (surest <= high)
        if inside.any():
            total += inside.mean() * abs(surest[inside].astype(float).mean() - hits[inside].mean())
    return total


CLASSES: dict[str, tuple[Tensor, Tensor]] = {
    "many classes": (probabilities(400, 12, steps=1000), some_classes(400, list(range(12)))),
    "ties": (probabilities(400, 7, steps=3), some_classes(400, list(range(7)))),
    "all equal": (torch.full((50, 8), 1 / 8), some_classes(50, list(range(8)))),
    "absent classes": (probabilities(300, 9, steps=20), some_classes(300, [1, 4, 8])),
    "two classes": (probabilities(200, 2, steps=9), some_classes(200, [0, 1])),
    "hits": ((rows := torch.eye(6)[torch.arange(30) % 6]), rows.argmax(1)),
    "one image of a class": (probabilities(40, 3, steps=50), torch.tensor([1] + [0] * 39)),
}


@pytest.mark.parametrize("name", CLASSES)
def test_metrics_of_classes_are_scikit_learns(name: str) -> None:
    predictions, targets = CLASSES[name]
    guesses, truth, count = predictions.numpy(), targets.numpy(), predictions.shape[1]
    first = guesses.argmax(1)
    expected = {
        "accuracy": sk.accuracy_score(truth, first),
        "f1": sk.f1_score(truth, first, average="macro", labels=range(count), zero_division=np.nan),  # pyright: ignore
        "calibration_error": sk_calibration(guesses, truth),
        "auroc": sk_auroc(guesses, np.eye(count)[truth]),
    }
    if count > 5:
        ranked = np.argsort(-guesses, axis=1, kind="stable")[:, :5]
        expected["top5"] = (ranked == truth[:, None]).any(1).mean()
    found = measured("classification", PROBABLE, predictions, targets)
    assert found == pytest.approx(expected, abs=1e-7)
    counts = sk.confusion_matrix(truth, first, labels=range(count))
    assert confusion(predictions, targets).tolist() == counts.tolist()


def test_top5_is_scikit_learns_where_nothing_ties() -> None:
    scores, classes = torch.tensor(RNG.normal(size=(300, 9)), dtype=torch.float32), some_classes(300, list(range(9)))
    found = measured("classification", SCORED, scores, classes)
    expected = sk.top_k_accuracy_score(classes.numpy(), scores.numpy(), k=5, labels=range(9))
    assert found["top5"] == pytest.approx(expected)
    assert 0.5 < expected < 0.6
    assert top(scores, classes, count=1).tolist() == (scores.argmax(1) == classes).tolist()


def test_the_first_of_equal_predictions_is_the_higher_one() -> None:
    """As argmax has it: a network that predicts the same for all classes is not right by every evaluate."""
    same = torch.zeros(8, 8)
    assert top(same, torch.arange(8)).tolist() == [True] * 5 + [False] * 3
    assert not top(torch.full((1, 8), torch.nan), torch.tensor([7])).item()


def test_metrics_of_scores_rank_and_tell_by_the_score() -> None:
    scores, classes = torch.tensor(RNG.normal(0, 5, (200, 3)), dtype=torch.float32), some_classes(200, [0, 1, 2])
    found = measured("classification", SCORED, scores, classes)
    assert list(found) == ["accuracy", "f1", "auroc"]
    assert found["auroc"] == pytest.approx(sk_auroc(scores.numpy(), np.eye(3)[classes.numpy()]))


def test_two_classes_are_ranked_by_the_second() -> None:
    """1 - p is 1 for both of two small p, which would tie them."""
    small = torch.tensor([1e-9, 1e-8, 2e-8, 3e-8])
    found = measured("classification", PROBABLE, torch.stack((1 - small, small), 1), torch.tensor([0, 1, 0, 1]))
    assert found["auroc"] == 0.75


LABELLED: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "four labels": (RNG.random((300, 4)), RNG.random((300, 4)) < [0.5, 0.1, 0.9, 0.3]),
    "ties": (RNG.integers(0, 4, (300, 3)) / 3, RNG.random((300, 3)) < 0.5),
    "one label": (RNG.random((100, 1)), RNG.random((100, 1)) < 0.5),
    "a label that none has": (RNG.random((100, 3)) * [1, 1, 0.4], RNG.random((100, 3)) < [0.5, 0.5, 0]),
    "a label that all have": (RNG.random((100, 2)), RNG.random((100, 2)) < [0.5, 1]),
}


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("row", [LABELS, MARGINS])
def test_metrics_of_labels_are_scikit_learns(name: str, row: Fit) -> None:
    guesses, has = LABELLED[name][0].astype(np.float32), LABELLED[name][1].astype(np.uint8)
    told = (guesses > 0.5).astype(np.uint8)
    expected = {
        "accuracy": 1 - sk.hamming_loss(has, told),
        "exact_match": sk.accuracy_score(has, told),
        "f1": np.nanmean([sk.f1_score(has[:, i], told[:, i], zero_division=np.nan) for i in range(has.shape[1])]),  # pyright: ignore
        "auroc": sk_auroc(guesses, has),
    }
    predictions = torch.tensor(guesses if row is LABELS else guesses - 0.5)  # hinge's scores are signed
    assert measured("multilabel", row, predictions, torch.tensor(has)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("columns", [1, 3])
def test_metrics_of_numbers_are_scikit_learns(columns: int) -> None:
    targets = RNG.normal([250_000, 3, -0.01][:columns], [80_000, 0.5, 0.001][:columns], (200, columns))
    truth = targets.astype(np.float32)
    guesses = (targets + RNG.normal(0, 0.5 * targets.std(0), targets.shape)).astype(np.float32)
    expected = {
        "mae": sk.mean_absolute_error(truth, guesses),
        "rmse": sk.root_mean_squared_error(truth, guesses),
        "r2": sk.r2_score(truth.astype(float), guesses.astype(float)),
    }
    found = measured("regression", NUMBERS, torch.tensor(guesses), torch.tensor(truth))
    assert found == pytest.approx(expected, rel=1e-5)
    assert 0.5 < found["r2"] < 0.9


def test_a_column_that_does_not_vary_leaves_r2_to_the_others() -> None:
    targets = torch.tensor([[1.0, 0.1], [2.0, 0.1], [4.0, 0.1]])
    guesses = torch.tensor([[1.5, 9.0], [2.5, 9.0], [3.0, 9.0]])
    assert r2(guesses, targets).item() == pytest.approx(sk.r2_score(targets[:, 0], guesses[:, 0]))


UNDEFINED: dict[str, tuple[Task, Fit, int, Tensor, str]] = {
    "one class": ("classification", PROBABLE, 3, torch.tensor([1, 1, 1]), "accuracy f1 calibration_error"),
    "one image": ("classification", SCORED, 7, torch.tensor([6]), "accuracy top5 f1"),
    "no label at all": ("multilabel", LABELS, 2, torch.zeros(3, 2, dtype=torch.uint8), "accuracy exact_match"),
    "all labels": ("multilabel", MARGINS, 2, torch.ones(3, 2, dtype=torch.uint8), "accuracy exact_match f1"),
    "constant numbers": ("regression", NUMBERS, 2, torch.full((5, 2), 0.1), "mae rmse"),
    "one row": ("regression", NUMBERS, 1, torch.tensor([[3.0]]), "mae rmse"),
}


@pytest.mark.parametrize("name", UNDEFINED)
def test_a_metric_that_a_part_does_not_define_is_left_out_whatever_is_predicted(name: str) -> None:
    task, row, count, targets, names = UNDEFINED[name]
    assert measurable(task, row, count, targets) == tuple(names.split())
    for predictions in (torch.zeros(len(targets), count), torch.rand(len(targets), count)):
        assert np.isfinite(list(measured(task, row, predictions, targets).values())).all()


@pytest.mark.parametrize("at_once", [1, 450, 1000])
def test_ranking_a_few_classes_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    predictions, targets = CLASSES["ties"]
    has = torch.eye(7, dtype=torch.bool)[targets]
    whole = auroc(predictions, has)
    monkeypatch.setattr(metrics, "RANKED_AT_ONCE", at_once)
    assert torch.equal(auroc(predictions, has), whole)


def test_ranks_of_many_images_are_summed_exactly() -> None:
    """Sums of ranks beyond float32: 8000 images with the label, all above 12000 without, but for one pair."""
    predictions = torch.arange(20_000.0).view(-1, 1)
    has = (predictions >= 12_000).clone()
    has[11_999], has[12_000] = True, False
    assert auroc(predictions, has).item() == 1 - 1 / (8_000 * 12_000)


def test_a_certainty_of_one_falls_into_the_last_bin() -> None:
    predictions = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    assert calibration_error(predictions, torch.tensor([0, 1, 1, 0])).item() == pytest.approx(3 / 4 / 3 + 1 / 4 / 2)


@pytest.mark.parametrize("function", [confusion, top, calibration_error])
def test_nothing_is_changed_in_place(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    predictions, targets = CLASSES["ties"]
    before = predictions.clone(), targets.clone()
    function(predictions, targets)
    assert torch.equal(predictions, before[0])
    assert torch.equal(targets, before[1])
