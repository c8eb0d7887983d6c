"""Joins in a plan: published networks, shapes and costs against the built module, receptive fields, mistakes."""

import json
import random
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convgrid.errors import PatternError, PlanError
from convgrid.network.build import build
from convgrid.network.plan import Plan
from networks import Random, lay_out

Shape = tuple[int, ...]
SEEDS = 600
RESNET_BLOCKS = """
    basic(c, s) = SUM[CONV(c, stride=s, padding=1) -> NORM -> RELU -> CONV(c) -> NORM | {skip}] -> RELU;
    stage(c, s, more) = basic(c, s) -> [basic(c, 1)]*more;
"""
IMAGENET_STEM = "INPUT -> CONV(64, kernel=7, stride=2, padding=3) -> NORM -> RELU -> POOL(3, stride=2, padding=1)"
RESNET_18 = (
    RESNET_BLOCKS.format(skip="SKIP")
    + IMAGENET_STEM
    + " -> stage(64, 1, 1) -> stage(128, 2, 1) -> stage(256, 2, 1) -> stage(512, 2, 1) -> GAP -> FC"
)
RESNET_20 = (
    RESNET_BLOCKS.format(skip="SKIP(pad)")
    + "INPUT -> CONV(16) -> NORM -> RELU -> stage(16, 1, 2) -> stage(32, 2, 2) -> stage(64, 2, 2) -> GAP -> FC"
)
GOOGLENET = """
    unit(c, k) = CONV(c, kernel=k) -> NORM(eps=0.001) -> RELU;
    halve = POOL(3, stride=2, ceil_mode=true);
    mix(one, less, three, few, five, pooled) = CONCAT[unit(one, 1) | unit(less, 1) -> unit(three, 3)
        | unit(few, 1) -> unit(five, 3) | POOL(3, stride=1, padding=1) -> unit(pooled, 1)];
    INPUT -> CONV(64, kernel=7, stride=2, padding=3) -> NORM(eps=0.001) -> RELU -> halve -> unit(64, 1) -> unit(192, 3)
    -> halve -> mix(64, 96, 128, 16, 32, 32) -> mix(128, 128, 192, 32, 96, 64) -> halve -> mix(192, 96, 208, 16, 48, 64)
    -> mix(160, 112, 224, 24, 64, 64) -> mix(128, 128, 256, 24, 64, 64) -> mix(112, 144, 288, 32, 64, 64)
    -> mix(256, 160, 320, 32, 128, 128) -> POOL(2, stride=2, ceil_mode=true) -> mix(256, 160, 320, 32, 128, 128)
    -> mix(384, 192, 384, 48, 128, 128) -> GAP -> DROPOUT(0.2) -> FC
"""
MOBILENET_V2 = """
    thin(t, c, s) = CONV(t, kernel=1) -> NORM -> RELU6
        -> CONV(x1, groups=depthwise, stride=s, padding=1) -> NORM -> RELU6 -> CONV(c, kernel=1) -> NORM;
    same(c) = SUM[thin(x6, c, 1) | SKIP];
    stage(c, s, more) = thin(x6, c, s) -> [same(c)]*more;
    INPUT -> CONV(32, stride=2, padding=1) -> NORM -> RELU6 -> CONV(x1, groups=depthwise) -> NORM -> RELU6
    -> CONV(16, kernel=1) -> NORM -> stage(24, 2, 1) -> stage(32, 2, 2) -> stage(64, 2, 3) -> stage(96, 1, 2)
    -> stage(160, 2, 2) -> stage(320, 1, 0) -> CONV(1280, kernel=1) -> NORM -> RELU6 -> GAP -> DROPOUT(0.2) -> FC
"""
DENSENET_121 = f"""
    grow = CONCAT[SKIP | NORM -> RELU -> CONV(128, kernel=1) -> NORM -> RELU -> CONV(32)];
    less(c) = NORM -> RELU -> CONV(c, kernel=1) -> POOL(2, type=average);
    {IMAGENET_STEM} -> [grow]*6 -> less(128) -> [grow]*12 -> less(256) -> [grow]*24 -> less(512) -> [grow]*16
    -> NORM -> RELU -> GAP -> FC
"""


# Known networks: parameters of torchvision 0.24's models, multiply-adds of its table of weights (GFLOPS there).


@pytest.mark.parametrize(
    ("pattern", "parameters", "billions"),
    [
        (RESNET_18, 11_689_512, 1.814),
        (GOOGLENET, 6_624_904, 1.498),
        (MOBILENET_V2, 3_504_872, 0.301),
        (DENSENET_121, 7_978_856, 2.834),
    ],
)
def test_a_published_network_has_its_published_parameters_and_multiply_adds(
    pattern: str, parameters: int, billions: float
):
    network = lay_out(pattern, (3, 224, 224), 1000, norm="batch", bias=False)
    assert network.parameters == parameters
    assert round(network.multiply_adds / 1e9, 3) == billions


def test_resnet_20_of_cifar_10_with_option_a_has_its_270_thousand_parameters():
    network = lay_out(RESNET_20, (3, 32, 32), norm="batch", bias=False)
    assert network.parameters == 269_722  # He et al., 2016, table 6: 0.27 million; by hand 16, 32, 64 filters of 3x3
    kernels = 3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64
    assert network.parameters == 9 * kernels + 2 * (7 * 16 + 6 * 32 + 6 * 64) + 65 * 10
    assert [layer.output_shape for layer in network.layers if layer.name.startswith("pad")] == [
        (32, 16, 16),
        (64, 8, 8),
    ]


def test_squeeze_and_excitation_scales_every_channel_by_a_vector():
    network = lay_out("INPUT -> CONV(16) -> MUL[SKIP | GAP -> FC(4) -> RELU -> FC(16) -> SIGMOID] -> GAP -> FC")
    (mul,) = (layer for layer in network.layers if layer.kind == "MUL")
    assert (mul.output_shape, mul.inputs) == ((16, 16, 16), ("conv1", "sigmoid1"))
    assert network.parameters == (27 * 16 + 16) + (16 * 4 + 4) + (4 * 16 + 16) + (16 * 10 + 10)


# Names, order, inputs.


def test_a_plan_lists_paths_before_their_join_and_every_layer_names_what_it_takes():
    network = lay_out("INPUT -> SUM[SKIP | CONV(3) -> ACT] -> CONCAT[SKIP | POOL(1) | SUM[SKIP | SKIP]] -> FC")
    inputs = {layer.name: layer.inputs for layer in network.layers}
    assert inputs == {
        "conv1": ("input",), "relu1": ("conv1",), "sum1": ("input", "relu1"), "pool1": ("sum1",),
        "sum2": ("sum1", "sum1"), "concat1": ("sum1", "pool1", "sum2"), "output": ("concat1",),
    }  # fmt: skip
    assert list(inputs) == ["conv1", "relu1", "sum1", "pool1", "sum2", "concat1", "output"]
    assert not network.is_chain


def test_a_chain_is_one_whatever_it_was_written_with():
    assert lay_out("two = CONV -> RELU; INPUT -> [two]*2 -> GAP -> FC").is_chain
    assert lay_out("INPUT -> FC").is_chain


def test_a_skip_in_a_sum_is_fitted_by_a_convolution_and_the_norm_of_the_other_path():
    network = lay_out(
        "INPUT -> SUM[SKIP | CONV(6, stride=2) -> NORM(group, num_groups=3) -> RELU] -> FC", depthwise=True
    )
    shortcut = [layer for layer in network.layers if layer.written.kind == "SKIP"]
    assert [layer.name for layer in network.layers] == ["conv1", "norm1", "relu1", "conv2", "norm2", "sum1", "output"]
    assert [(layer.name, layer.inputs) for layer in shortcut] == [("conv2", ("input",)), ("norm2", ("conv2",))]
    options = shortcut[0].component.options
    assert (options["kernel_size"], options["stride"], options["groups"]) == ((1, 1), (2, 2), 1)
    assert shortcut[1].component.options == {"num_groups": 3, "eps": 1e-5}
    assert shortcut[0].parameters == 3 * 6 + 6


def test_a_skip_has_a_norm_only_where_the_other_path_has_one():
    network = lay_out("INPUT -> SUM[CONV(8) | SKIP] -> NORM -> FC", norm="batch")
    assert [layer.name for layer in network.layers] == ["conv1", "conv2", "sum1", "norm1", "output"]


def test_a_skip_that_fits_is_no_layer():
    for skip in ("SKIP", "SKIP(pad)"):
        network = lay_out(f"INPUT -> SUM[CONV(3) -> NORM | {skip}] -> FC", norm="batch")
        assert [layer.name for layer in network.layers] == ["conv1", "norm1", "sum1", "output"]
        assert network.pattern == "INPUT -> SUM[CONV(3) -> NORM | SKIP] -> FC"


def test_the_norms_that_end_residual_paths_are_known():
    text = (
        "SUM[CONV(8) -> NORM | SKIP] -> SUM[CONV(8) -> NORM -> RELU | SKIP] -> SUM[CONV(8) -> NORM | CONV(8) -> NORM]"
    )
    text += " -> SUM[SKIP | CONV(8) -> NORM -> DROPOUT | NORM]"
    network = lay_out(f"INPUT -> {text} -> FC", norm="batch", n=1)
    assert [layer.name for layer in network.layers if layer.ends_residual] == ["norm1", "norm6", "norm7"]


# Arguments that win over the group.


def test_a_factor_of_its_inputs_channels_sets_the_filters():
    network = lay_out("INPUT -> CONV(x2) -> CONV(x6, kernel=1) -> CONV(x1, groups=depthwise) -> FC")
    assert [layer.output_shape[0] for layer in network.layers[:-1]] == [6, 36, 36]
    assert network.pattern.startswith("INPUT -> CONV(6) -> CONV(36, kernel=1) -> CONV(36, groups=depthwise)")


def test_norm_and_pool_may_name_their_kind_and_their_own_arguments():
    text = "INPUT -> NORM(batch, eps=0.001) -> NORM(local_response, k=2) -> POOL(2, type=average) -> POOL -> NORM -> FC"
    network = lay_out(text, norm="group", filters=8, shape=(8, 16, 16))
    found = [(layer.component.name, layer.component.options) for layer in network.layers[:-1]]
    assert [name for name, _ in found] == ["batch", "local_response", "average", "max", "group"]
    assert found[0][1] == {"momentum": 0.1, "eps": 0.001}
    assert found[1][1] == {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2}
    assert [layer.parameters for layer in network.layers[:-1]] == [16, 0, 0, 0, 16]
    assert network.pattern == text


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("NORM(bacth)",
         "type=bacth of norm1 is not an option of layer/norm. Use one of batch, group, local_response."),
        ("POOL(2, type=mean)", "type=mean of pool1 is not an option of layer/pool. Use one of average, l2, max."),
        ("NORM(batch, alpha=1)", "alpha=1 of norm1 has no effect: layer/norm=batch takes momentum, eps."),
        ("NORM(group)", "num_groups=8 of norm1 must divide its 3 channels. Use num_groups=3."),
        ("NORM(group, num_groups=0)", "num_groups=0 of norm1 must divide its 3 channels. Use num_groups=1."),
        ("NORM(batch, eps=-1)", "eps=-1 of norm1 must be at least 0."),
    ],
)  # fmt: skip
def test_an_argument_that_does_not_work_out_says_what_does_under_its_layer(layer: str, message: str):
    with pytest.raises(PatternError) as caught:
        lay_out(f"INPUT -> RELU -> {layer} -> FC")
    assert str(caught.value) == f"arch.pattern: {message}\n  INPUT -> RELU -> {layer} -> FC\n{' ' * 19}^"


def test_a_norm_with_arguments_needs_an_option_or_a_name():
    with pytest.raises(PlanError) as caught:
        lay_out("INPUT -> NORM(eps=0.1) -> FC")
    assert str(caught.value) == (
        "layer/norm=none, but arch.pattern says NORM, not NORM?. Use layer/norm=batch, or write NORM? in arch.pattern."
    )


def test_an_argument_in_a_definition_is_shown_in_the_definition():
    with pytest.raises(PatternError) as caught:
        lay_out("block(c) = CONV(c) -> NORM(group, num_groups=5);\nINPUT -> block(8) -> FC")
    assert str(caught.value) == (
        "arch.pattern: num_groups=5 of norm1 must divide its 8 channels. Use num_groups=4.\n"
        "  block(c) = CONV(c) -> NORM(group, num_groups=5);\n"
        "                        ^"
    )


# Shapes that do not meet.


@pytest.mark.parametrize(
    ("before", "join", "message"),
    [
        ("", "SUM[CONV(8, stride=2) | CONV(9)]",
         "sum1 adds conv1 (8x8x8) and conv2 (9x16x16), whose shapes do not meet. "
         "Use stride=2 and filters=8 in conv2."),
        ("", "SUM[CONV(8) -> NORM -> RELU | CONV(9) -> RELU]",
         "sum1 adds relu1 (8x16x16) and relu2 (9x16x16), whose shapes do not meet. Use filters=8 in conv2."),
        ("", "SUM[CONV(8, padding=valid) | SKIP]",
         "sum1 adds conv1 (8x14x14) and SKIP of the image (3x16x16), whose shapes do not meet. "
         "Use padding=same in conv1."),
        ("CONV(16) -> ", "SUM[CONV(8) | SKIP(pad)]",
         "sum1 adds conv2 (8x16x16) and SKIP of conv1 (16x16x16), whose shapes do not meet. "
         "Use filters=16 in conv2."),
        ("CONV(16) -> ", "SUM[SUM[CONV(8) | SKIP] | SKIP(pad)]",
         "sum2 adds sum1 (8x16x16) and SKIP of conv1 (16x16x16), whose shapes do not meet. "
         "Use filters=16 in conv3."),
        ("", "CONCAT[CONV(4) | POOL(2)]",
         "concat1 joins conv1 (4x16x16) and pool1 (3x8x8), whose heights and widths do not meet. "
         "Use stride=2 in conv1."),
        ("", "CONCAT[SKIP | POOL(2)]",
         "concat1 joins SKIP of the image (3x16x16) and pool1 (3x8x8), whose heights and widths do not meet. "
         "Use stride=1 in pool1."),
        ("CONV(16) -> ", "MUL[SKIP | GAP -> FC(8)]",
         "mul1 multiplies SKIP of conv1 (16x16x16) and fc1 (8), whose shapes do not meet. Use width=16 in fc1."),
        ("GAP -> ", "SUM[FC(8) -> RELU | FC(9)]",
         "sum1 adds relu1 (8) and fc2 (9), whose shapes do not meet. Use width=8 in fc2."),
        ("GAP -> ", "SUM[FC(8) | SKIP]",
         "sum1 adds fc1 (8) and SKIP of gap1 (3), whose shapes do not meet. Use width=3 in fc1."),
    ],
)  # fmt: skip
def test_shapes_that_do_not_meet_are_named_with_their_layers_and_what_to_type(before: str, join: str, message: str):
    text = f"INPUT -> {before}{join} -> FC"
    with pytest.raises(PatternError) as caught:
        lay_out(text, norm="batch")
    caret = text.index(join)
    assert str(caught.value) == f"arch.pattern: {message}\n  {text}\n  {' ' * caret}^"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("SUM[CONV(8, stride=2) | CONV(9)]", "SUM[CONV(8, stride=2) | CONV(8, stride=2)]"),
        ("SUM[CONV(8, padding=valid) | SKIP]", "SUM[CONV(8, padding=same) | SKIP]"),
        ("CONCAT[CONV(4) | POOL(2)]", "CONCAT[CONV(4, stride=2) | POOL(2)]"),
        ("SUM[CONV(4) -> CONV(4) | POOL(3, stride=3, padding=1) -> CONV(4)]",
         "SUM[CONV(4, stride=3) -> CONV(4) | POOL(3, stride=3, padding=1) -> CONV(4)]"),
    ],
)  # fmt: skip
def test_what_an_error_says_to_type_works(wrong: str, right: str):
    with pytest.raises(PatternError, match="Use "):
        lay_out(f"INPUT -> {wrong} -> FC")
    lay_out(f"INPUT -> {right} -> FC")


def test_a_join_too_small_names_the_largest_count_of_pools_on_the_longest_path():
    with pytest.raises(PlanError) as caught:
        lay_out("INPUT -> [SUM[CONV(3) -> NORM? | SKIP] -> POOL]*M -> FC", m=6)
    assert str(caught.value) == (
        "arch.m=6 pools a 16x16 input 6 times, but after 4 it is 1x1. Use arch.m<=4 or layer.pool.padding=same."
    )


# Against the built module.


def outputs_of(network: nn.Module, image: Tensor) -> list[tuple[str, Shape]]:
    """What each layer makes of an image, in the order in which they run."""
    found: list[tuple[str, Shape]] = []
    for name, layer in network.named_children():
        layer.register_forward_hook(lambda *run, name=name: found.append((name, tuple(run[2].shape[1:]))))
    network(image)
    return found


def options_of(seed: int) -> dict[str, Any]:
    return {"outputs": 4, "norm": [None, "batch"][seed % 2]}


def random_plan(seed: int) -> Plan:
    counts = {"n": seed % 3, "m": 1 + seed % 2, "k": seed % 2}
    return lay_out(Random(random.Random(seed)).pattern(), **counts, **options_of(seed))


def test_a_random_network_with_joins_prints_as_a_pattern_that_plans_to_itself():
    plans = [random_plan(seed) for seed in range(SEEDS)]
    assert sum(not planned.is_chain for planned in plans) > SEEDS // 2
    for seed, planned in enumerate(plans):
        assert lay_out(planned.pattern, **options_of(seed)) == planned


def test_a_plan_with_joins_that_was_written_as_json_is_the_same_plan():
    for planned in map(random_plan, range(20)):
        assert Plan.load(json.loads(json.dumps(asdict(planned)))) == planned


def test_a_plan_that_an_older_version_wrote_is_a_chain():
    planned = lay_out("INPUT -> CONV(8) -> RELU -> FC")
    known: dict[str, Any] = json.loads(json.dumps(asdict(planned)))
    for layer in known["layers"]:
        del layer["inputs"], layer["ends_residual"]
    assert Plan.load(known) == planned


def test_a_plan_with_joins_equals_the_built_module_in_shapes_parameters_and_flops():
    for planned in map(random_plan, range(50)):
        network = build(planned).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            found = outputs_of(network, torch.ones(2, 3, 16, 16))
        assert found == [(layer.name, layer.output_shape) for layer in planned.layers]
        modules = dict(network.named_children())
        for layer in planned.layers:
            assert layer.parameters == sum(weights.numel() for weights in modules[layer.name].parameters())
        assert planned.multiply_adds == counter.get_total_flops() / 2 / 2


# Receptive fields.


def test_the_receptive_field_of_resnet_18_is_435_pixels_by_hand():
    network = lay_out(RESNET_18, (3, 224, 224), 1000, norm="batch")
    sees = {layer.name: layer.receptive_field[0] for layer in network.layers}
    # 7 (a step of 2), 7 + 2*2 = 11 (4), two blocks of two 3x3 at a step of 4: 11 + 4*8 = 43, then with the first
    # convolution of a stage still at the old step: 43 + 2*4 + 3*2*8 = 99, 99 + 2*8 + 3*2*16 = 211, 211 + 2*16 + 3*2*32
    assert [sees[name] for name in ("conv1", "pool1", "sum2", "sum4", "sum6", "sum8")] == [7, 11, 43, 99, 211, 435]
    assert sees["conv8"] == 43  # the shortcut of the second stage has seen less


def test_the_receptive_field_of_googlenet_is_379_pixels_by_hand():
    network = lay_out(GOOGLENET, (3, 224, 224), 1000, norm="batch")
    sees = {layer.name: layer.receptive_field[0] for layer in network.layers}
    # 7 (2), pool 11 (4), 3x3 19, pool 27 (8), two mixes of at most a 3x3 each 27 + 2*16 = 59, pool 75 (16),
    # five mixes 75 + 5*32 = 235, pool of 2 251 (32), two mixes 251 + 2*64 = 379
    names = ("pool1", "pool2", "concat2", "concat7", "concat9")
    assert [sees[name] for name in names] == [11, 27, 59, 235, 379]


@pytest.mark.parametrize(
    "text",
    [
        "SUM[CONV(2) -> CONV(2) | SKIP] -> CONV(2)",
        "CONCAT[CONV(2, kernel=5) | CONV(2, kernel=1) | POOL(3, stride=1, padding=1)] -> CONV(2)",
        "SUM[CONV(2, stride=2, padding=1) -> CONV(2) | SKIP] -> SUM[CONV(2) | SKIP] -> CONV(2)",
        "SUM[CONV(2, stride=2, padding=1) | SKIP(pad)] -> CONCAT[CONV(1, dilation=2) | SUM[CONV(2, kernel=5) | SKIP]]",
        "CONV(2, kernel=(3, 5)) -> CONCAT[CONV(2, kernel=(7, 1)) | CONV(2, kernel=(1, 7))]",
    ],
)
def test_the_receptive_field_is_the_box_of_pixels_that_a_middle_output_depends_on(text: str):
    planned = lay_out(f"INPUT -> {text} -> GAP -> FC", (1, 60, 64), bias=False)
    network = build(planned).double().eval()
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    kept: list[Tensor] = []
    dict(network.named_children())[planned.layers[-3].name].register_forward_hook(lambda *made: kept.append(made[2]))
    image = torch.ones(1, 1, 60, 64, dtype=torch.float64, requires_grad=True)
    network(image)
    (gradient,) = torch.autograd.grad(kept[0][0, :, kept[0].shape[2] // 2, kept[0].shape[3] // 2].sum(), image)
    rows, columns = (torch.nonzero((gradient[0, 0] > 0).any(axis)).flatten() for axis in (1, 0))
    box = (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)
    assert box == planned.layers[-3].receptive_field
