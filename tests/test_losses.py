"""Losses against NumPy twins and against Keras; the numbers are those of keras 3.15.1, torch backend."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from convgrid.errors import ConfigError
from convgrid.losses import categorical_crossentropy, mean_squared_error, sparse_categorical_crossentropy

PROBABILITIES = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9], [0.2, 0.2, 0.2]])  # the last does not sum to 1
SCORES = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.0, 4.0], [0.1, 0.2, 0.3]])
ONE_HOT = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
CLASSES = torch.tensor([0, 1, 2])
GENERATOR = np.random.default_rng(0)


def close(ours: Tensor, theirs: list[float] | np.ndarray) -> None:
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=2e-5)


def test_mean_squared_error_agrees_with_keras() -> None:
    close(mean_squared_error(PROBABILITIES, ONE_HOT), [0.046667, 0.005, 0.24])


def test_categorical_crossentropy_agrees_with_keras() -> None:
    close(categorical_crossentropy(PROBABILITIES, ONE_HOT), [0.356675, 0.105361, 1.098612])
    close(categorical_crossentropy(SCORES, ONE_HOT, from_logits=True), [0.241311, 0.019045, 1.101943])


def test_smoothed_categorical_crossentropy_agrees_with_keras() -> None:
    close(categorical_crossentropy(PROBABILITIES, ONE_HOT, label_smoothing=0.3), [0.676542, 0.683435, 1.098612])
    smoothed = categorical_crossentropy(SCORES, ONE_HOT, from_logits=True, label_smoothing=0.1)
    close(smoothed, [0.391311, 0.385712, 1.101943])


def test_sparse_categorical_crossentropy_agrees_with_keras() -> None:
    close(sparse_categorical_crossentropy(PROBABILITIES, CLASSES), [0.356675, 2.995732, 1.098612])
    close(sparse_categorical_crossentropy(SCORES, CLASSES, from_logits=True), [0.241311, 4.019045, 1.001943])


def test_a_probability_of_zero_costs_what_it_costs_in_keras() -> None:
    close(categorical_crossentropy(torch.tensor([[1.0, 0.0, 0.0]]), ONE_HOT[2:]), [16.118095])
    close(sparse_categorical_crossentropy(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([1])), [16.118095])


def log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def test_losses_agree_with_their_numpy_twins_on_random_scores() -> None:
    scores, targets = GENERATOR.normal(size=(20, 7)), GENERATOR.integers(7, size=20)
    one_hot = np.eye(7)[targets]
    ours, hot = torch.tensor(scores), torch.tensor(one_hot)
    smoothed = 0.8 * one_hot + 0.2 / 7
    close(mean_squared_error(ours, hot), ((scores - one_hot) ** 2).mean(1))
    close(categorical_crossentropy(ours, hot, from_logits=True), -(one_hot * log_softmax(scores)).sum(1))
    smooth = categorical_crossentropy(ours, hot, from_logits=True, label_smoothing=0.2)
    close(smooth, -(smoothed * log_softmax(scores)).sum(1))
    sparse = sparse_categorical_crossentropy(ours, torch.tensor(targets), from_logits=True)
    close(sparse, -log_softmax(scores)[np.arange(20), targets])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_classes_mean_one_hot_rows_to_categorical_crossentropy(smoothing: float) -> None:
    scores = torch.tensor(GENERATOR.normal(size=(20, 7)))
    classes = torch.tensor(GENERATOR.integers(7, size=20))
    of_classes, of_rows = (
        categorical_crossentropy(scores, targets, from_logits=True, label_smoothing=smoothing)
        for targets in (classes, torch.eye(7)[classes])
    )
    close(of_classes, of_rows.numpy())


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradients_at_huge_scores_are_finite_and_point_to_the_target(smoothing: float) -> None:
    def of_scores(loss: Callable[[Tensor], Tensor]) -> Tensor:
        scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], requires_grad=True)
        values = loss(scores)
        assert values.isfinite().all()
        return torch.autograd.grad(values.sum(), scores)[0]

    targets = torch.tensor([1, 0])
    hot = torch.eye(3)[targets]
    dense = of_scores(lambda scores: categorical_crossentropy(scores, hot, from_logits=True, label_smoothing=smoothing))
    sparse = of_scores(lambda scores: sparse_categorical_crossentropy(scores, targets, from_logits=True))
    for gradient in (dense, sparse):
        assert gradient.isfinite().all()
        assert (gradient[[0, 1], targets] < -0.5).all()


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused_by_its_key(smoothing: float) -> None:
    with pytest.raises(ConfigError) as caught:
        categorical_crossentropy(SCORES, ONE_HOT, from_logits=True, label_smoothing=smoothing)
    assert str(caught.value) == f"loss.label_smoothing={smoothing} must be in [0, 1]: it is a share of the target."


def test_both_ends_of_smoothing_are_allowed() -> None:
    close(
        categorical_crossentropy(SCORES, ONE_HOT, from_logits=True, label_smoothing=0), [0.241311, 0.019045, 1.101943]
    )
    uniform = categorical_crossentropy(SCORES, ONE_HOT, from_logits=True, label_smoothing=1)
    close(uniform, -log_softmax(SCORES.double().numpy()).mean(1))
