import numpy as np
import pytest
import torch
from torch import Tensor

from convgrid.losses import categorical_crossentropy, mean_squared_error, sparse_categorical_crossentropy
from convgrid.objective import Objective
from convgrid.targets import fit

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


def test_mae_is_in_the_datas_units() -> None:
    objective = regression(torch.tensor([[100.0], [300.0]]))
    mae = objective.metric(torch.tensor([[1.0], [-1.0]]), torch.tensor([[290.0], [150.0]]))
    assert mae.tolist() == pytest.approx([10, 50])


def test_mae_averages_over_the_columns_of_targets() -> None:
    objective = regression(torch.tensor([[100.0, 0.0], [300.0, 2.0]]))
    assert objective.metric(torch.zeros(1, 2), torch.tensor([[203.0, 2.0]])).tolist() == pytest.approx([2])


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


def test_accuracy_is_one_where_the_highest_score_is_the_class() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, 0.1], [5.0, 4.0, 3.0], [-1.0, -2.0, -0.5]])
    assert classification("categorical_crossentropy").metric(scores, CLASSES).tolist() == [1, 1, 0, 1]


def test_accuracy_is_told_from_scores_too_close_for_the_softmax() -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 2e4]])
    assert classification("categorical_crossentropy").metric(scores, torch.tensor([0, 2])).tolist() == [1, 1]


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
