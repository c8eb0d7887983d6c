"""The activations against Keras' numbers and against their formulas in NumPy."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convgrid import activations
from convgrid.errors import ConfigError
from convgrid.network.planned import PATTERN_ACTIVATIONS

NAMES = [
    "softmax",
    "elu",
    "selu",
    "softplus",
    "softsign",
    "relu",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "exponential",
    "linear",
]
POINTS = [-100.0, -25.0, -7.0, -3.0, -1.5, -0.2, 0.0, 0.7, 2.5, 3.0, 21.0, 100.0]  # 0 and 3 are kinks
WEIGHTS = torch.arange(1.0, 13.0, dtype=torch.float64)  # of the sum whose gradient is taken; softmax's own sums to 0

# fmt: off
# keras 3.15.1, torch backend, float64: keras.activations.<name> of POINTS as one row, and the gradient of the values'
# sum with WEIGHTS, to 13 digits.
KERAS = {
    "softmax": (
        [1.383896526737e-87, 5.166420632838e-55, 3.392270193026e-47, 1.852116769518e-45, 8.300611482939e-45,
         3.045740605355e-44, 3.720075976021e-44, 7.491313068708e-44, 4.531980311123e-43, 7.471972337343e-43,
         4.906094730649e-35, 1.0],
        [-1.52228617941e-86, -5.166420632838e-54, -3.053043173723e-46, -1.481693415614e-44, -5.810428038057e-44,
         -1.827444363213e-43, -1.86003798801e-43, -2.996525227483e-43, -1.359594093337e-42, -1.494394467469e-42,
         -4.906094730649e-35, 0.0],
    ),
    "elu": (
        [-1.0, -0.9999999999861, -0.9990881180344, -0.9502129316321, -0.7768698398516, -0.181269246922, 0.0, 0.7, 2.5,
         3.0, 21.0, 100.0],
        [3.720075976021e-44, 2.777588772993e-11, 0.002735645896664, 0.1991482734715, 1.115650800742, 4.912384518468,
         7.0, 8.0, 9.0, 10.0, 11.0, 12.0],
    ),
    "selu": (
        [-1.758099340847, -1.758099340823, -1.756496161765, -1.670568728767, -1.365814353367, -0.3186893435295, 0.0,
         0.7354906911488, 2.626752468389, 3.152102962066, 22.06472073447, 105.0700987355],
        [6.540263121344e-44, 4.883276990944e-11, 0.004809537247716, 0.3501224483211, 1.961424937401, 8.636459983907,
         12.30669538593, 8.405607898844, 9.456308886199, 10.50700987355, 11.55771086091, 12.60841184827],
    ),
    "softplus": (
        [3.720075976021e-44, 1.388794386487e-11, 0.0009114664537742, 0.04858735157374, 0.2014132779828,
         0.5981388693816, 0.6931471805599, 1.103186048885, 2.578889734293, 3.048587351574, 21.0, 100.0],
        [3.720075976021e-44, 2.777588772954e-11, 0.002733153583202, 0.1897034927103, 0.9121276190318, 2.700996016125,
         3.5, 5.345502177345, 8.317276379809, 9.525741268224, 11.0, 12.0],
    ),
    "softsign": (
        [-0.990099009901, -0.9615384615385, -0.875, -0.75, -0.6, -0.1666666666667, 0.0, 0.4117647058824,
         0.7142857142857, 0.75, 0.9545454545455, 0.990099009901],
        [9.802960494069e-05, 0.002958579881657, 0.046875, 0.25, 0.8, 4.166666666667, 7.0, 2.768166089965,
         0.734693877551, 0.625, 0.02272727272727, 0.001176355259288],
    ),
    "relu": (
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.7, 2.5, 3.0, 21.0, 100.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8.0, 9.0, 10.0, 11.0, 12.0],
    ),
    "tanh": (
        [-1.0, -1.0, -0.9999983369439, -0.9950547536867, -0.9051482536449, -0.1973753202249, 0.0, 0.6043677771172,
         0.9866142981514, 0.9950547536867, 1.0, 1.0],
        [0.0, 0.0, 9.978328034607e-06, 0.03946414866176, 0.9035331946182, 5.766257897797, 7.0, 5.07791671986,
         0.2393300401484, 0.0986603716544, 0.0, 0.0],
    ),
    "sigmoid": (
        [3.720075976021e-44, 1.388794386477e-11, 0.0009110511944006, 0.04742587317757, 0.1824255238064,
         0.4501660026875, 0.5, 0.6681877721682, 0.9241418199788, 0.9525741268224, 0.9999999992417, 1.0],
        [3.720075976021e-44, 2.777588772916e-11, 0.002730663540365, 0.1807066389236, 0.7457322603517, 1.485099436271,
         1.75, 1.773702986345, 0.630933448906, 0.4517665973091, 8.340817363787e-09, 0.0],
    ),
    "hard_sigmoid": (
        [0.0, 0.0, 0.0, 0.0, 0.25, 0.4666666666667, 0.5, 0.6166666666667, 0.9166666666667, 1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, 0.0, 0.8333333581686, 1.000000029802, 1.166666701436, 1.33333337307, 1.500000044703, 0.0, 0.0,
         0.0],
    ),
    "exponential": (
        [3.720075976021e-44, 1.388794386496e-11, 0.0009118819655545, 0.04978706836786, 0.2231301601484,
         0.818730753078, 1.0, 2.01375270747, 12.1824939607, 20.08553692319, 1318815734.483, 2.688117141816e+43],
        [3.720075976021e-44, 2.777588772993e-11, 0.002735645896664, 0.1991482734715, 1.115650800742, 4.912384518468,
         7.0, 16.11002165976, 109.6424456463, 200.8553692319, 14506973079.32, 3.225740570179e+44],
    ),
    "linear": (
        [-100.0, -25.0, -7.0, -3.0, -1.5, -0.2, 0.0, 0.7, 2.5, 3.0, 21.0, 100.0],
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0],
    ),
}
# fmt: on


def below(x: Any, low: Any, high: Any) -> Any:
    return np.where(x > 0, high, low)


TWINS: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True),
    "elu": lambda x: below(x, np.expm1(x), x),
    "selu": lambda x: 1.0507009873554805 * below(x, 1.6732632423543772 * np.expm1(x), x),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "relu": lambda x: below(x, 0 * x, x),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "exponential": lambda x: np.exp(x),
    "linear": lambda x: x,
}


# Those without an option of the group, for patterns: values as their papers define them, slopes worked out by hand.
PATTERN_TWINS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "relu6": (lambda x: np.minimum(np.maximum(x, 0), 6), lambda x: ((x > 0) & (x < 6)).astype(float)),
    "silu": (
        lambda x: x / (1 + np.exp(-x)),
        lambda x: 1 / (1 + np.exp(-x)) + x * np.exp(-x) / (1 + np.exp(-x)) ** 2,
    ),
}


@pytest.mark.parametrize("name", PATTERN_TWINS)
def test_an_activation_for_patterns_has_its_values_and_slopes(name: str) -> None:
    values, gradient = with_gradient(getattr(activations, name))
    value, slope = PATTERN_TWINS[name]
    np.testing.assert_allclose(values, value(np.array(POINTS)), rtol=1e-12, atol=0)
    np.testing.assert_allclose(gradient, slope(np.array(POINTS)) * WEIGHTS.numpy(), rtol=1e-9, atol=0)


def test_the_module_offers_exactly_the_eleven_names_and_two_for_patterns() -> None:
    assert sorted(activations.__all__) == sorted([*NAMES, *PATTERN_TWINS])
    assert sorted(PATTERN_ACTIVATIONS) == sorted(PATTERN_TWINS)
    assert len(NAMES) == 11
    assert sorted(KERAS) == sorted(TWINS) == sorted(NAMES)


def with_gradient(function: Callable[[Tensor], Tensor]) -> tuple[np.ndarray, np.ndarray]:
    x = torch.tensor([POINTS], dtype=torch.float64, requires_grad=True)
    values = function(x)
    (gradient,) = torch.autograd.grad((values * WEIGHTS).sum(), x)
    return values.detach()[0].numpy(), gradient[0].numpy()


@pytest.mark.reference("activation", *KERAS)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_keras_from_minus_100_to_100(name: str) -> None:
    values, gradient = with_gradient(getattr(activations, name))
    assert len(POINTS) == len(KERAS[name][0]) == len(KERAS[name][1]) == 12
    np.testing.assert_allclose(values, KERAS[name][0], rtol=1e-12, atol=0)
    np.testing.assert_allclose(gradient, KERAS[name][1], rtol=1e-12, atol=0)


@pytest.mark.reference("activation", *TWINS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4, 6)], ids=["vector", "volume"])
def test_values_are_those_of_the_formula_on_vectors_and_volumes(name: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).uniform(-8, 8, shape)
    values = getattr(activations, name)(torch.from_numpy(x))
    assert values.shape == shape
    np.testing.assert_allclose(values.numpy(), TWINS[name](x), rtol=1e-12, atol=1e-14)


def test_softmax_sums_to_one_over_the_channels_of_each_pixel() -> None:
    shares = activations.softmax(torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2, 4, 5))


def test_elu_settles_at_minus_alpha() -> None:
    values, gradient = with_gradient(lambda x: activations.elu(x, alpha=0.5))
    # keras 3.15.1, torch backend, float64: elu(POINTS, alpha=0.5), and its gradient as above
    expected = [-0.5, -0.4999999999931, -0.4995440590172, -0.4751064658161, -0.3884349199258, -0.09063462346101]
    slopes = [1.86003798801e-44, 1.388794386496e-11, 0.001367822948332, 0.09957413673573, 0.5578254003711]
    np.testing.assert_allclose(values, expected + POINTS[6:], rtol=1e-12)
    np.testing.assert_allclose(gradient, [*slopes, 2.456192259234, 3.5, *WEIGHTS[7:].tolist()], rtol=1e-12)


GRADIENTS: list[tuple[str, dict[str, float]]] = [(name, {}) for name in NAMES]
GRADIENTS += [("elu", {"alpha": 0.3}), ("elu", {"alpha": 2.0})]


def test_every_activation_and_knob_has_its_gradient_checked() -> None:
    assert len(GRADIENTS) == 13
    knobs = [name for name in NAMES if len(inspect.signature(getattr(activations, name)).parameters) > 1]
    assert sorted({name for name, options in GRADIENTS if options}) == knobs == ["elu"]


@pytest.mark.parametrize(("name", "options"), GRADIENTS)
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 2, 3)], ids=["vector", "volume"])
def test_gradients_are_the_slopes_of_the_values(name: str, options: dict[str, float], shape: tuple[int, ...]) -> None:
    x = torch.from_numpy(np.random.default_rng(1).uniform(-8, 8, shape))
    assert x.abs().min() > 1e-3 < (x.abs() - 3).abs().min()  # away from the kinks
    function = getattr(activations, name)
    assert torch.autograd.gradcheck(lambda some: function(some, **options), x.requires_grad_())


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_elu_refuses_an_alpha_out_of_range(alpha: float) -> None:
    with pytest.raises(ConfigError, match=rf"^activation\.alpha={alpha} must be 0 or above\.$"):
        activations.elu(torch.zeros(1), alpha=alpha)


@pytest.mark.parametrize("name", NAMES)
def test_an_input_is_left_as_it_was(name: str) -> None:
    x = torch.tensor([POINTS])
    getattr(activations, name)(x)
    assert torch.equal(x, torch.tensor([POINTS]))


class Everything(nn.Module):
    """All eleven, one after another's input, so that one export and one compilation cover them."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [getattr(activations, name)(x) for name in NAMES]


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 4)], ids=["vector", "volume"])
def test_all_survive_export_with_a_free_batch_size(shape: tuple[int, ...]) -> None:
    program = torch.export.export(Everything(), (torch.zeros(shape),), dynamic_shapes={"x": {0: torch.export.Dim.AUTO}})
    x = torch.randn(5, *shape[1:], generator=torch.Generator().manual_seed(0))
    for name, exported, direct in zip(NAMES, program.module()(x), Everything()(x), strict=True):
        assert torch.equal(exported, direct), name


def test_all_compile_without_a_graph_break() -> None:
    # "eager" needs no C++ compiler; what may break is the tracing.
    compiled = torch.compile(Everything(), fullgraph=True, backend="eager")
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for name, traced, direct in zip(NAMES, compiled(x), Everything()(x), strict=True):
        assert torch.equal(traced, direct), name
