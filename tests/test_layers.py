"""Layers against NumPy twins, as a plan builds them; dropout against its generator; gradients and half precision."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from convgrid.component import Component
from convgrid.config import CONF
from convgrid.layers import (
    Dropout,
    Flatten,
    SpatialDropout,
    average_pool,
    batch_norm,
    conv,
    fully_connected,
    global_average_pool,
    group_norm,
    l2_pool,
    layer_norm,
    local_response,
    max_pool,
    sparse,
)
from convgrid.network.build import build
from convgrid.network.plan import Architecture, plan
from convgrid.network.planned import Groups

Array = NDArray[np.float64]
Pair = tuple[int, int]
REDUCE: dict[str, Callable[[Array], Any]] = {
    "max_pool": np.max,
    "average_pool": np.mean,
    "l2_pool": lambda values: np.sqrt(np.sum(values**2)),
}
POOLS = {"max_pool": max_pool, "average_pool": average_pool, "l2_pool": l2_pool}


def images(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def layer(text: str, shape: tuple[int, ...], pool: str = "max_pool") -> nn.Module:
    """The first layer of a pattern as the plan and the build make it, in float64."""
    relu = Component("relu", "convgrid.activations.relu")
    groups = Groups(Component("conv", "convgrid.layers.conv"), relu, {}, Component(pool, f"convgrid.layers.{pool}"))
    return next(build(plan(Architecture(f"INPUT -> {text} -> FC", groups), shape, 2)).children()).double()


def apply(module: nn.Module, x: Array) -> Array:
    return module(torch.from_numpy(x)).detach().numpy()


# TensorFlow's windows: `same` gives ceil(side / stride) windows, and an odd pixel of padding goes to the end.
# Source: tensorflow.org/api_docs/python/tf/nn, "Notes on padding".


def starts_of_same(side: int, kernel: int, stride: int) -> list[int]:
    rest = side % stride or stride
    before = max(kernel - rest, 0) // 2
    return [window * stride - before for window in range(-(-side // stride))]


def starts_of_valid(side: int, kernel: int, stride: int) -> list[int]:
    return list(range(0, side - kernel + 1, stride))


def starts_of_ceil(side: int, kernel: int, stride: int) -> list[int]:
    """Go on until a window covers the end, as long as it starts inside."""
    starts = [0]
    while starts[-1] + kernel < side and starts[-1] + stride < side:
        starts.append(starts[-1] + stride)
    return starts


STARTS = {"same": starts_of_same, "valid": starts_of_valid, "ceil": starts_of_ceil}


def windows(sides: Pair, kernel: Pair, stride: Pair, rule: str) -> tuple[list[int], list[int]]:
    rows, columns = (STARTS[rule](*arguments) for arguments in zip(sides, kernel, stride, strict=True))
    return rows, columns


def pooled(x: Array, name: str, kernel: Pair, stride: Pair, rule: str) -> Array:
    """Reduce the pixels of the image that each window holds: padding neither wins nor counts."""
    rows, columns = windows((x.shape[2], x.shape[3]), kernel, stride, rule)
    y = np.empty((*x.shape[:2], len(rows), len(columns)))
    for (i, top), (j, left) in itertools.product(enumerate(rows), enumerate(columns)):
        inside = x[:, :, max(top, 0) : top + kernel[0], max(left, 0) : left + kernel[1]]
        for index in np.ndindex(x.shape[:2]):
            y[(*index, i, j)] = REDUCE[name](inside[index])
    return y


def convolved(x: Array, weight: Array, bias: Array, stride: Pair, dilation: Pair, rule: str) -> Array:
    """Sum weight * x over each window, one loop a pixel; zeros lie around the image."""
    kernel = weight.shape[2:]
    rows, columns = windows(
        (x.shape[2], x.shape[3]),
        (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1),
        stride,
        rule,
    )
    y = np.zeros((len(x), len(weight), len(rows), len(columns)))
    y += bias[:, None, None]
    for (i, top), (j, left), u, v in itertools.product(
        enumerate(rows), enumerate(columns), range(kernel[0]), range(kernel[1])
    ):
        row, column = top + u * dilation[0], left + v * dilation[1]
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            y[:, :, i, j] += x[:, :, row, column] @ weight[:, :, u, v].T
    return y


# Pools.


@pytest.mark.reference("layer/pool", "max", "average", "l2")
@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(sorted(REDUCE)),
    sides=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    rule=st.sampled_from(sorted(STARTS)),
)
def test_a_pool_reduces_the_pixels_of_each_window(name: str, sides: Pair, kernel: Pair, stride: Pair, rule: str):
    assume(rule == "same" or (kernel[0] <= sides[0] and kernel[1] <= sides[1]))
    x = images(2, 3, *sides) - 3  # below zero, so that a padding of zeros would win a maximum
    how = "ceil_mode=true, padding=valid" if rule == "ceil" else f"padding={rule}"
    module = layer(f"POOL({kernel}, stride={stride}, {how})", (3, *sides), pool=name)
    np.testing.assert_allclose(apply(module, x), pooled(x, name, kernel, stride, rule), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # keras 3.15.1, torch backend: MaxPooling2D and AveragePooling2D(2, strides=2, padding="same") of 1..9 as 3x3
        ("max_pool", [[5.0, 6.0], [8.0, 9.0]]),
        ("average_pool", [[3.0, 4.5], [7.5, 9.0]]),
    ],
)
def test_same_pools_of_an_odd_side_are_keras(name: str, expected: list[list[float]]):
    x = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    np.testing.assert_allclose(apply(layer("POOL(padding=same)", (1, 3, 3), name), x)[0, 0], expected)


@pytest.mark.parametrize("name", sorted(REDUCE))
@pytest.mark.parametrize("pad", [1, 2])
def test_a_pool_padded_by_a_number_of_pixels_is_that_of_the_image_with_its_padding_ignored(name: str, pad: int):
    x = images(1, 2, 6, 7)
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=np.nan)
    reduce = {"max_pool": np.nanmax, "average_pool": np.nanmean, "l2_pool": lambda v: np.sqrt(np.nansum(v**2))}[name]
    rows, columns = range(0, 6 + 2 * pad - 4, 2), range(0, 7 + 2 * pad - 4, 2)
    twin = [[[reduce(plane[r : r + 5, c : c + 5]) for c in columns] for r in rows] for plane in padded[0]]
    module = layer(f"POOL(5, stride=2, padding={pad})", (2, 6, 7), name)
    np.testing.assert_allclose(apply(module, x)[0], twin, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(POOLS))
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (0, 1, 0, 1), (1, 1, 1, 1)])
def test_the_gradients_of_a_pool_are_those_of_finite_differences(name: str, padding: tuple[int, int, int, int]):
    x = torch.from_numpy(images(2, 2, 5, 5)).requires_grad_()
    assert torch.autograd.gradcheck(POOLS[name](padding, kernel_size=3, stride=2), [x])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_l2_pool_of_zeros_is_zero_and_so_is_its_gradient(dtype: torch.dtype):
    x = torch.zeros(1, 1, 4, 4, dtype=dtype, requires_grad=True)
    y = l2_pool((0, 0, 0, 0))(x)
    y.sum().backward()
    assert y.dtype == dtype
    assert y.max().item() < 1e-18
    assert x.grad is not None
    assert x.grad.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])  # squares that float16 cannot hold, either way
def test_an_l2_pool_in_half_precision_is_as_exact_as_the_type(dtype: torch.dtype, scale: float):
    x = torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]]).mul(scale).to(dtype).requires_grad_()
    y = l2_pool((0, 0, 0, 0))(x)
    y.sum().backward()
    tolerance = 2 * torch.finfo(dtype).eps
    assert y.item() == pytest.approx(5 * scale, rel=tolerance)
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx([0.6, 0.0, 0.0, 0.8], rel=tolerance)


@pytest.mark.parametrize("name", sorted(POOLS))
def test_a_pool_by_itself_has_the_defaults_of_its_yaml(name: str):
    x = images(1, 1, 4, 6)
    np.testing.assert_allclose(apply(POOLS[name]((0, 0, 0, 0)), x), pooled(x, name, (2, 2), (2, 2), "valid"))


# Convolutions and full connections.


@pytest.mark.reference("layer/conv", "conv")
@settings(max_examples=80, deadline=None)
@given(
    sides=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    rule=st.sampled_from(["same", "valid"]),
)
def test_a_convolution_sums_weights_times_pixels_over_tensorflows_windows(
    sides: Pair, kernel: Pair, stride: Pair, dilation: Pair, rule: str
):
    spans = [dilation[axis] * (kernel[axis] - 1) + 1 for axis in (0, 1)]
    assume(rule == "same" or (spans[0] <= sides[0] and spans[1] <= sides[1]))
    text = f"CONV(3, kernel={kernel}, stride={stride}, dilation={dilation}, padding={rule})"
    module = layer(text, (2, *sides))
    weight, bias = (images(*parameter.shape, seed=1) for parameter in module.parameters())
    module.load_state_dict(dict(zip(module.state_dict(), map(torch.from_numpy, (weight, bias)), strict=True)))
    x = images(2, 2, *sides)
    expected = convolved(x, weight, bias, stride, dilation, rule)
    np.testing.assert_allclose(apply(module, x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.reference("layer/conv", "no_bias")
def test_a_strided_same_convolution_of_an_even_side_pads_the_end_as_keras_does_and_not_both_sides_as_torch_does():
    module = layer("CONV(1, kernel=3, stride=2, bias=false)", (1, 4, 4))
    nn.init.ones_(next(module.parameters()))
    # keras 3.15.1, torch backend: Conv2D(1, 3, strides=2, padding="same", kernel_initializer="ones") of 0..15 as 4x4
    np.testing.assert_allclose(apply(module, np.arange(16.0).reshape(1, 1, 4, 4))[0, 0], [[45.0, 39.0], [66.0, 50.0]])


@pytest.mark.reference("layer/conv", "depthwise")  # one group a channel
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 2, 2)])
def test_a_strided_convolution_of_single_pixels_goes_back_in_channels_last(padding: tuple[int, int, int, int]):
    """torch 2.13's own writes beside its memory there, and mostly ends the process."""
    torch.manual_seed(0)
    layer = conv(8, 8, padding, kernel_size=1, stride=2).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    before = nn.Conv2d(3, 8, 3, padding=1).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = torch.rand(32, 3, 48, 48).to(memory_format=torch.channels_last)
    weight, bias = layer.parameters()
    for _ in range(20):
        volume = before(images).relu()
        seen = nn.functional.pad(volume, padding)[:, :, ::2, ::2]
        expected = torch.einsum("bchw,fc->bfhw", seen, weight[:, :, 0, 0]) + bias[:, None, None]
        found = torch.autograd.grad(layer(volume).square().mean(), [weight, bias, volume], retain_graph=True)
        wanted = torch.autograd.grad(expected.square().mean(), [weight, bias, volume])
        assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [(2, 2), (3, 1), (1, 2)])
def test_a_volume_of_which_pixels_are_left_out_gets_its_gradient_in_its_own_order_of_memory(
    stride: Pair, dtype: torch.dtype
):
    height, width = stride
    came_back, forms = [], (lambda x: sparse(x, stride), lambda x: x[..., ::height, ::width])
    for form in forms:
        volume = torch.arange(140.0, dtype=dtype).view(2, 2, 5, 7).contiguous(memory_format=torch.channels_last)
        seen = form(whole := volume.requires_grad_() * 1)
        whole.register_hook(came_back.append)
        (seen * torch.arange(float(seen.numel())).view(seen.shape)).sum().backward()
    ours, torchs = came_back
    assert torch.equal(ours, torchs)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert not torchs.is_contiguous(memory_format=torch.channels_last)


def test_a_gradient_through_left_out_pixels_has_a_gradient_itself():
    volume = torch.rand(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: sparse(x, (2, 2)).square(), [volume])


@pytest.mark.parametrize("groups", [2, 4])
def test_grouped_channels_are_convolved_apart(groups: int):
    module = conv(4, 8, (0, 0, 0, 0), kernel_size=1, groups=groups).double()
    weight, bias = (parameter.detach().numpy() for parameter in module.parameters())
    x = images(2, 4, 3, 3)
    parts = zip(np.split(weight[:, :, 0, 0], groups), np.split(x, groups, 1), strict=True)
    expected = np.concatenate([np.einsum("fc,bchw->bfhw", some, channels) for some, channels in parts], 1)
    np.testing.assert_allclose(apply(module, x), expected + bias[:, None, None])


def test_a_full_connection_flattens_a_volume_in_torchs_order():
    module = fully_connected(12, 5).double()
    weight, bias = (parameter.detach().numpy() for parameter in module.parameters())
    x = images(2, 3, 2, 2)
    np.testing.assert_allclose(apply(module, x), x.reshape(2, 12) @ weight.T + bias)


def test_a_flattened_volume_gives_its_gradient_back_in_its_own_order_of_memory():
    came_back = []
    for flatten in (Flatten(), nn.Flatten()):
        volume = torch.arange(24.0).view(2, 3, 2, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
        pooled = volume * 1
        vector = flatten(pooled)
        pooled.register_hook(came_back.append)
        vector.mul(torch.arange(12.0)).sum().backward()
    ours, torchs = came_back
    assert torch.equal(ours, torchs)
    assert ours.stride() == (12, 1, 6, 3)
    assert torchs.stride() == (12, 4, 2, 1)


def test_global_average_pooling_leaves_a_mean_for_each_channel():
    x = images(2, 3, 4, 5)
    np.testing.assert_allclose(apply(global_average_pool(), x), x.mean((2, 3)))


# Norms.


def standardised(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)


def scaled(y: Array, module: nn.Module) -> Array:
    """Give the module a scale and a shift, and apply them to the twin as well."""
    scale, shift = images(2, y.shape[1], seed=2)
    module.load_state_dict({**module.state_dict(), "weight": torch.from_numpy(scale), "bias": torch.from_numpy(shift)})
    around = (1, -1, *[1] * (y.ndim - 2))
    return y * scale.reshape(around) + shift.reshape(around)


VOLUME_AND_VECTOR = pytest.mark.parametrize("shape", [(6, 3, 4), (6,)], ids=["volume", "vector"])


@pytest.mark.reference("layer/norm", "batch")
@VOLUME_AND_VECTOR
def test_batch_norm_standardises_each_channel_over_the_batch(shape: tuple[int, ...]):
    x = images(5, *shape)
    module = batch_norm(shape, eps=0.01).double()
    axes = (0, *range(2, x.ndim))
    expected = scaled(standardised(x, axes, 0.01), module)
    np.testing.assert_allclose(apply(module, x), expected, rtol=1e-10)


@VOLUME_AND_VECTOR
def test_batch_norm_evaluates_with_running_statistics_to_which_a_batch_adds_its_momentum(shape: tuple[int, ...]):
    x = images(5, *shape)
    module = batch_norm(shape, momentum=0.3, eps=0.01).double()
    apply(module, x)
    axes = (0, *range(2, x.ndim))
    around = (1, -1, *[1] * (x.ndim - 2))
    mean, var = 0.3 * x.mean(axes).reshape(around), (0.7 + 0.3 * x.var(axes, ddof=1)).reshape(around)
    np.testing.assert_allclose(apply(module.eval(), x), (x - mean) / np.sqrt(var + 0.01), rtol=1e-10)


def option(path: str) -> dict[str, Any]:
    """The values of an option's file."""
    return {key: value for key, value in yaml.safe_load((CONF / path).read_text()).items() if key != "_target_"}


@pytest.mark.reference("layer/norm", "batch_keras")
def test_batch_norm_with_keras_numbers_keeps_99_hundredths_of_its_statistics():
    x = images(5, 6, 3, 4)
    module = batch_norm((6, 3, 4), **option("layer/norm/batch_keras.yaml")).double()
    apply(module, x)
    axes, around = (0, 2, 3), (1, 6, 1, 1)
    # keras.layers.BatchNormalization(momentum=0.99, epsilon=0.001), its defaults; the variance is torch's, unbiased
    mean, var = 0.01 * x.mean(axes).reshape(around), (0.99 + 0.01 * x.var(axes, ddof=1)).reshape(around)
    np.testing.assert_allclose(apply(module.eval(), x), (x - mean) / np.sqrt(var + 0.001), rtol=1e-10)


@pytest.mark.reference("layer/norm", "layer")
@VOLUME_AND_VECTOR
def test_layer_norm_standardises_each_image_over_all_its_values(shape: tuple[int, ...]):
    x = images(5, *shape)
    module = layer_norm(shape, eps=0.01).double()
    expected = scaled(standardised(x, tuple(range(1, x.ndim)), 0.01), module)
    np.testing.assert_allclose(apply(module, x), expected, rtol=1e-10)


@pytest.mark.reference("layer/norm", "group")
@VOLUME_AND_VECTOR
def test_group_norm_standardises_each_group_of_channels(shape: tuple[int, ...]):
    x = images(5, *shape)
    module = group_norm(shape, num_groups=3, eps=0.01).double()
    grouped = x.reshape(5, 3, -1)
    expected = scaled(standardised(grouped, (2,), 0.01).reshape(x.shape), module)
    np.testing.assert_allclose(apply(module, x), expected, rtol=1e-10)


@pytest.mark.reference("layer/norm", "local_response")
@VOLUME_AND_VECTOR
@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_local_response_divides_by_the_squares_of_neighbouring_channels(shape: tuple[int, ...], size: int):
    x = images(5, *shape)
    module = local_response(shape, size=size, alpha=0.5, beta=0.6, k=2.0)
    neighbours = [slice(max(c - size // 2, 0), c - size // 2 + size) for c in range(6)]
    squares = np.stack([(x[:, near] ** 2).sum(1) for near in neighbours], 1)
    np.testing.assert_allclose(apply(module, x), x / (2.0 + 0.5 / size * squares) ** 0.6, rtol=1e-10)


@pytest.mark.reference("layer/norm", "local_response_alexnet")
def test_local_response_with_alexnets_numbers_is_the_papers():
    x = 30 * images(2, 8, 3, 3)
    near = [slice(max(0, i - 2), min(7, i + 2) + 1) for i in range(8)]
    # Krizhevsky et al., 2012, section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75
    expected = x / (2 + 1e-4 * np.stack([(x[:, some] ** 2).sum(1) for some in near], 1)) ** 0.75
    module = local_response((8, 3, 3), **option("layer/norm/local_response_alexnet.yaml"))
    np.testing.assert_allclose(apply(module, x), expected, rtol=1e-10)


@VOLUME_AND_VECTOR
@pytest.mark.parametrize("make", [batch_norm, layer_norm, group_norm, local_response])
def test_norms_start_with_scale_1_and_shift_0_and_keep_the_shape(make: Any, shape: tuple[int, ...]):
    shape = (8, *shape[1:])
    module = make(shape)
    assert module(torch.ones(4, *shape)).shape == (4, *shape)
    start = {name: parameter.unique().tolist() for name, parameter in module.named_parameters()}
    assert start == ({} if make is local_response else {"weight": [1.0], "bias": [0.0]})


# Dropout.


def dropping(kind: type[Dropout], p: float, seed: int = 0) -> Dropout:
    module = kind(p=p)
    module.generator = torch.Generator().manual_seed(seed)
    return module


@pytest.mark.reference("layer/dropout", "plain")
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_scales_the_others(p: float):
    y = dropping(Dropout, p)(torch.ones(100, 10, 10, 10))
    dropped = y.eq(0).double().mean().item()
    assert dropped == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / y.numel()))  # 5 standard errors
    assert y[y != 0].unique().tolist() == pytest.approx([1 / (1 - p)])


@pytest.mark.reference("layer/dropout", "spatial")
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_spatial_dropout_zeroes_its_share_of_whole_channels(p: float):
    y = dropping(SpatialDropout, p)(torch.ones(100, 100, 2, 3))
    channels = y[:, :, 0, 0]
    assert torch.equal(y, channels[:, :, None, None].expand_as(y))
    assert channels.eq(0).double().mean().item() == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / 10_000))
    assert channels[channels != 0].unique().tolist() == pytest.approx([1 / (1 - p)])
    assert channels.double().mean(1).std().item() > 0  # every image has its own channels


def test_spatial_dropout_of_a_vector_drops_its_values():
    y = dropping(SpatialDropout, 0.5)(torch.ones(10, 100))
    assert y.unique().tolist() == [0.0, 2.0]


@pytest.mark.parametrize("kind", [Dropout, SpatialDropout])
@pytest.mark.parametrize("shape", [(4, 8, 3, 3), (4, 8)])
def test_dropout_draws_from_its_generator_alone(kind: type[Dropout], shape: tuple[int, ...]):
    x = torch.ones(shape)
    before = torch.random.get_rng_state()
    module = dropping(kind, 0.5, seed=7)
    first, second = module(x), module(x)
    assert not torch.equal(first, second)
    assert torch.equal(dropping(kind, 0.5, seed=7)(x), first)
    assert not torch.equal(dropping(kind, 0.5, seed=8)(x), first)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", [Dropout, SpatialDropout])
def test_dropout_is_the_identity_in_evaluation_and_at_p_0_and_draws_nothing(kind: type[Dropout]):
    x = torch.from_numpy(images(2, 3, 4, 4))
    module = dropping(kind, 0.5)
    assert module.generator is not None
    before = module.generator.get_state()
    assert module.eval()(x) is x
    assert torch.equal(module.generator.get_state(), before)
    assert dropping(kind, 0.0)(x) is x


@pytest.mark.parametrize("kind", [Dropout, SpatialDropout])
def test_the_gradient_of_dropout_passes_where_values_do(kind: type[Dropout]):
    x = torch.ones(4, 8, 3, 3, requires_grad=True)
    y = dropping(kind, 0.25)(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())  # of ones: the mask itself


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [Dropout, SpatialDropout])
def test_dropout_keeps_half_precision(kind: type[Dropout], dtype: torch.dtype):
    y = dropping(kind, 0.5)(torch.ones(4, 8, 3, 3, dtype=dtype))
    assert y.dtype == dtype
    assert y.unique().tolist() == [0.0, 2.0]


def test_dropout_shows_its_share():
    assert repr(Dropout(p=0.3)) == "Dropout(p=0.3)"
    assert repr(SpatialDropout(p=0.3)) == "SpatialDropout(p=0.3)"
