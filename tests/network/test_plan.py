"""The plan: shapes, costs and receptive fields against hand-made sums and against torch; what does not fit."""

import itertools
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convgrid.component import Component
from convgrid.errors import PatternError, PlanError
from convgrid.network.build import build
from convgrid.network.plan import Architecture, Plan, plan
from convgrid.network.planned import Groups

CONV = {"kernel_size": 3, "stride": 1, "padding": "same", "dilation": 1, "groups": 1, "bias": True}
POOL = {"kernel_size": 2, "stride": None, "padding": 0, "ceil_mode": False}
ACTIVATIONS = {name: Component(name, f"convgrid.activations.{name}") for name in ("relu", "tanh", "softmax", "linear")}
NORMS: dict[str, dict[str, Any]] = {
    "batch_norm": {"momentum": 0.1, "eps": 1e-5},
    "layer_norm": {"eps": 1e-5},
    "group_norm": {"num_groups": 8, "eps": 1e-5},
    "local_response": {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0},
}
CONVNET = "INPUT -> [[CONV -> NORM? -> ACT]*N -> POOL? -> DROPOUT?]*M -> [FC -> ACT -> DROPOUT?]*K -> FC"
Shape = tuple[int, ...]


def groups(
    *,
    conv: Mapping[str, Any] | None = None,
    pool: str | None = "max_pool",
    pool_options: Mapping[str, Any] | None = None,
    norm: str | None = None,
    num_groups: int | None = None,
    dropout: str | None = None,
    **sizes: Any,
) -> Groups:
    """The groups as the YAML files of conf/ state them."""
    norm_options = NORMS.get(norm or "", {}) | ({} if num_groups is None else {"num_groups": num_groups})
    return Groups(
        Component("conv", "convgrid.layers.conv", CONV | dict(conv or {})),
        ACTIVATIONS["relu"],
        ACTIVATIONS,
        pool=Component(pool, f"convgrid.layers.{pool}", POOL | dict(pool_options or {})) if pool else None,
        norm=Component(norm, f"convgrid.layers.{norm}", norm_options) if norm else None,
        dropout=Component(dropout, f"convgrid.layers.{dropout}", {"p": 0.25}) if dropout else None,
        **sizes,
    )


def lay_out(pattern: str, shape: Sequence[int] = (3, 32, 32), outputs: int = 10, **options: Any) -> Plan:
    """Plan a pattern; n, m, k are counts, all else goes to the groups."""
    counts = {name: options.pop(name) for name in "nmk" if name in options}
    return plan(Architecture(pattern, groups(**options), **counts), shape, outputs)


def first(layer: str, shape: Sequence[int] = (3, 32, 32), **options: Any) -> Shape:
    return lay_out(f"INPUT -> {layer} -> FC", shape, **options).layers[0].output_shape


def built(planned: Plan) -> nn.Sequential:
    """The module of a chain."""
    network = build(planned)
    assert isinstance(network, nn.Sequential)
    return network


def refused(pattern: str, shape: Sequence[int] = (3, 32, 32), outputs: int = 10, **options: Any) -> str:
    with pytest.raises(PlanError) as caught:
        lay_out(pattern, shape, outputs, **options)
    return str(caught.value)


# Known networks.


def test_lenet_5_has_61706_parameters():
    lenet = lay_out(
        "INPUT -> CONV(6, kernel=5, padding=valid) -> TANH -> POOL(2) -> CONV(16, kernel=5, padding=valid) -> TANH "
        "-> POOL(2) -> FC(120) -> TANH -> FC(84) -> TANH -> FC",
        (1, 32, 32),
    )
    assert lenet.parameters == 61_706  # 156 + 2,416 + 48,120 + 10,164 + 850
    assert [layer.parameters for layer in lenet.layers if layer.parameters] == [156, 2416, 48_120, 10_164, 850]
    assert [layer.output_shape for layer in lenet.layers if layer.kind == "POOL"] == [(6, 14, 14), (16, 5, 5)]


def test_vgg_16_has_138_million_parameters_and_15_47_billion_multiply_adds():
    vgg = lay_out(
        "INPUT -> [CONV(64) -> RELU]*2 -> POOL -> [CONV(128) -> RELU]*2 -> POOL -> [CONV(256) -> RELU]*3 -> POOL "
        "-> [[CONV(512) -> RELU]*3 -> POOL]*2 -> [FC(4096) -> RELU -> DROPOUT(0.5)]*2 -> FC",
        (3, 224, 224),
        1000,
    )
    assert vgg.parameters == 138_357_544  # torchvision's vgg16
    # Simonyan and Zisserman, 2015, table 1, column D: by hand H W * 9 * sum of C_in C_out for each stage, then the FCs.
    stages = [
        (224 * 224, 3 * 64 + 64 * 64),
        (112 * 112, 64 * 128 + 128 * 128),
        (56 * 56, 128 * 256 + 2 * 256 * 256),
        (28 * 28, 256 * 512 + 2 * 512 * 512),
        (14 * 14, 3 * 512 * 512),
    ]
    fully_connected = 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * 1000
    assert sum(pixels * 9 * pairs for pixels, pairs in stages) + fully_connected == 15_470_264_320
    assert vgg.multiply_adds == 15_470_264_320
    assert vgg.layers[30].receptive_field == (212, 212)  # known of VGG-16's pool5
    assert vgg.layers[30].output_shape == (512, 7, 7)


def test_alexnet_with_its_overlapping_pools_and_groups_of_two_has_60965224_parameters():
    alexnet = lay_out(
        "INPUT -> CONV(96, kernel=11, stride=4, padding=valid) -> RELU -> NORM -> POOL(3, stride=2) "
        "-> CONV(256, kernel=5, padding=2, groups=2) -> RELU -> NORM -> POOL(3, stride=2) -> CONV(384) -> RELU "
        "-> CONV(384, groups=2) -> RELU -> CONV(256, groups=2) -> RELU -> POOL(3, stride=2) "
        "-> [FC(4096) -> RELU -> DROPOUT(0.5)]*2 -> FC",
        (3, 227, 227),
        1000,
        norm="local_response",
    )
    assert alexnet.parameters == 60_965_224  # Krizhevsky et al., 2012: "60 million"; caffe's bvlc_alexnet exactly
    sides = [layer.output_shape[1] for layer in alexnet.layers if layer.kind in ("CONV", "POOL")]
    assert sides == [55, 27, 27, 13, 13, 13, 13, 6]
    assert [layer.receptive_field[0] for layer in alexnet.layers if layer.kind == "POOL"] == [19, 67, 195]


def test_a_plan_states_names_costs_and_totals():
    network = lay_out("INPUT -> CONV(4) -> ACT -> NORM -> TANH -> ACT -> GAP -> FC(5) -> FC", norm="batch_norm")
    names = ["conv1", "relu1", "norm1", "tanh1", "relu2", "gap1", "fc1", "output"]
    assert [layer.name for layer in network.layers] == names
    assert [layer.parameters for layer in network.layers] == [4 * 27 + 4, 0, 8, 0, 0, 0, 25, 60]
    assert [layer.multiply_adds for layer in network.layers] == [1024 * 4 * 27, 0, 0, 0, 0, 0, 20, 50]
    assert [layer.activation_bytes for layer in network.layers] == [16_384] * 5 + [16, 20, 40]
    assert network.parameters == 205
    assert network.multiply_adds == 1024 * 4 * 27 + 70
    assert network.activation_bytes == 16_384 * 5 + 76
    assert network.layers[0].input_shape == (3, 32, 32)


def test_a_name_that_ends_in_a_digit_is_kept_apart_from_its_number():
    relu6 = Component("relu6", "torch.nn.functional.relu6")
    architecture = Architecture(
        "INPUT -> ACT -> RELU6 -> FC", replace(groups(), activation=relu6, activations={"relu6": relu6})
    )
    assert [layer.name for layer in plan(architecture, (1, 2, 2), 2).layers] == ["relu6_1", "relu6_2", "output"]


# Windows.


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        ("CONV(8)", (3, 7, 9), (8, 7, 9)),
        ("CONV(8, padding=valid)", (3, 7, 9), (8, 5, 7)),
        ("CONV(8, padding=2)", (3, 7, 9), (8, 9, 11)),
        ("CONV(8, padding=(0, 1))", (3, 7, 9), (8, 5, 9)),
        ("CONV(8, kernel=(3, 5), padding=valid)", (3, 7, 9), (8, 5, 5)),
        ("CONV(8, stride=2)", (3, 7, 8), (8, 4, 4)),
        ("CONV(8, stride=(1, 3))", (3, 7, 8), (8, 7, 3)),
        ("CONV(8, stride=4, kernel=1)", (3, 9, 8), (8, 3, 2)),
        ("CONV(8, dilation=2, padding=valid)", (3, 7, 9), (8, 3, 5)),
        ("CONV(8, dilation=(1, 4))", (3, 7, 9), (8, 7, 9)),
        ("CONV(8, kernel=4)", (3, 7, 9), (8, 7, 9)),
        ("POOL", (3, 7, 9), (3, 3, 4)),
        ("POOL(3)", (3, 7, 9), (3, 2, 3)),
        ("POOL(3, stride=2)", (3, 7, 9), (3, 3, 4)),
        ("POOL(2, stride=3)", (3, 7, 9), (3, 2, 3)),
        ("POOL(stride=1)", (3, 7, 9), (3, 6, 8)),
        ("POOL((1, 2))", (3, 7, 9), (3, 7, 4)),
        ("POOL(padding=same)", (3, 7, 9), (3, 4, 5)),
        ("POOL(3, padding=1, stride=1)", (3, 7, 9), (3, 7, 9)),
        ("POOL(ceil_mode=true)", (3, 7, 9), (3, 4, 5)),
    ],
)
def test_a_window_gives_the_sides_worked_out_by_hand(layer: str, shape: Shape, expected: Shape):
    assert first(layer, shape) == expected


@settings(max_examples=150, deadline=None)
@given(side=st.integers(1, 30), kernel=st.integers(1, 6), stride=st.integers(1, 5), pad=st.integers(0, 3))
def test_pools_round_up_as_torch_does_in_ceil_mode(side: int, kernel: int, stride: int, pad: int):
    assume(2 * pad <= kernel <= side + 2 * pad)
    for ceil in (False, True):
        shape = first(f"POOL({kernel}, stride={stride}, padding={pad}, ceil_mode={ceil})", (1, side, 30))
        assert shape[1] == nn.MaxPool2d(kernel, stride, pad, ceil_mode=ceil)(torch.zeros(1, 1, side, 30)).shape[2]


@settings(max_examples=100, deadline=None)
@given(side=st.integers(1, 40), kernel=st.integers(1, 7), stride=st.integers(1, 5), dilation=st.integers(1, 3))
def test_same_gives_the_input_over_the_stride_rounded_up_with_the_odd_pixel_at_the_end(
    side: int, kernel: int, stride: int, dilation: int
):
    layer = lay_out(
        f"INPUT -> CONV(1, kernel=({kernel}, 1), stride={stride}, dilation={dilation}) -> FC", (1, side, 1)
    ).layers[0]
    left, right, top, bottom = layer.padding
    assert (left, right) == (0, 0)
    assert layer.output_shape[1] == math.ceil(side / stride)
    assert bottom - top in (0, 1)
    span = dilation * (kernel - 1) + 1
    if top + bottom:  # no more than the last window needs
        assert (layer.output_shape[1] - 1) * stride + span == side + top + bottom


def test_a_pool_size_in_the_pattern_moves_by_itself_and_not_by_the_groups_stride():
    assert first("POOL", (1, 12, 12), pool_options={"stride": 1}) == (1, 11, 11)
    assert first("POOL(4)", (1, 12, 12), pool_options={"stride": 1}) == (1, 3, 3)
    assert first("POOL(4, stride=2)", (1, 12, 12), pool_options={"stride": 1}) == (1, 5, 5)


def test_lists_from_yaml_are_pairs():
    conv = {"kernel_size": [3, 5], "stride": [1, 2], "padding": [0, 2]}
    assert first("CONV(4)", (1, 8, 8), conv=conv) == (4, 6, 4)
    assert first("POOL", (1, 8, 8), pool_options={"kernel_size": [2, 4]}) == (1, 4, 2)


def test_arguments_win_over_the_group():
    layer = lay_out("INPUT -> CONV(4, kernel=1, bias=false) -> FC", conv={"stride": 2}).layers[0]
    assert layer.component.options == {
        "kernel_size": (1, 1), "stride": (2, 2), "dilation": (1, 1), "groups": 1, "bias": False
    }  # fmt: skip
    assert layer.parameters == 12


def test_a_layer_with_arguments_works_though_its_group_is_none():
    layers = lay_out("INPUT -> POOL(3) -> POOL(stride=1) -> DROPOUT(0.5) -> FC", (1, 9, 9), pool=None).layers
    assert [layer.output_shape for layer in layers[:3]] == [(1, 3, 3), (1, 2, 2), (1, 2, 2)]
    assert layers[0].component.target == "convgrid.layers.max_pool"
    assert layers[2].component.options == {"p": 0.5}


def test_a_group_without_options_means_the_defaults_of_its_function():
    bare = replace(
        groups(), conv=Component("conv", "convgrid.layers.conv"), pool=Component("max", "convgrid.layers.max_pool")
    )
    network = plan(Architecture("INPUT -> CONV(2) -> POOL -> FC", bare), (1, 8, 8), 3)
    assert [layer.output_shape for layer in network.layers] == [(2, 8, 8), (2, 4, 4), (3,)]
    assert build(network)(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


def test_a_dropout_of_the_users_own_may_do_without_p():
    own = replace(groups(), dropout=Component("own", "torch.nn.Identity"))
    assert plan(Architecture("INPUT -> DROPOUT -> FC", own), (1, 2, 2), 2).layers[0].output_shape == (1, 2, 2)


# Groups, depthwise, filters.


@pytest.mark.parametrize(
    ("channels", "layer", "filters", "parameters"),
    [
        (4, "CONV(8, groups=2)", 8, 8 * 2 * 9 + 8),
        (4, "CONV(8, groups=4)", 8, 8 * 9 + 8),
        (4, "CONV(8, groups=depthwise)", 8, 8 * 9 + 8),
        (4, "CONV(groups=depthwise)", 32, 32 * 9 + 32),
        (3, "CONV(groups=depthwise)", 33, 33 * 9 + 33),  # 32 rounded to a multiple of 3
        (100, "CONV(groups=depthwise)", 100, 100 * 9 + 100),
        (6, "CONV(groups=3)", 33, 33 * 2 * 9 + 33),
    ],
)
def test_groups_split_the_channels(channels: int, layer: str, filters: int, parameters: int):
    planned = lay_out(f"INPUT -> {layer} -> FC", (channels, 5, 5)).layers[0]
    assert (planned.output_shape[0], planned.parameters) == (filters, parameters)
    assert planned.multiply_adds == 25 * (parameters - filters)


def test_depthwise_in_the_config_holds_for_every_conv():
    layers = lay_out("INPUT -> CONV(6) -> CONV(12) -> FC", (3, 8, 8), conv={"groups": "depthwise"}).layers
    assert [layer.component.options["groups"] for layer in layers[:2]] == [3, 6]


@pytest.mark.parametrize(
    ("growth", "max_filters", "expected"),
    [
        (2.0, 512, [32, 64, 128, 256, 512, 512]),
        (1.0, 512, [32] * 6),
        (1.5, 100, [32, 48, 72, 100, 100, 100]),
        (0.5, 512, [32, 16, 8, 4, 2, 1]),
        (2.0, 16, [16] * 6),
        (1e200, 512, [32, 512, 512, 512, 512, 512]),
        (0.001, 512, [32, 1, 1, 1, 1, 1]),
    ],
)
def test_filters_grow_from_stage_to_stage_up_to_the_most(growth: float, max_filters: int, expected: list[int]):
    network = lay_out("INPUT -> [CONV]*M -> FC", (1, 4, 4), m=6, growth=growth, max_filters=max_filters)
    assert [layer.output_shape[0] for layer in network.layers[:-1]] == expected


def test_the_stage_and_not_the_number_of_convs_sets_the_filters():
    network = lay_out("INPUT -> CONV -> [CONV -> CONV]*2 -> CONV -> FC", (1, 4, 4), filters=8)
    assert [layer.output_shape[0] for layer in network.layers[:-1]] == [8, 8, 8, 16, 16, 32]


def test_hidden_layers_have_the_groups_width_or_their_own():
    network = lay_out("INPUT -> FC -> FC(7) -> FC", (1, 2, 2), hidden=5)
    assert [layer.output_shape for layer in network.layers] == [(5,), (7,), (10,)]


# N, M and K down to 0.


@pytest.mark.parametrize(("n", "m", "k"), list(itertools.product(range(3), repeat=3)))
@pytest.mark.parametrize("pool", ["max_pool", None])
def test_n_m_and_k_down_to_0_plan_in_every_combination(n: int, m: int, k: int, pool: str | None):
    network = lay_out(CONVNET, (3, 8, 8), n=n, m=m, k=k, pool=pool, filters=4, hidden=5)
    kinds = (["CONV", "ACT"] * n + ["POOL"] * (pool is not None)) * m + ["FC", "ACT"] * k + ["FC"]
    assert [layer.kind for layer in network.layers] == kinds
    channels = 4 * 2 ** (m - 1) if n and m else 3
    side = 8 // 2**m if pool else 8
    flat = channels * side * side
    assert network.layers[-1].parameters == 10 * ((5 if k else flat) + 1)
    assert build(network)(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


# Receptive fields, against the pixels that a gradient reaches.


def influence(network: nn.Module, shape: Shape) -> tuple[Tensor, Shape]:
    """Which pixels of the image the middle of the output depends on; all weights are 1, so nothing cancels."""
    network = network.double().eval()
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    output = network(image)
    middle = tuple(side // 2 for side in output.shape[2:])
    output[(0, 0, *middle)].backward()
    assert image.grad is not None
    return image.grad[0].sum(0) > 0, tuple(output.shape[2:])


def extent(reached: Tensor) -> tuple[int, int]:
    """Height and width of the box around what was reached."""
    rows, columns = (torch.nonzero(reached.any(axis)).flatten() for axis in (1, 0))
    return (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)


@st.composite
def window(draw: st.DrawFn) -> str:
    size = st.integers(1, 3)
    pair = st.tuples(size, size)
    padding = draw(st.sampled_from(["same", "valid", "0"]))
    small = st.integers(1, 2)
    stride = draw(st.tuples(small, small))
    if draw(st.booleans()):
        return f"POOL({draw(pair)}, stride={stride}, padding={padding})"
    dilation = draw(st.tuples(small, small))
    return f"CONV(1, kernel={draw(pair)}, stride={stride}, dilation={dilation}, padding={padding})"


@settings(max_examples=60, deadline=None)
@given(st.lists(window(), min_size=1, max_size=4))
def test_the_receptive_field_is_the_box_of_pixels_that_a_middle_output_depends_on(windows: list[str]):
    network = lay_out(f"INPUT -> {' -> '.join(windows)} -> FC", (1, 140, 150), pool="average_pool")
    volume = built(network)[: len(windows)]
    reached, _ = influence(volume, (1, 140, 150))
    assert extent(reached) == network.layers[len(windows) - 1].receptive_field


@pytest.mark.parametrize("head", ["FC", "GAP -> FC", "FC(3) -> RELU -> FC"])
def test_after_fc_or_gap_the_receptive_field_is_that_of_the_whole_volume(head: str):
    text = f"INPUT -> CONV(2, kernel=3, padding=valid) -> POOL(2) -> CONV(2, kernel=(1, 2), padding=valid) -> {head}"
    network = lay_out(text, (1, 11, 14), pool="average_pool")
    reached, _ = influence(build(network), (1, 11, 14))  # a pixel is left over at the end of the height
    assert [layer.receptive_field for layer in network.layers[:3]] == [(3, 3), (4, 4), (4, 6)]
    assert {layer.receptive_field for layer in network.layers[3:]} == {(10, 14)} == {extent(reached)}


# Random architectures, against the built module, torch's FLOP counter, and the way back from `Plan.pattern`.


@st.composite
def layers(draw: st.DrawFn) -> str:
    size = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3))
    padding = st.sampled_from(["same", "valid", "0", "1", "(1, 0)"])
    kind = draw(
        st.sampled_from(["CONV", "CONV", "POOL", "POOL?", "NORM", "NORM?", "ACT", "DROPOUT?", "SOFTMAX", "TANH"])
    )
    if kind == "CONV":
        choices = {
            "kernel": size,
            "stride": size,
            "padding": padding,
            "dilation": size,
            "groups": st.sampled_from([1, "depthwise"]),
            "bias": st.booleans(),
        }
    elif kind.startswith("POOL"):
        choices = {
            "size": st.sampled_from([2, 3, (2, 3)]),
            "stride": size,
            "padding": padding,
            "ceil_mode": st.booleans(),
        }
    elif kind == "DROPOUT?":
        choices = {"rate": st.sampled_from([0, 0.5])}
    else:
        return kind
    args = draw(st.fixed_dictionaries({}, optional=choices))
    if "padding" in args and kind.startswith("POOL") and "size" not in args:
        args["size"] = 2
    return f"{kind}({', '.join(f'{name}={value}' for name, value in args.items())})"


@st.composite
def patterns(draw: st.DrawFn) -> str:
    def chain(elements: st.SearchStrategy[str], most: int) -> str:
        return " -> ".join(draw(st.lists(elements, min_size=1, max_size=most)))

    counts = st.sampled_from(["N", "M", "1", "2"])
    parts = [f"[{chain(layers(), 3)}]*{draw(counts)}" for _ in range(draw(st.integers(0, 3)))]
    vector = st.sampled_from(["FC", "FC(6)", "ACT", "NORM?", "DROPOUT?"])
    tail = draw(st.sampled_from([[], ["GAP"], [f"[FC -> {chain(vector, 3)}]*K"]]))
    return " -> ".join(["INPUT", *parts, *tail, "FC"])


def options() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "n": st.integers(0, 2),
            "m": st.integers(0, 2),
            "k": st.integers(0, 2),
            "conv": st.fixed_dictionaries(
                {},
                optional={
                    "kernel_size": st.sampled_from([1, 3, [2, 3]]),
                    "padding": st.sampled_from(["same", "valid", 1]),
                    "groups": st.sampled_from([1, "depthwise"]),
                },
            ),
            "pool": st.sampled_from(["max_pool", "average_pool", "l2_pool", None]),
            "pool_options": st.fixed_dictionaries({}, optional={"padding": st.sampled_from(["same", 0])}),
            "norm": st.sampled_from(["batch_norm", "layer_norm", "group_norm", "local_response", None]),
            "num_groups": st.just(1),
            "dropout": st.sampled_from(["Dropout", "SpatialDropout", None]),
            "filters": st.integers(1, 6),
            "growth": st.sampled_from([0.5, 1.0, 1.5, 2.0]),
            "max_filters": st.integers(1, 12),
            "hidden": st.integers(1, 9),
        }
    ).map(lambda chosen: {**chosen, "num_groups": 1 if chosen["norm"] == "group_norm" else None})


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))


def shapes_of(network: nn.Sequential, image: Tensor) -> Iterator[tuple[str, Shape]]:
    """Run layer by layer."""
    for name, layer in network.named_children():
        image = layer(image)
        yield name, tuple(image.shape[1:])


@settings(max_examples=100, deadline=None)
@given(pattern=patterns(), chosen=options(), shape=SHAPES, outputs=st.integers(1, 5))
def test_a_plan_equals_the_built_module_in_shapes_parameters_and_flops_and_reads_back_to_itself(
    pattern: str, chosen: dict[str, Any], shape: Shape, outputs: int
):
    assume(planned_or_refused(pattern, shape, chosen) is None)
    planned = lay_out(pattern, shape, outputs, **chosen)
    network = built(planned).eval()
    images = torch.ones(2, *shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        found = list(shapes_of(network, images))
    assert found == [(layer.name, layer.output_shape) for layer in planned.layers]
    assert [layer.input_shape for layer in planned.layers] == [
        shape,
        *(layer.output_shape for layer in planned.layers),
    ][:-1]
    for layer, module in zip(planned.layers, network, strict=True):
        assert layer.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert planned.multiply_adds == counter.get_total_flops() / 2 / len(images)
    counts = {name: chosen.pop(name) for name in "nmk"}
    assert counts.keys() == {"n", "m", "k"}
    assert plan(Architecture(planned.pattern, groups(**chosen), 0, 0, 0), shape, outputs) == planned


# What does not fit.


def test_pooling_a_1x1_volume_names_the_largest_m():
    assert refused(CONVNET, m=6) == (
        "arch.m=6 pools a 32x32 input 6 times, but after 5 it is 1x1. Use arch.m<=5 or layer/pool=none."
    )


@pytest.mark.parametrize(
    ("pattern", "shape", "options", "message"),
    [
        (
            CONVNET, (1, 8, 20), {"m": 9},
            "arch.m=9 pools a 8x20 input 9 times, but after 3 it is 1x2. Use arch.m<=3 or layer/pool=none.",
        ),
        (
            CONVNET, (1, 1, 1), {"m": 2},
            "arch.m=2 gives pool1 a 2x2 window, but its input is 1x1. Use arch.m=0 or layer/pool=none.",
        ),
        (
            "INPUT -> [POOL?]*N -> [POOL?]*2 -> FC", (1, 8, 8), {"n": 4},
            "arch.n=4 pools a 8x8 input 6 times, but after 3 it is 1x1. Use arch.n<=1 or layer/pool=none.",
        ),
        (  # fewer turns of either would do; m comes first
            "INPUT -> [[POOL?]*N]*M -> FC", (1, 8, 8), {"n": 2, "m": 3},
            "arch.m=3 pools a 8x8 input 6 times, but after 3 it is 1x1. Use arch.m<=1 or layer/pool=none.",
        ),
        (  # POOL is required, so its group cannot be none
            "INPUT -> [CONV -> POOL]*M -> FC", (1, 8, 8), {"m": 4},
            "arch.m=4 pools a 8x8 input 4 times, but after 3 it is 1x1. Use arch.m<=3 or layer.pool.padding=same.",
        ),
        (  # POOL?(2) stays where its group is none
            "INPUT -> [POOL?(2, stride=2)]*M -> FC", (1, 8, 8), {"m": 4},
            "arch.m=4 pools a 8x8 input 4 times, but after 3 it is 1x1. Use arch.m<=3 or layer.pool.padding=same.",
        ),
        (  # a POOL? that vanishes is not counted, and layer/pool=none has no keys
            "INPUT -> POOL? -> [POOL(2)]*M -> POOL(9) -> FC", (1, 8, 8), {"m": 4, "pool": None},
            "arch.pattern pools a 8x8 input 5 times, but after 3 it is 1x1. "
            "Use padding=same or images of at least 144x144.",
        ),
        (
            "INPUT -> [POOL]*4 -> FC", (1, 8, 8), {},
            "arch.pattern pools a 8x8 input 4 times, but after 3 it is 1x1. Use layer.pool.padding=same.",
        ),
        (
            "INPUT -> [POOL?]*4 -> FC", (1, 8, 8), {},
            "arch.pattern pools a 8x8 input 4 times, but after 3 it is 1x1. Use layer/pool=none.",
        ),
        (  # whose padding is not that of the group
            "INPUT -> [POOL(2, type=average)]*2 -> FC", (1, 2, 2),
            {"pools": {"average": Component("average", "convgrid.layers.average_pool", POOL)}},
            "arch.pattern pools a 2x2 input 2 times, but after 1 it is 1x1. "
            "Use padding=same or images of at least 4x4.",
        ),
        (
            "INPUT -> POOL(9, padding=0) -> FC", (1, 8, 8), {},
            "arch.pattern gives pool1 a 9x9 window, but its input is 8x8. Use padding=same or images of at least 9x9.",
        ),
        (
            "INPUT -> [CONV(kernel=5, padding=valid)]*N -> FC", (1, 16, 9), {"n": 3},
            "arch.n=3 gives conv3 a 5x5 window, but its input is 8x1 of a 16x9 image. Use arch.n<=2.",
        ),
        (
            "INPUT -> [CONV -> POOL(1, stride=2)]*M -> FC", (1, 9, 9),
            {"m": 3, "conv": {"padding": "valid", "kernel_size": [3, 1]}},
            "arch.m=3 gives conv3 a 3x1 window, but its input is 1x3 of a 9x9 image. "
            "Use arch.m<=2 or layer.conv.padding=same.",
        ),
        (
            "INPUT -> CONV(dilation=4, padding=1) -> FC", (1, 6, 6), {},
            "arch.pattern gives conv1 a 9x9 window, but its input is 6x6. Use padding=same or images of at least 7x7.",
        ),
    ],
)  # fmt: skip
def test_a_size_that_does_not_work_out_names_the_key_and_what_works(
    pattern: str, shape: Shape, options: dict[str, Any], message: str
):
    assert refused(pattern, shape, **options) == message


GROWTH = "must be above 0 and finite: it multiplies the filters from stage to stage."


@pytest.mark.parametrize(
    ("pattern", "options", "message"),
    [
        (CONVNET, {"n": -1}, "arch.n=-1 must be at least 0."),
        (CONVNET, {"m": -2}, "arch.m=-2 must be at least 0."),
        (CONVNET, {"k": -3}, "arch.k=-3 must be at least 0."),
        (CONVNET, {"filters": 0}, "arch.filters=0 must be at least 1."),
        (CONVNET, {"max_filters": 0}, "arch.max_filters=0 must be at least 1."),
        (CONVNET, {"hidden": 0}, "arch.hidden=0 must be at least 1."),
        *[
            (CONVNET, {"growth": growth}, f"arch.growth={growth} {GROWTH}")
            for growth in (0.0, -1.0, math.inf, math.nan)
        ],
        (CONVNET, {"shape": (3, 32)}, "data.shape=[3, 32] must be [channels,height,width], each at least 1."),
        (CONVNET, {"shape": (3, 0, 32)}, "data.shape=[3, 0, 32] must be [channels,height,width], each at least 1."),
        (CONVNET, {"outputs": 0}, "data.num_classes=0 must be at least 1."),
        (
            CONVNET, {"conv": {"padding": "full"}},
            "layer.conv.padding=full of conv1 must be same, valid, a whole number of at least 0, or two such as [3,5].",
        ),
        (
            CONVNET, {"conv": {"kernel_size": [3, 3, 3]}},
            "layer.conv.kernel_size=[3, 3, 3] of conv1 must be a whole number of at least 1, or two such as [3,5].",
        ),
        (
            CONVNET, {"conv": {"kernel_size": True}},
            "layer.conv.kernel_size=True of conv1 must be a whole number of at least 1, or two such as [3,5].",
        ),
        (
            CONVNET, {"pool_options": {"stride": 0}},
            "layer.pool.stride=0 of pool1 must be a whole number of at least 1, or two such as [3,5].",
        ),
        (
            CONVNET, {"pool_options": {"padding": 2}},
            "layer.pool.padding=2 of pool1 must be at most 1, half its kernel.",
        ),
        (
            CONVNET, {"conv": {"groups": 8}},
            "layer.conv.groups=8 of conv1 must divide its 3 input channels and its 32 filters. "
            "Use layer.conv.groups=3.",
        ),
        (
            CONVNET, {"conv": {"groups": "deep"}},
            "layer.conv.groups=deep of conv1 must be depthwise or a whole number of at least 1.",
        ),
        (
            "INPUT -> POOL -> FC", {"pool": None},
            "layer/pool=none, but arch.pattern says POOL, not POOL?. "
            "Use layer/pool=max, or write POOL? in arch.pattern.",
        ),
        (
            "INPUT -> NORM -> FC", {},
            "layer/norm=none, but arch.pattern says NORM, not NORM?. "
            "Use layer/norm=batch, or write NORM? in arch.pattern.",
        ),
        (
            "INPUT -> DROPOUT -> FC", {},
            "layer/dropout=none, but arch.pattern says DROPOUT, not DROPOUT?. "
            "Use layer/dropout=plain, or write DROPOUT? in arch.pattern.",
        ),
        (
            CONVNET, {"norm": "group_norm", "num_groups": 0},
            "layer.norm.num_groups=0 must divide the 32 channels before norm1. Use layer.norm.num_groups=1.",
        ),
        (  # 12 works for the first norm, 6 for both
            "INPUT -> CONV(24) -> NORM -> CONV(18) -> NORM -> FC", {"norm": "group_norm", "num_groups": 12},
            "layer.norm.num_groups=12 must divide the 18 channels before norm2. Use layer.norm.num_groups=6.",
        ),
    ],
)  # fmt: skip
def test_a_value_out_of_range_names_its_key_as_typed_and_the_range(pattern: str, options: dict[str, Any], message: str):
    assert refused(pattern, **options) == message


@pytest.mark.parametrize(
    ("pattern", "column", "message"),
    [
        (
            "INPUT -> CONV(0) -> FC", 9,
            "filters=0 of conv1 must be a whole number of at least 1.",
        ),
        (
            "INPUT -> FC(0) -> FC", 9,
            "width=0 of fc1 must be a whole number of at least 1.",
        ),
        (
            "INPUT -> POOL(3, padding=2) -> FC", 9,
            "padding=2 of pool1 must be at most 1, half its kernel.",
        ),
        (
            "INPUT -> CONV(groups=0) -> FC", 9,
            "groups=0 of conv1 must be depthwise or a whole number of at least 1.",
        ),
        (
            "INPUT -> DROPOUT(1.0) -> FC", 9,
            "p=1.0 of dropout1 must be in [0, 1): it is the share dropped.",
        ),
        (
            "INPUT -> DROPOUT(-0.1) -> FC", 9,
            "p=-0.1 of dropout1 must be in [0, 1): it is the share dropped.",
        ),
        (
            "INPUT -> CONV(kernel=0) -> FC", 9,
            "kernel_size=0 of conv1 must be a whole number of at least 1, or two such as [3,5].",
        ),
        (
            "INPUT -> CONV(stride=(1, 0)) -> FC", 9,
            "stride=(1, 0) of conv1 must be a whole number of at least 1, or two such as [3,5].",
        ),
        (
            "INPUT -> CONV -> CONV(dilation=-1) -> FC", 17,
            "dilation=-1 of conv2 must be a whole number of at least 1, or two such as [3,5].",
        ),
        (
            "INPUT -> CONV(padding=-1) -> FC", 9,
            "padding=-1 of conv1 must be same, valid, a whole number of at least 0, or two such as [3,5].",
        ),
        (
            "INPUT -> CONV(4, groups=2) -> FC", 9,
            "groups=2 of conv1 must divide its 3 input channels and its 4 filters. Use groups=1.",
        ),
        (
            "INPUT -> CONV(12) -> CONV(18, groups=5) -> FC", 21,
            "groups=5 of conv2 must divide its 12 input channels and its 18 filters. Use groups=3.",
        ),
        (
            "INPUT -> CONV(4, groups=depthwise) -> FC", 9,
            "groups=3 of conv1 must divide its 3 input channels and its 4 filters. Use groups=1.",
        ),
    ],
)  # fmt: skip
def test_a_value_in_the_pattern_that_its_layer_cannot_take_is_shown_there(pattern: str, column: int, message: str):
    with pytest.raises(PatternError) as caught:
        lay_out(pattern)
    assert str(caught.value) == f"arch.pattern: {message}\n  {pattern}\n  {' ' * column}^"


def test_a_plan_that_was_written_as_json_is_the_same_plan() -> None:
    planned = lay_out(
        "INPUT -> [CONV(8, kernel=3, stride=2, padding=1) -> RELU -> POOL]*2 -> DROPOUT(0.5) -> FC(9) -> FC"
    )
    assert Plan.load(json.loads(json.dumps(asdict(planned)))) == planned


def planned_or_refused(pattern: str, shape: Shape, options: dict[str, Any]) -> str | None:
    try:
        lay_out(pattern, shape, **options)
    except PlanError as error:
        return str(error)
    return None


FIXABLE = [
    CONVNET,
    "INPUT -> [[CONV(4, kernel=3, padding=valid)]*N -> POOL?]*M -> FC",
    "INPUT -> [POOL(3, stride=2)]*M -> [CONV(2, padding=0)]*N -> [FC]*K -> FC",
    "INPUT -> [CONV(2, kernel=1, padding=1)]*N -> [CONV(2, kernel=4, padding=valid)]*M -> FC",
    "INPUT -> POOL?(3) -> [POOL?]*N -> FC",
]


@settings(max_examples=150, deadline=None)
@given(
    pattern=st.sampled_from(FIXABLE),
    counts=st.fixed_dictionaries({name: st.integers(0, 12) for name in "nmk"}),
    shape=st.tuples(st.just(2), st.integers(1, 40), st.integers(1, 40)),
    padding=st.sampled_from(["same", "valid"]),
    filters=st.integers(1, 3),
)
def test_the_fix_that_an_error_names_works_and_one_more_does_not(
    pattern: str, counts: dict[str, int], shape: Shape, padding: str, filters: int
):
    chosen: dict[str, Any] = {"conv": {"padding": padding}, "filters": filters, **counts}
    message = planned_or_refused(pattern, shape, chosen)
    assume(message is not None)
    assert message is not None
    named = re.search(r"Use arch\.([nmk])<?=(\d+)", message)
    if named:
        count, value = named[1], int(named[2])
        assert value < counts[count]
        lay_out(pattern, shape, **chosen | {count: value})
        refused(pattern, shape, **chosen | {count: value + 1})
    if "layer/pool=none" in message:
        lay_out(pattern, shape, **chosen, pool=None)
    for key, group in (("layer.conv", "conv"), ("layer.pool", "pool_options")):
        padded: dict[str, Any] = chosen | {group: {"padding": "same"}}
        if f" or {key}.padding=same" in message:
            lay_out(pattern, shape, **padded)
        elif f"Use {key}.padding=same" in message:  # the only way that is left may lead to the next mistake
            assert planned_or_refused(pattern, shape, padded) != message
    assert "Use arch." in message or "layer/pool=none" in message or "padding=same" in message


@settings(max_examples=60, deadline=None)
@given(channels=st.integers(1, 24), filters=st.integers(1, 24), num_groups=st.integers(1, 30))
def test_the_groups_that_an_error_names_are_the_most_that_work(channels: int, filters: int, num_groups: int):
    def tried(value: int) -> str | None:
        pattern = f"INPUT -> NORM -> CONV({filters}) -> NORM -> FC"
        return planned_or_refused(pattern, (channels, 2, 2), {"norm": "group_norm", "num_groups": value})

    message = tried(num_groups)
    works = next(value for value in range(num_groups, 0, -1) if tried(value) is None)
    assert works == (num_groups if message is None else int(message.rpartition("=")[2].rstrip(".")))


# Being cheap.


def test_planning_imports_neither_torch_nor_numpy_nor_hydra():
    code = (
        "import sys; from convgrid.component import Component; from convgrid.network.plan import *;"
        "from convgrid.network.planned import Groups;"
        "relu = Component('relu', 'convgrid.activations.relu'); conv = Component('conv', 'convgrid.layers.conv');"
        "plan(Architecture('INPUT -> CONV -> ACT -> FC', Groups(conv, relu, {})), (1, 8, 8), 10).pattern;"
        "print({'torch', 'numpy', 'hydra', 'omegaconf', 'convgrid.layers'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
