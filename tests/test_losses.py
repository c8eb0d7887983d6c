"""Losses against Keras' numbers and against their formulas in NumPy, and at the edges of what floats hold."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convgrid import losses
from convgrid.config import CONF
from convgrid.errors import ConfigError

NAMES = [  # those of the design
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "squared_hinge",
    "hinge",
    "categorical_hinge",
    "logcosh",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "binary_crossentropy",
    "kullback_leibler_divergence",
    "poisson",
    "cosine_proximity",
]
HALVES = [torch.float16, torch.bfloat16]

# fmt: off
# Predictions and targets, with errors of 0, targets of 0, scores on a hinge's kink, ties, and probabilities of 0 and 1.
INPUTS: dict[str, tuple[Any, Any]] = {
    "numbers": ([[0.4, -1.3, 2.5], [12.0, 0.0, -0.7], [1.0, 2.0, 30.0]],
                [[0.5, -1.0, 2.5], [-3.0, 0.0, 0.8], [1.5, -2.0, 7.0]]),
    "rates": ([[0.4, 1.3, 2.5], [12.0, 0.0, 0.7], [1.0, 2.0, 30.0]],
              [[0.5, 1.0, 2.5], [3.0, 1.0, 0.0], [0.0, 2.0, 7.0]]),
    "signs": ([[0.4, -1.3, 2.5], [12.0, 0.0, -0.7], [1.0, -2.0, 0.3]],
              [[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, -1.0]]),
    "bits": ([[0.4, -1.3, 2.5], [12.0, 0.0, -0.7], [1.0, -2.0, 0.3]],
             [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0]]),
    "scores": ([[2.0, -1.0, 0.5], [-3.0, -0.5, -4.0], [0.1, 0.6, 0.6]],
               [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]),
    "shares": ([[0.7, 0.2, 0.1], [0.0, 0.0, 1.0], [0.2, 0.2, 0.2]],
               [[0.6, 0.3, 0.1], [0.0, 0.0, 1.0], [0.5, 0.25, 0.25]]),
    "spread": ([[2.0, -1.0, 0.5], [-3.0, -0.5, -4.0], [0.1, 0.6, 0.6]],
               [[0.6, 0.3, 0.1], [0.0, 0.0, 1.0], [0.5, 0.25, 0.25]]),
    "classes": ([[0.7, 0.2, 0.1], [0.05, 0.0, 0.95], [0.2, 0.2, 0.2]],
                [0, 1, 2]),
    "sparse": ([[2.0, -1.0, 0.5], [-3.0, -0.5, -4.0], [0.1, 0.6, 0.6]],
               [0, 1, 2]),
    "yes": ([[0.7, 0.2, 1.0], [0.05, 0.0, 0.95], [0.2, 1.0, 0.5]],
            [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.3, 0.0, 1.0]]),
}

# keras 3.15.1, torch backend, float64: values, and the gradient of their sum, of keras.losses.<name> on the INPUTS, to
# 13 digits. Keras lowers float64 to float32 in some operations; it was kept from that, by BIT64_TO_BIT32_DTYPE.
KERAS: list[tuple[str, str, dict[str, Any], list[float], list[float]]] = [
    ("mean_squared_error", "numbers", {},
     [0.03333333333333, 75.75, 181.75],
     [-0.06666666666667, -0.2, 0.0, 10.0, 0.0, -1.0, -0.3333333333333, 2.666666666667, 15.33333333333]),
    ("mean_absolute_error", "numbers", {},
     [0.1333333333333, 5.5, 9.166666666667],
     [-0.3333333333333, -0.3333333333333, 0.0, 0.3333333333333, 0.0, -0.3333333333333, -0.3333333333333,
      0.3333333333333, 0.3333333333333]),
    ("mean_absolute_percentage_error", "numbers", {},
     [16.66666666667, 229.1666666667, 187.3015873016],
     [-66.66666666667, -33.33333333333, 0.0, 11.11111111111, 0.0, -41.66666666667, -22.22222222222, 16.66666666667,
      4.761904761905]),
    ("mean_absolute_percentage_error", "rates", {},
     [16.66666666667, 233333466.6667, 333333442.8571],
     [-66.66666666667, 33.33333333333, 0.0, 11.11111111111, -33.33333333333, 333333333.3333, 333333333.3333, 0.0,
      4.761904761905]),
    ("mean_squared_logarithmic_error", "rates", {},
     [0.008097805617497, 0.7170822367965, 0.7717489426378],
     [-0.03285374832712, 0.04051070793483, 0.0, 0.06044384596624, 0.0, 0.2080894710048, 0.2310490268533, 0.0,
      0.02913001425388]),
    ("logcosh", "numbers", {},
     [0.01644415291586, 5.054097663485, 8.578051850737],
     [-0.03322266487499, -0.09710420415053, 0.0, 0.3333333333333, 0.0, -0.3017160845483, -0.15403905242,
      0.3331097665797, 0.3333333333333]),
    ("poisson", "rates", {},
     [0.7016846566204, 7.121125225531, 2.601774614637],
     [-0.08333322916669, 0.07692309664694, 1.33333327712e-08, 0.2500000006944, -3333333.0, 0.3333333333333,
      0.3333333333333, 1.666666582523e-08, 0.2555555558148]),
    ("cosine_proximity", "numbers", {},
     [-0.9943254636044, 0.9795999957643, -0.9279566112773],
     [-0.01504753788011, -0.03128303927708, -0.01385957436326, -0.0009735630886759, 0.0, -0.01668965294873,
      -0.005682753660222, 0.0109948929513, -0.0005435677414125]),
    ("hinge", "signs", {},
     [0.2, 5.233333333333, 1.433333333333],
     [-0.3333333333333, 0.0, 0.0, 0.3333333333333, -0.3333333333333, -0.3333333333333, -0.1666666666667,
      -0.3333333333333, 0.3333333333333]),
    ("hinge", "bits", {},
     [0.2, 5.233333333333, 1.433333333333],
     [-0.3333333333333, 0.0, 0.0, 0.3333333333333, -0.3333333333333, -0.3333333333333, -0.1666666666667,
      -0.3333333333333, 0.3333333333333]),
    ("squared_hinge", "signs", {},
     [0.12, 57.63, 3.563333333333],
     [-0.4, 0.0, 0.0, 8.666666666667, -0.6666666666667, -1.133333333333, 0.0, -2.0, 0.8666666666667]),
    ("squared_hinge", "bits", {},
     [0.12, 57.63, 3.563333333333],
     [-0.4, 0.0, 0.0, 8.666666666667, -0.6666666666667, -1.133333333333, 0.0, -2.0, 0.8666666666667]),
    ("categorical_hinge", "scores", {},
     [0.0, 5.0, 1.5],
     [0.0, 0.0, 0.0, 0.0, 0.0, -1.0, -1.0, 0.5, 0.5]),
    ("categorical_crossentropy", "shares", {},
     [0.9270948493929, 1.000000049474e-07, 1.098612288668],
     [0.1428571428571, -0.5, 2.22044604925e-16, 0.0, 0.0, 0.0, -0.8333333333333, 0.4166666666667, 0.4166666666667]),
    ("categorical_crossentropy", "shares", {"label_smoothing": 0.3},
     [1.075836189512, 3.223619210192, 1.098612288668],
     [0.2571428571429, -0.55, -0.7, 0.0, 0.0, 0.0, -0.5833333333333, 0.2916666666667, 0.2916666666667]),
    ("categorical_crossentropy", "spread", {"from_logits": True},
     [1.291311296657, 3.60641410428, 1.208020087947],
     [0.1855970345893, -0.2608874267293, 0.07529039214004, 0.07379870431184, 0.8990522695867, -0.9728509738986,
      -0.2673034623811, 0.1336517311906, 0.1336517311906]),
    ("categorical_crossentropy", "spread", {"from_logits": True, "label_smoothing": 0.3},
     [1.426311296657, 3.15641410428, 1.183020087947],
     [0.2655970345893, -0.2708874267293, 0.005290392140037, -0.02620129568816, 0.7990522695867, -0.7728509738986,
      -0.2173034623811, 0.1086517311906, 0.1086517311906]),
    ("sparse_categorical_crossentropy", "classes", {},
     [0.3566749439387, 16.11809565096, 1.098612288668],
     [-0.4285714285714, 1.0, 1.0, 0.0, 0.0, 0.0, 1.666666666667, 1.666666666667, -3.333333333333]),
    ("sparse_categorical_crossentropy", "sparse", {"from_logits": True},
     [0.2413112966572, 0.10641410428, 0.958020087947],
     [-0.2144029654107, 0.03911257327069, 0.17529039214, 0.07379870431184, -0.1009477304133, 0.02714902610142,
      0.2326965376189, 0.3836517311906, -0.6163482688094]),
    ("binary_crossentropy", "yes", {},
     [0.1932728650843, 5.406894079911, 5.816758230565],
     [-0.4761904761905, 0.4166666666667, 0.0, 0.3508771929825, 0.0, -0.3508771929825, -0.2083333333333, 0.0,
      -0.6666666666667]),
    ("binary_crossentropy", "yes", {"label_smoothing": 0.3},
     [1.110857253734, 4.89543320028, 5.038579340213],
     [-0.2380952380952, 0.1041666666667, 0.0, -0.7017543859649, 0.0, 0.7017543859649, -0.3333333333333, 0.0,
      -0.4666666666667]),
    ("binary_crossentropy", "bits", {"from_logits": True},
     [0.2776378135085, 4.598779791213, 1.098181647677],
     [-0.1337707799625, 0.07138833898581, -0.02528606000708, 0.3333312852751, -0.1666666666667, -0.2227292573894,
      -0.08964714045667, -0.2935990259926, 0.1914808389372]),
    ("binary_crossentropy", "bits", {"from_logits": True, "label_smoothing": 0.3},
     [0.4876378135085, 3.963779791213, 1.033181647677],
     [-0.08377077996252, 0.02138833898581, 0.02471393999292, 0.2833312852751, -0.1166666666667, -0.1727292573894,
      -0.03964714045667, -0.2435990259926, 0.1414808389372]),
    ("kullback_leibler_divergence", "shares", {},
     [0.02914912453609, 0.0, 0.5697171415942],
     [-0.8571428571429, -1.5, -1.0, 0.0, 0.0, -1.0, -2.5, -1.25, -1.25]),
]
# fmt: on

CASES = [case[:3] for case in KERAS] + [("kullback_leibler_divergence", "spread", {"from_logits": True})]
ALL_CASES = pytest.mark.parametrize(("name", "kind", "options"), CASES)


def loss_of(name: str, options: dict[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda predictions, targets: getattr(losses, name)(predictions, targets, **options)


def tensors(kind: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    predictions, targets = INPUTS[kind]
    types = None if kind in ("classes", "sparse") else dtype
    return torch.tensor(predictions, dtype=dtype), torch.tensor(targets, dtype=types)


def with_gradient(name: str, options: dict[str, Any], predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    predictions = predictions.detach().requires_grad_()
    values = getattr(losses, name)(predictions, targets, **options)
    return values.detach(), torch.autograd.grad(values.sum(), predictions)[0]


def test_the_fourteen_losses_are_there_under_the_designs_names() -> None:
    assert sorted(losses.__all__) == sorted(NAMES)
    assert len(NAMES) == 14
    assert {name for name, _, _ in CASES} == set(NAMES) == set(TWINS)
    assert len(CASES) == 25


def test_each_loss_is_an_option() -> None:
    options = {path.stem: yaml.safe_load(path.read_text()) for path in (CONF / "loss").glob("*.yaml")}
    assert set(options) == set(NAMES)
    assert all(option["_target_"] == f"convgrid.losses.{name}" for name, option in options.items())
    assert {name for name in NAMES if "label_smoothing" in options[name]} == set(SMOOTHED)


# --- against Keras and NumPy


@pytest.mark.reference("loss", *{case[0] for case in KERAS})
@pytest.mark.parametrize(("name", "kind", "options", "values", "gradient"), KERAS)
def test_values_and_gradients_are_those_of_keras(
    name: str, kind: str, options: dict[str, Any], values: list[float], gradient: list[float]
) -> None:
    found, slope = with_gradient(name, options, *tensors(kind))
    np.testing.assert_allclose(found.numpy(), values, rtol=1e-12)
    np.testing.assert_allclose(slope.flatten().numpy(), gradient, rtol=1e-11, atol=1e-15)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def crossentropy(
    p: np.ndarray, t: np.ndarray, *, from_logits: bool = False, label_smoothing: float = 0.0
) -> np.ndarray:
    logs = log_softmax(p) if from_logits else np.log(p / p.sum(1, keepdims=True))
    return -((t * (1 - label_smoothing) + label_smoothing / p.shape[1]) * logs).sum(1)


def binary(p: np.ndarray, t: np.ndarray, *, from_logits: bool = False, label_smoothing: float = 0.0) -> np.ndarray:
    p = 1 / (1 + np.exp(-p)) if from_logits else p
    t = t + label_smoothing * (0.5 - t)
    return -(np.log(p**t) + np.log((1 - p) ** (1 - t))).mean(1)


def divergence(p: np.ndarray, t: np.ndarray, *, from_logits: bool = False) -> np.ndarray:
    return (t * np.log(t)).sum(1) + crossentropy(
        p if from_logits else np.log(p / p.sum(1, keepdims=True)), t, from_logits=True
    )


def best_other(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.array([max(0.0, *row[one_hot == 0]) for row, one_hot in zip(p, t, strict=True)])


TWINS: dict[str, Callable[..., np.ndarray]] = {
    "mean_squared_error": lambda p, t: ((p - t) ** 2).mean(1),
    "mean_absolute_error": lambda p, t: np.abs(p - t).mean(1),
    "mean_absolute_percentage_error": lambda p, t: 100 * np.abs(p / t - 1).mean(1),
    "mean_squared_logarithmic_error": lambda p, t: (np.log((1 + p) / (1 + t)) ** 2).mean(1),
    "squared_hinge": lambda p, t: (np.maximum(0, np.where(t == 1, 1 - p, 1 + p)) ** 2).mean(1),
    "hinge": lambda p, t: np.maximum(0, np.where(t == 1, 1 - p, 1 + p)).mean(1),
    "categorical_hinge": lambda p, t: np.maximum(0, best_other(p, t) - p[t == 1] + 1),
    "logcosh": lambda p, t: np.log(np.cosh(p - t)).mean(1),
    "categorical_crossentropy": crossentropy,
    "sparse_categorical_crossentropy": lambda p, t, **options: crossentropy(p, np.eye(p.shape[1])[t], **options),
    "binary_crossentropy": binary,
    "kullback_leibler_divergence": divergence,
    "poisson": lambda p, t: (p - t * np.log(p + 1e-7)).mean(1),
    "cosine_proximity": lambda p, t: -(p * t).sum(1) / np.sqrt((p**2).sum(1) * (t**2).sum(1)),
}
SMOOTHED = ["binary_crossentropy", "categorical_crossentropy"]


def drawn(kind: str, seed: int, size: tuple[int, int] = (4, 3)) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets away from kinks and bounds."""
    rng = np.random.default_rng(seed)
    scores, classes = rng.normal(size=size), rng.integers(size[1], size=size[0])
    shares = np.exp(log_softmax(scores))
    bits = rng.integers(2, size=size).astype(float)
    return {
        "numbers": (scores, scores + rng.normal(size=size)),
        "rates": (np.exp(scores), 1.0 + rng.poisson(3, size)),
        "signs": (scores, 2 * bits - 1),
        "bits": (scores, bits),
        "scores": (scores, np.eye(size[1])[classes]),
        "shares": (shares, np.exp(log_softmax(rng.normal(size=size)))),
        "spread": (scores, np.exp(log_softmax(rng.normal(size=size)))),
        "classes": (shares, classes),
        "sparse": (scores, classes),
        "yes": (1 / (1 + np.exp(-scores)), rng.random(size)),
    }[kind]


SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 6), st.integers(2, 9))


@pytest.mark.reference("loss", *TWINS)
@ALL_CASES
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=SIZES)
def test_values_are_those_of_the_formula(
    name: str, kind: str, options: dict[str, Any], seed: int, size: tuple[int, int]
) -> None:
    predictions, targets = drawn(kind, seed, size)
    values = loss_of(name, options)(torch.from_numpy(predictions), torch.from_numpy(targets))
    assert values.shape == size[:1]
    np.testing.assert_allclose(values.numpy(), TWINS[name](predictions, targets, **options), rtol=1e-9, atol=1e-12)


@ALL_CASES
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_the_slopes_of_the_values(name: str, kind: str, options: dict[str, Any], seed: int) -> None:
    predictions, targets = (torch.from_numpy(array) for array in drawn(kind, seed))
    assert torch.autograd.gradcheck(loss_of(name, options), (predictions.requires_grad_(), targets))


# --- at the edges of what floats hold


@ALL_CASES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES])
def test_huge_scores_and_zero_targets_are_finite(
    name: str, kind: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    huge = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0]], dtype=dtype)
    targets = tensors(kind, dtype)[1]
    for given_targets in (targets, torch.zeros_like(targets)):
        values, gradient = with_gradient(name, options, huge, given_targets)
        assert values.isfinite().all()
        assert values.shape == (3,)
        assert gradient.isfinite().all()
        assert gradient.dtype == dtype
        assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@ALL_CASES
@pytest.mark.parametrize("dtype", HALVES)
def test_halves_cost_what_the_same_numbers_cost_in_float32(
    name: str, kind: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    predictions, targets = tensors(kind, dtype)
    values, gradient = with_gradient(name, options, predictions, targets)
    wide_targets = targets.float() if targets.is_floating_point() else targets
    expected, slope = with_gradient(name, options, predictions.float(), wide_targets)
    assert torch.equal(values, expected)
    most = torch.finfo(dtype).max
    assert torch.equal(gradient, slope.clamp(-most, most).to(dtype))


def test_a_gradient_too_steep_for_float16_ends_at_its_largest_number() -> None:
    half = torch.zeros(1, 2, dtype=torch.float16)
    _, gradient = with_gradient("mean_absolute_percentage_error", {}, half + 1, half)
    assert gradient.tolist() == [[65504.0, 65504.0]]
    _, gradient = with_gradient("poisson", {}, half, half + 1)
    assert gradient.tolist() == [[-65504.0, -65504.0]]
    nearly_zero = torch.tensor([[2**-23, 1.0]], dtype=torch.float16)
    for name in ("categorical_crossentropy", "binary_crossentropy", "kullback_leibler_divergence"):
        _, gradient = with_gradient(name, {}, nearly_zero, torch.tensor([[1.0, 0.0]]))
        assert gradient[0, 0] == -65504
    _, gradient = with_gradient("sparse_categorical_crossentropy", {}, nearly_zero, torch.tensor([0]))
    assert gradient[0, 0] == -65504


def test_a_gradient_that_a_scaler_scaled_too_far_overflows_for_it_to_see() -> None:
    predictions = torch.ones(1, 1, dtype=torch.float16, requires_grad=True)
    scaled = losses.mean_squared_error(predictions, torch.zeros(1, 1)) * 65536
    assert torch.autograd.grad(scaled.sum(), predictions)[0].isinf().all()


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.3}])
def test_huge_scores_are_pulled_to_the_target(options: dict[str, Any]) -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]])
    one_hot = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    for name in ("categorical_crossentropy", "kullback_leibler_divergence"):
        given_options = options if name in SMOOTHED else {}
        _, gradient = with_gradient(name, {"from_logits": True, **given_options}, scores, one_hot)
        assert (gradient[one_hot == 1] < -0.5).all()
    _, gradient = with_gradient("binary_crossentropy", {"from_logits": True, **options}, scores, one_hot)
    assert (gradient[one_hot == 1] < -0.2).all()


def test_the_divergence_of_scores_is_that_of_their_softmax() -> None:
    scores, targets = (torch.from_numpy(array) for array in drawn("spread", 0))
    of_shares = losses.kullback_leibler_divergence(scores.softmax(-1), targets)
    torch.testing.assert_close(losses.kullback_leibler_divergence(scores, targets, from_logits=True), of_shares)


def test_the_divergence_of_a_softmax_of_zero_has_no_gradient_but_that_of_its_scores_has() -> None:
    scores, target = torch.tensor([[1e4, -1e4]], requires_grad=True), torch.tensor([[0.0, 1.0]])
    linked = losses.kullback_leibler_divergence(scores.softmax(-1), target)
    direct = losses.kullback_leibler_divergence(scores, target, from_logits=True)
    assert torch.autograd.grad(linked.sum(), scores)[0].tolist() == [[0.0, 0.0]]
    np.testing.assert_allclose(torch.autograd.grad(direct.sum(), scores)[0], [[1.0, -1.0]], atol=1e-6)


def test_a_rate_below_zero_counts_as_zero() -> None:
    targets = torch.tensor([[1.0, 4.0]])
    values, gradient = with_gradient("poisson", {}, torch.tensor([[-3.0, -1e-9]]), targets)
    torch.testing.assert_close(values, losses.poisson(torch.zeros(1, 2), targets))
    assert gradient.tolist() == [[0.0, 0.0]]


def test_a_prediction_of_zeros_turns_to_the_target() -> None:
    values, gradient = with_gradient("cosine_proximity", {}, torch.zeros(1, 2), torch.tensor([[3.0, -4.0]]))
    assert values.tolist() == [0.0]
    np.testing.assert_allclose(gradient, [[-0.6e7, 0.8e7]], rtol=1e-6)


@pytest.mark.parametrize("name", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_probabilities_whose_sum_is_zero_are_taken_as_they_are(name: str) -> None:
    values, gradient = with_gradient(name, {}, torch.tensor([[0.0, 0.0], [1.0, -1.0]]), torch.tensor([1, 1]))
    np.testing.assert_allclose(values, [-np.log(1e-7)] * 2, rtol=1e-6)
    assert gradient.isfinite().all()


# --- operands


PAIRED = [name for name in NAMES if name not in ("categorical_crossentropy", "sparse_categorical_crossentropy")]


@pytest.mark.parametrize("name", PAIRED)
def test_targets_of_one_column_may_come_as_a_vector(name: str) -> None:
    predictions, targets = torch.tensor([[0.2], [0.7], [0.4]]), torch.tensor([1.0, 0.0, 1.0])
    values = getattr(losses, name)(predictions, targets)
    assert values.shape == (3,)
    assert torch.equal(values, getattr(losses, name)(predictions, targets[:, None]))


@pytest.mark.parametrize("name", [*PAIRED, "categorical_crossentropy"])
@pytest.mark.parametrize("shape", [(3, 2), (1, 3), (3, 1)])
def test_shapes_that_differ_are_refused(name: str, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"^targets of shape \({shape[0]}, {shape[1]}\) do not go with \(3, 3\) "):
        getattr(losses, name)(torch.rand(3, 3, generator=torch.Generator().manual_seed(0)), torch.ones(shape))


@ALL_CASES
def test_operands_are_left_as_they_were(name: str, kind: str, options: dict[str, Any]) -> None:
    predictions, targets = tensors(kind)
    loss_of(name, options)(predictions, targets)
    before = tensors(kind)
    assert torch.equal(predictions, before[0])
    assert torch.equal(targets, before[1])


@ALL_CASES
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_an_example_costs_the_same_alone(name: str, kind: str, options: dict[str, Any], seed: int) -> None:
    predictions, targets = (torch.from_numpy(array) for array in drawn(kind, seed))
    loss = loss_of(name, options)
    if kind == "signs":
        targets[:, 0] = -1  # a lone row of ones would do as well: 0/1 and -1/1 have their ones in common
    together = loss(predictions, targets)
    alone = torch.cat([loss(predictions[row : row + 1], targets[row : row + 1]) for row in range(4)])
    torch.testing.assert_close(together, alone)


# --- what the losses have in common with each other


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, size=SIZES, from_logits=st.booleans())
def test_a_class_costs_what_its_one_hot_row_costs(seed: int, size: tuple[int, int], from_logits: bool) -> None:
    predictions, classes = (
        torch.from_numpy(array) for array in drawn("sparse" if from_logits else "classes", seed, size)
    )
    one_hot = torch.eye(size[1], dtype=torch.float64)[classes]
    expected = losses.categorical_crossentropy(predictions, one_hot, from_logits=from_logits)
    for targets in (classes, classes[:, None], classes.int(), classes.double()):
        sparse = losses.sparse_categorical_crossentropy(predictions, targets, from_logits=from_logits)
        torch.testing.assert_close(sparse, expected)
    for share in (0.0, 0.3, 1.0):
        options = {"from_logits": from_logits, "label_smoothing": share}
        by_class = losses.categorical_crossentropy(predictions, classes, **options)
        torch.testing.assert_close(by_class, losses.categorical_crossentropy(predictions, one_hot, **options))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_one_sigmoid_costs_what_a_softmax_of_two_costs(seed: int) -> None:
    scores, bits = (torch.from_numpy(array) for array in drawn("bits", seed, (5, 1)))
    pair = torch.cat([torch.zeros_like(scores), scores], 1)
    expected = losses.sparse_categorical_crossentropy(pair, bits[:, 0], from_logits=True)
    torch.testing.assert_close(losses.binary_crossentropy(scores, bits, from_logits=True), expected)


@pytest.mark.parametrize(
    ("name", "kind", "least"),
    [
        ("mean_squared_error", "numbers", 0.0),
        ("mean_absolute_error", "numbers", 0.0),
        ("mean_absolute_percentage_error", "numbers", 0.0),
        ("mean_squared_logarithmic_error", "rates", 0.0),
        ("logcosh", "numbers", 0.0),
        ("kullback_leibler_divergence", "shares", 0.0),
        ("cosine_proximity", "numbers", -1.0),
    ],
)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_target_itself_costs_least(name: str, kind: str, least: float, seed: int) -> None:
    predictions, targets = (torch.from_numpy(array) for array in drawn(kind, seed))
    loss = getattr(losses, name)
    torch.testing.assert_close(loss(targets, targets), torch.full((4,), least, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (loss(predictions, targets) > least).all()


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_a_batch_of_0_and_1_costs_what_minus_1_and_1_cost(name: str) -> None:
    scores, bits = (torch.from_numpy(array) for array in drawn("bits", 0))
    assert torch.equal(getattr(losses, name)(scores, bits), getattr(losses, name)(scores, 2 * bits - 1))
    mixed = torch.tensor([[1.0, 0.0, -1.0]])  # as in Keras: one target that is neither 0 nor 1, and none is converted
    assert getattr(losses, name)(torch.zeros(1, 3), mixed).tolist() == [1.0]
    assert getattr(losses, name)(torch.tensor([[1.0, 5.0, -1.0]]), mixed)[0] == pytest.approx(1 / 3)


# --- smoothing


@pytest.mark.parametrize("name", SMOOTHED)
@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused_by_its_key(name: str, share: float) -> None:
    with pytest.raises(ConfigError) as caught:
        getattr(losses, name)(*tensors("scores"), from_logits=True, label_smoothing=share)
    assert str(caught.value) == f"loss.label_smoothing={share} must be in [0, 1]: it is a share of the target."


@pytest.mark.parametrize("name", SMOOTHED)
def test_both_ends_of_smoothing_are_allowed(name: str) -> None:
    scores, one_hot = tensors("scores")
    loss = getattr(losses, name)
    plain = loss(scores, one_hot, from_logits=True)
    assert torch.equal(loss(scores, one_hot, from_logits=True, label_smoothing=0), plain)
    even = torch.full_like(one_hot, 1 / 2 if name == "binary_crossentropy" else 1 / 3)
    uniform = loss(scores, one_hot, from_logits=True, label_smoothing=1)
    torch.testing.assert_close(uniform, loss(scores, even, from_logits=True))


# --- with torch's transformations


@ALL_CASES
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_mixed_precision_takes_nothing_from_a_loss(
    name: str, kind: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    predictions, targets = tensors(kind, dtype)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = with_gradient(name, options, predictions, targets)
    plain = with_gradient(name, options, predictions, targets)
    assert torch.equal(mixed[0], plain[0])
    assert torch.equal(mixed[1], plain[1])


@ALL_CASES
def test_gradients_of_float16_examples_may_be_mapped(name: str, kind: str, options: dict[str, Any]) -> None:
    predictions, targets = tensors(kind, torch.float16)

    def alone(scores: Tensor, target: Tensor) -> Tensor:
        return loss_of(name, options)(scores[None], target[None])[0]

    mapped = torch.func.vmap(torch.func.grad(alone))(predictions, targets)
    torch.testing.assert_close(mapped, with_gradient(name, options, predictions, targets)[1])


# torch 2.13's tracing makes an instance of autograd.Function, which torch itself warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_all_compile_without_a_graph_break() -> None:
    def everything(half: bool) -> list[Tensor]:
        dtype = torch.float16 if half else torch.float32
        return [loss_of(name, options)(*tensors(kind, dtype)) for name, kind, options in CASES]

    compiled = torch.compile(everything, fullgraph=True, backend="eager")
    for half in (False, True):
        for (name, _, _), traced, direct in zip(CASES, compiled(half), everything(half), strict=True):
            assert torch.equal(traced, direct), name
