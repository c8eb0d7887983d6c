"""The activations against Keras' numbers and against their formulas in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convgrid import activations
from convgrid.errors import ConfigError

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
POINTS = [-25.0, -7.0, -3.0, -1.5, -0.2, 0.0, 0.7, 2.5, 4.0, 21.0]

# keras 3.15.1, torch backend, float64: keras.activations.<name> of POINTS as one row, to 13 digits.
KERAS = {
    "softmax": [
        1.053061679153e-20,
        6.914399735288e-13,
        3.775134341364e-11,
        1.691897831675e-10,
        6.208075075717e-10,
        7.582560020346e-10,
        1.526940077053e-09,
        9.237449165453e-09,
        4.139937496262e-08,
        0.9999999462495,
    ],
    "elu": [
        -0.9999999999861,
        -0.9990881180344,
        -0.9502129316321,
        -0.7768698398516,
        -0.181269246922,
        0.0,
        0.7,
        2.5,
        4.0,
        21.0,
    ],
    "selu": [
        -1.758099340823,
        -1.756496161765,
        -1.670568728767,
        -1.365814353367,
        -0.3186893435295,
        0.0,
        0.7354906911488,
        2.626752468389,
        4.202803949422,
        22.06472073447,
    ],
    "softplus": [
        1.388794386487e-11,
        0.0009114664537742,
        0.04858735157374,
        0.2014132779828,
        0.5981388693816,
        0.6931471805599,
        1.103186048885,
        2.578889734293,
        4.018149927918,
        21.0,
    ],
    "softsign": [
        -0.9615384615385,
        -0.875,
        -0.75,
        -0.6,
        -0.1666666666667,
        0.0,
        0.4117647058824,
        0.7142857142857,
        0.8,
        0.9545454545455,
    ],
    "relu": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.7, 2.5, 4.0, 21.0],
    "tanh": [
        -1.0,
        -0.9999983369439,
        -0.9950547536867,
        -0.9051482536449,
        -0.1973753202249,
        0.0,
        0.6043677771172,
        0.9866142981514,
        0.9993292997391,
        1.0,
    ],
    "sigmoid": [
        1.388794386477e-11,
        0.0009110511944006,
        0.04742587317757,
        0.1824255238064,
        0.4501660026875,
        0.5,
        0.6681877721682,
        0.9241418199788,
        0.9820137900379,
        0.9999999992417,
    ],
    "hard_sigmoid": [0.0, 0.0, 0.0, 0.25, 0.4666666666667, 0.5, 0.6166666666667, 0.9166666666667, 1.0, 1.0],
    "exponential": [
        1.388794386496e-11,
        0.0009118819655545,
        0.04978706836786,
        0.2231301601484,
        0.818730753078,
        1.0,
        2.01375270747,
        12.1824939607,
        54.59815003314,
        1318815734.483,
    ],
    "linear": POINTS,
}


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


def test_the_module_offers_exactly_the_eleven_names() -> None:
    assert sorted(activations.__all__) == sorted(NAMES)
    assert len(NAMES) == 11
    assert sorted(KERAS) == sorted(TWINS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_keras(name: str) -> None:
    values = getattr(activations, name)(torch.tensor([POINTS], dtype=torch.float64))
    np.testing.assert_allclose(values[0].numpy(), KERAS[name], rtol=1e-12, atol=0)


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
    values = activations.elu(torch.tensor([-50.0, -1.5, 2.0]), alpha=0.5)
    # keras 3.15.1, torch backend: elu(-1.5, alpha=0.5)
    torch.testing.assert_close(values, torch.tensor([-0.5, -0.38843491673469543, 2.0]))


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
