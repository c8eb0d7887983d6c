"""Initial kernels against Keras' formulas, by their bounds and moments over many draws."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convgrid.network.initializers import INITIALIZERS, glorot_uniform, he_normal, he_uniform, lecun_1998, normal

DRAWING = (glorot_uniform, he_uniform, he_normal, normal, lecun_1998)
Initializer = Callable[[Tensor, torch.Generator], None]
SHAPES = {  # kernel: Keras' fan_in, fan_out
    (64, 48, 5, 5): (48 * 25, 64 * 25),
    (96, 32, 3, 7): (32 * 21, 96 * 21),
    (600, 1, 5, 5): (25, 600 * 25),  # depthwise: one channel a filter
    (300, 500): (500, 300),
}
KERNELS = pytest.mark.parametrize(("shape", "fans"), SHAPES.items(), ids=map(str, SHAPES))


def drawn(initializer: Initializer, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    kernel = torch.full(shape, math.nan)
    initializer(kernel, torch.Generator().manual_seed(seed))
    return kernel.double()


def check_moments(kernel: Tensor, std: float) -> None:
    """Mean 0 and the standard deviation, each within 5 standard errors (of a bounded distribution, at most)."""
    count = kernel.numel()
    assert kernel.mean().item() == pytest.approx(0, abs=5 * std / math.sqrt(count))
    assert kernel.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * count))


@pytest.mark.reference("arch.init", "glorot_uniform", "he_uniform", "lecun_1998")
@KERNELS
@pytest.mark.parametrize(
    ("initializer", "limit"),
    [
        (glorot_uniform, lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
        (he_uniform, lambda fan_in, fan_out: math.sqrt(6 / fan_in)),
        (lecun_1998, lambda fan_in, fan_out: 2.4 / fan_in),
    ],
)
def test_a_uniform_kernel_fills_its_limits_evenly(
    initializer: Initializer, limit: Callable[[int, int], float], shape: tuple[int, ...], fans: tuple[int, int]
):
    kernel, bound = drawn(initializer, shape), limit(*fans)
    assert kernel.abs().max().item() == pytest.approx(bound, rel=2e-3)
    assert kernel.abs().max().item() <= bound * (1 + 1e-6)
    check_moments(kernel, bound / math.sqrt(3))
    assert kernel.abs().lt(bound / 2).double().mean().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.reference("arch.init", "he_normal")
@KERNELS
def test_he_normal_is_cut_off_and_has_the_variance_2_over_fan_in_all_the_same(
    shape: tuple[int, ...], fans: tuple[int, int]
):
    kernel, std = drawn(he_normal, shape), math.sqrt(2 / fans[0])
    # Keras' VarianceScaling draws a normal of std / 0.87962566103423978 and cuts it off at two of that.
    assert kernel.abs().max().item() == pytest.approx(2 * std / 0.87962566, rel=1e-2)
    assert kernel.abs().max().item() <= 2 * std / 0.87962566 * (1 + 1e-6)
    check_moments(kernel, std)
    within = math.erf(0.87962566 / math.sqrt(2)) / math.erf(math.sqrt(2))  # of a normal cut off at 2
    assert kernel.abs().lt(std).double().mean().item() == pytest.approx(within, abs=0.02)
    # keras 3.15.1, torch backend: of HeNormal(seed=0)((5, 5, 30, 400)) a share of 0.6505 is within one std
    assert within == pytest.approx(0.6505, abs=0.003)


@pytest.mark.reference("arch.init", "normal")
@KERNELS
def test_normal_is_as_wide_whatever_the_fans(shape: tuple[int, ...], fans: tuple[int, int]):
    kernel = drawn(normal, shape)
    check_moments(kernel, 0.01)
    assert kernel.abs().lt(0.01).double().mean().item() == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.02)
    assert kernel.abs().max().item() > 0.03  # not cut off


@pytest.mark.parametrize("initializer", DRAWING)
def test_the_generator_alone_decides_the_draw(initializer: Initializer):
    before = torch.random.get_rng_state()
    first = drawn(initializer, (8, 4, 3, 3), seed=1)
    assert torch.equal(drawn(initializer, (8, 4, 3, 3), seed=1), first)
    assert not torch.equal(drawn(initializer, (8, 4, 3, 3), seed=2), first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_parameter_is_filled_in_place_without_a_gradient():
    weight = nn.Parameter(torch.zeros(4, 3))
    for initializer in DRAWING:
        initializer(weight, torch.Generator().manual_seed(0))
        assert weight.grad_fn is None
        assert weight.abs().min() > 0


def test_the_names_are_those_of_the_config():
    named = {initializer.__name__: initializer for initializer in DRAWING}
    assert {**named, "torch": None} == INITIALIZERS
