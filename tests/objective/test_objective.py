import numpy as np
import pytest
import torch
from torch import Tensor

from convgrid import losses
from convgrid.losses import categorical_crossentropy, mean_squared_error, sparse_categorical_crossentropy
from convgrid.objective.fit import FITS, Task, fit
from convgrid.objective.objective import Objective
from convgrid.scales import Log

RNG = np.random.default_rng(0)
PRICES = torch.tensor(RNG.normal([250_000, 3], [80_000, 0.5], size=(50, 2)), dtype=torch.float32)
CLASSES = torch.tensor([0, 2, 1, 2])


def regression(targets: Tensor = PRICES) -> Objective:
    return Objective(mean_squared_error, "regression", fit("mean_squared_error", "regression"), targets)


def classification(name: str) -> Objective:
    losses = {
        "mean_squared_error": mean_squared_error,
        "categorical_crossentropy": categorical_crossentropy,
        "sparse_categorical_crossentropy": sparse_categorical_crossentropy,
    }
    return Objective(losses[name], "classification", fit(name, "classification"), CLASSES)


def softmax(scores: np.ndarray) -> np.ndarray:
    exponents = np.exp(scores - scores.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True)


def test_standardised_targets_come_back_in_the_datas_units() -> None:
    objective = regression()
    prices = PRICES.double().numpy()
    standardised = (prices - prices.mean(0)) / prices.std(0)
    predictions = objective.predictions(torch.tensor(standardised, dtype=torch.float32))
    np.testing.assert_allclose(predictions.numpy(), prices, rtol=1e-5)


def test_the_loss_of_numbers_is_that_of_standardised_numbers() -> None:
    prices, scores = PRICES.double().numpy(), RNG.normal(size=(50, 2))
    expected = ((scores - (prices - prices.mean(0)) / prices.std(0)) ** 2).mean(1)
    losses = regression().losses(torch.tensor(scores, dtype=torch.float32), PRICES)
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-4)


def test_a_target_that_never_varies_is_only_shifted() -> None:
    objective = regression(torch.full((4, 1), 7.0))
    assert objective.predictions(torch.tensor([[0.0]])).item() == 7
    assert objective.losses(torch.tensor([[2.0]]), torch.tensor([[8.0]])).item() == pytest.approx(1)


def test_the_scale_is_fitted_on_what_it_was_made_with_and_travels_with_the_weights() -> None:
    other = regression(torch.zeros(2, 2))
    other.load_state_dict(regression().state_dict())
    scores = torch.ones(1, 2)
    assert torch.equal(other.predictions(scores), regression().predictions(scores))


@pytest.mark.parametrize("name", ["mean_squared_error", "categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_every_loss_takes_class_numbers_and_predicts_probabilities(name: str) -> None:
    scores = RNG.normal(size=(4, 3))
    probabilities, hot = softmax(scores), np.eye(3)[CLASSES.numpy()]
    expected = {
        "mean_squared_error": ((probabilities - hot) ** 2).mean(1),
        "categorical_crossentropy": -(hot * np.log(probabilities)).sum(1),
        "sparse_categorical_crossentropy": -np.log(probabilities[np.arange(4), CLASSES.numpy()]),
    }[name]
    objective = classification(name)
    np.testing.assert_allclose(objective.losses(torch.tensor(scores), CLASSES).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(objective.predictions(torch.tensor(scores)).numpy(), probabilities, rtol=1e-6)


def test_the_highest_score_is_the_highest_prediction_however_large_scores_are() -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 2e4]])
    assert classification("categorical_crossentropy").predictions(scores).argmax(-1).tolist() == [0, 2]


@pytest.mark.parametrize("name", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_gradients_at_huge_scores_are_finite(name: str) -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], requires_grad=True)
    losses = classification(name).losses(scores, torch.tensor([1, 0]))
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    assert losses.isfinite().all()
    assert gradient.isfinite().all()
    assert (gradient[[0, 1], [1, 0]] == -1).all()


def test_a_smoothed_loss_reaches_the_objective() -> None:
    from functools import partial

    smoothed = partial(categorical_crossentropy, label_smoothing=1.0)
    row = fit("categorical_crossentropy", "classification")
    objective = Objective(smoothed, "classification", row, CLASSES)
    assert objective.losses(torch.zeros(4, 3), CLASSES).tolist() == pytest.approx([np.log(3)] * 4)


# --- all fourteen


def objective_of(name: str, task: Task, targets: Tensor) -> Objective:
    return Objective(getattr(losses, name), task, fit(name, task), targets)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-scores))


def short_of(scores: np.ndarray, hot: np.ndarray) -> np.ndarray:
    return np.maximum(1 - (2 * hot - 1) * scores, 0)


def cosines(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return (scores * targets).sum(1) / np.linalg.norm(scores, axis=1) / np.linalg.norm(targets, axis=1)


# From scores and one-hot rows; of two classes and one unit, from scores (B, 1) and 0 or 1.
OF_CLASSES = {
    "mean_squared_error": lambda s, hot: ((softmax(s) - hot) ** 2).mean(1),
    "mean_absolute_error": lambda s, hot: np.abs(softmax(s) - hot).mean(1),
    "logcosh": lambda s, hot: np.log(np.cosh(softmax(s) - hot)).mean(1),
    "hinge": lambda s, hot: short_of(s, hot).mean(1),
    "squared_hinge": lambda s, hot: (short_of(s, hot) ** 2).mean(1),
    "categorical_hinge": lambda s, hot: np.maximum(1 + ((1 - hot) * s).max(1) - (hot * s).sum(1), 0),
    "categorical_crossentropy": lambda s, hot: -(hot * np.log(softmax(s))).sum(1),
    "sparse_categorical_crossentropy": lambda s, hot: -(hot * np.log(softmax(s))).sum(1),
    "kullback_leibler_divergence": lambda s, hot: -(hot * np.log(softmax(s))).sum(1),
    "binary_crossentropy": lambda s, hot: -np.log(np.where(hot == 1, sigmoid(s), 1 - sigmoid(s))).mean(1),
    "cosine_proximity": lambda s, hot: -cosines(s, hot),
}


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_loss_of_classes_takes_them_in_its_own_form(name: str) -> None:
    scores, hot = RNG.normal(size=(4, 3)), np.eye(3)[CLASSES.numpy()]
    found = objective_of(name, "classification", CLASSES).losses(torch.tensor(scores), CLASSES)
    np.testing.assert_allclose(found.numpy(), OF_CLASSES[name](scores, hot), rtol=1e-5)  # Keras' KL bounds 0 by 1e-7
    assert set(OF_CLASSES) == {loss for loss, tasks in FITS.items() if "classification" in tasks}


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "binary_crossentropy"])
def test_two_classes_take_one_unit_and_come_back_as_two_columns(name: str) -> None:
    scores, classes = RNG.normal(size=(6, 1)), torch.tensor([0, 1, 1, 0, 1, 0])
    objective = objective_of(name, "classification", classes)
    found = objective.losses(torch.tensor(scores), classes)
    np.testing.assert_allclose(found.numpy(), OF_CLASSES[name](scores, classes.numpy()[:, None]), rtol=1e-6)
    of_1 = sigmoid(scores[:, 0]) if name == "binary_crossentropy" else scores[:, 0]
    of_0 = 1 - of_1 if name == "binary_crossentropy" else -of_1
    predictions = objective.predictions(torch.tensor(scores))
    np.testing.assert_allclose(predictions.numpy(), np.stack((of_0, of_1), 1), rtol=1e-6)
    assert predictions.argmax(-1).tolist() == (scores[:, 0] > 0).tolist()


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "binary_crossentropy"])
@pytest.mark.parametrize("labels", [1, 2, 4])
def test_each_label_has_a_unit_and_a_prediction_of_its_own(name: str, labels: int) -> None:
    scores, has = RNG.normal(size=(6, labels)), RNG.integers(0, 2, (6, labels)).astype(np.uint8)
    objective = objective_of(name, "multilabel", torch.tensor(has))
    found = objective.losses(torch.tensor(scores), torch.tensor(has))
    np.testing.assert_allclose(found.numpy(), OF_CLASSES[name](scores, has.astype(float)), rtol=1e-6)
    expected = sigmoid(scores) if name == "binary_crossentropy" else scores
    np.testing.assert_allclose(objective.predictions(torch.tensor(scores)).numpy(), expected, rtol=1e-6)


def test_a_batch_without_and_one_with_all_labels_are_opposite_margins() -> None:
    """Keras converts 0 and 1 throughout a batch to signs: of a batch of ones it must not take them for that."""
    scores = torch.full((2, 3), 0.25)
    objective = objective_of("hinge", "multilabel", torch.zeros(2, 3))
    assert objective.losses(scores, torch.ones(2, 3, dtype=torch.uint8)).tolist() == [0.75, 0.75]
    assert objective.losses(scores, torch.zeros(2, 3, dtype=torch.uint8)).tolist() == [1.25, 1.25]


AMOUNTS = RNG.gamma(2, [3.0, 400.0], size=(50, 2))
MEAN, STD = AMOUNTS.mean(0), AMOUNTS.std(0)


def softplus(scores: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(scores))


def standardised(numbers: np.ndarray) -> np.ndarray:
    return (numbers - MEAN) / STD


# From scores and numbers in the data's units.
OF_NUMBERS = {
    "mean_squared_error": lambda s, t: ((s - standardised(t)) ** 2).mean(1),
    "mean_absolute_error": lambda s, t: np.abs(s - standardised(t)).mean(1),
    "logcosh": lambda s, t: np.log(np.cosh(s - standardised(t))).mean(1),
    "mean_absolute_percentage_error": lambda s, t: 100 * np.abs(softplus(s) * MEAN / t - 1).mean(1),
    "poisson": lambda s, t: (softplus(s) - t / MEAN * np.log(softplus(s) + 1e-7)).mean(1),
    "mean_squared_logarithmic_error": lambda s, t: ((np.log1p(softplus(s) * MEAN) - np.log1p(t)) ** 2).mean(1),
    "cosine_proximity": lambda s, t: -cosines(s, standardised(t)),
}


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_loss_of_numbers_takes_them_on_its_own_scale(name: str) -> None:
    scores, numbers = RNG.normal(size=(50, 2)), torch.tensor(AMOUNTS)
    objective = objective_of(name, "regression", numbers)
    found = objective.losses(torch.tensor(scores), numbers)
    np.testing.assert_allclose(found.numpy(), OF_NUMBERS[name](scores, AMOUNTS), rtol=1e-6)
    positive = fit(name, "regression").link == "softplus"
    expected = softplus(scores) * MEAN if positive else scores * STD + MEAN
    np.testing.assert_allclose(objective.predictions(torch.tensor(scores)).numpy(), expected, rtol=1e-6)
    assert set(OF_NUMBERS) == {loss for loss, tasks in FITS.items() if "regression" in tasks}


def test_a_scale_that_was_asked_for_takes_the_place_of_the_losss_own() -> None:
    row = fit("mean_squared_error", "regression")
    objective = Objective(mean_squared_error, "regression", row, torch.tensor(AMOUNTS), Log)
    logs, scores = np.log(AMOUNTS), RNG.normal(size=(50, 2))
    expected = ((scores - (logs - logs.mean(0)) / logs.std(0)) ** 2).mean(1)
    found = objective.losses(torch.tensor(scores), torch.tensor(AMOUNTS))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    predictions = np.exp(scores * logs.std(0) + logs.mean(0))
    np.testing.assert_allclose(objective.predictions(torch.tensor(scores)).numpy(), predictions, rtol=1e-6)
