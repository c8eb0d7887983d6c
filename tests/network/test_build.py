"""A plan becomes a network: the same bits for the same seed, names, initial weights, torch.export."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convgrid.component import Component
from convgrid.errors import ConfigError
from convgrid.network.build import Activation, build, keeping_weights, kernels
from convgrid.network.initializers import INITIALIZERS
from convgrid.network.plan import Architecture, Plan, plan
from convgrid.network.planned import Groups

ACTIVATIONS = {
    name: Component(name, f"convgrid.activations.{name}")
    for name in (
        *("softmax", "elu", "selu", "softplus", "softsign", "relu"),
        *("tanh", "sigmoid", "hard_sigmoid", "exponential", "linear"),
    )
}
GROUPS = Groups(
    Component("conv", "convgrid.layers.conv", {"kernel_size": 3, "padding": "same"}),
    ACTIVATIONS["relu"],
    ACTIVATIONS,
    pool=Component("max", "convgrid.layers.max_pool", {"kernel_size": 2}),
    filters=8,
)
CONVNET = "INPUT -> [[CONV -> NORM? -> ACT]*2 -> POOL? -> DROPOUT?]*2 -> [FC -> ACT -> DROPOUT?]*1 -> FC"
SHAPE = (3, 9, 11)


def planned(pattern: str = CONVNET, shape: tuple[int, ...] = SHAPE, outputs: int = 4, **changes: Any) -> Plan:
    return plan(Architecture(pattern, replace(GROUPS, **changes)), shape, outputs)


def component(name: str, **options: Any) -> Component:
    return Component(name, f"convgrid.layers.{name}", options)


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


# Randomness.


@pytest.mark.parametrize("init", sorted(INITIALIZERS))
def test_the_same_seed_makes_the_same_bits_whatever_was_drawn_before(init: str):
    torch.rand(3)  # moves the global state
    first = build(planned(), init=init, seed=5)
    torch.rand(3)
    assert same(build(planned(), init=init, seed=5), first)
    assert not same(build(planned(), init=init, seed=6), first)


@pytest.mark.parametrize("init", sorted(INITIALIZERS))
def test_building_leaves_the_global_random_state_alone(init: str):
    before = torch.random.get_rng_state()
    build(planned(norm=component("batch_norm"), dropout=component("Dropout", p=0.5)), init=init)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_layers_of_one_shape_start_differently():
    convolutions = kernels(build(planned("INPUT -> CONV(3) -> CONV(3) -> FC")))[:2]
    assert convolutions[0].shape == convolutions[1].shape
    assert not torch.equal(convolutions[0], convolutions[1])


# Initial weights.


@pytest.mark.reference("arch.init", "torch")
def test_torch_initialises_as_torch_itself_does_under_the_same_seed():
    network = build(planned("INPUT -> CONV(6, padding=valid) -> CONV -> FC(5) -> FC", (2, 6, 6)), init="torch", seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        twins = [nn.Conv2d(2, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(128, 5), nn.Linear(5, 4)]
    made = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [same(module, twin) for module, twin in zip(made, twins, strict=True)] == [True] * 4
    assert all(module.bias is not None and module.bias.abs().sum() > 0 for module in made)


@pytest.mark.parametrize("init", sorted(set(INITIALIZERS) - {"torch"}))
def test_every_kernel_comes_from_the_initialisation_in_order_and_every_bias_is_zero(init: str):
    network = build(planned(), init=init, seed=9)
    generator = torch.Generator().manual_seed(9)
    initialize = INITIALIZERS[init]
    assert initialize is not None
    for kernel in kernels(network):
        twin = torch.empty_like(kernel)
        initialize(twin, generator)
        assert torch.equal(kernel, twin)
    biases = [parameter for name, parameter in network.named_parameters() if name.endswith("bias")]
    assert len(biases) == len(kernels(network)) == 6
    assert all(bias.eq(0).all() for bias in biases)


def test_the_default_is_keras_glorot_uniform():
    network = build(planned("INPUT -> CONV(64, kernel=5) -> FC"))
    bound = (6 / (3 * 25 + 64 * 25)) ** 0.5
    assert kernels(network)[0].abs().max().item() == pytest.approx(bound, rel=2e-3)


def trained(channels: int, filters: int, padding: Any, *, kernel_size: int, stride: int = 1, asks: bool) -> nn.Module:
    """A layer of the user's own that was trained before: all its weights are 2, and the first kernel is frozen."""
    layer = nn.Sequential(nn.Conv2d(channels, filters, kernel_size, stride, 1), nn.Conv2d(filters, filters, 1))
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 2.0)
    next(layer.parameters()).requires_grad_(False)
    layer.takes_init = asks  # pyright: ignore[reportArgumentType]  (of torch, which has any)
    return layer


def build_with_own(monkeypatch: pytest.MonkeyPatch, init: str, *, asks: bool) -> tuple[Plan, nn.Sequential]:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    conv = Component("own", "test_build.trained", {"kernel_size": 3, "padding": "same", "asks": asks})
    made = plan(
        Architecture("INPUT -> CONV -> FC", replace(GROUPS, conv=conv)), (3, 9, 11), 4, measure=lambda layer: layer
    )
    network = build(made, init=init)
    assert isinstance(network, nn.Sequential)
    return made, network


@pytest.mark.parametrize("init", sorted(INITIALIZERS))
def test_a_layer_of_the_users_own_keeps_its_weights(init: str, monkeypatch: pytest.MonkeyPatch):
    made, network = build_with_own(monkeypatch, init, asks=False)
    assert all(parameter.eq(2).all() for parameter in network[0].parameters())
    assert not any(parameter.eq(2).any() for parameter in network[-1].parameters())
    assert keeping_weights(made, network) == ["conv1"]


def test_a_layer_that_asks_for_it_is_initialised_less_what_is_frozen(monkeypatch: pytest.MonkeyPatch):
    made, network = build_with_own(monkeypatch, "he_uniform", asks=True)
    frozen, first_bias, kernel, bias = network[0].parameters()
    assert frozen.eq(2).all()
    assert [first_bias.eq(0).all(), bias.eq(0).all()] == [True, True]
    assert 0 < kernel.abs().max() <= (6 / 8) ** 0.5  # he_uniform of 8 inputs
    assert keeping_weights(made, network) == []


def test_norms_are_left_at_scale_1_and_shift_0():
    norms = [
        module
        for module in build(planned(norm=component("batch_norm"))).modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert [(norm.weight.unique().tolist(), norm.bias.unique().tolist()) for norm in norms] == [([1.0], [0.0])] * 4


def test_an_unknown_initialisation_names_those_there_are():
    with pytest.raises(ConfigError) as caught:
        build(planned(), init="glorot")
    assert str(caught.value) == (
        "arch.init=glorot is not an initialisation. "
        "Use one of glorot_uniform, he_uniform, he_normal, normal, lecun_1998, torch."
    )


# Layers.


def test_the_network_has_the_layers_of_the_plan_by_name_and_in_order():
    network = build(
        planned(
            "INPUT -> CONV -> NORM -> TANH -> POOL -> DROPOUT(0.5) -> GAP -> FC -> ACT -> FC",
            norm=component("layer_norm"),
        )
    )
    assert [(name, type(module).__name__) for name, module in network.named_children()] == [
        ("conv1", "Conv2d"),
        ("norm1", "GroupNorm"),
        ("tanh1", "Activation"),
        ("pool1", "MaxPool2d"),
        ("dropout1", "Dropout"),
        ("gap1", "Sequential"),
        ("fc1", "Sequential"),
        ("relu1", "Activation"),
        ("output", "Sequential"),
    ]


def test_the_plans_values_reach_the_layers():
    network = build(
        planned(
            "INPUT -> CONV(6, kernel=(1, 3), stride=2, dilation=(1, 2), groups=3, bias=false) -> DROPOUT(0.3) -> FC"
        )
    )
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert (convolution.in_channels, convolution.out_channels, convolution.groups) == (3, 6, 3)
    assert (convolution.kernel_size, convolution.stride, convolution.dilation) == ((1, 3), (2, 2), (1, 2))
    assert convolution.bias is None
    assert network.get_submodule("dropout1").extra_repr() == "p=0.3"


def test_an_activation_gets_the_values_of_its_config():
    elu = Component("elu", "convgrid.activations.elu", {"alpha": 2.0})
    network = build(planned("INPUT -> ACT -> FC", activation=elu))
    x = torch.tensor([-1.0, 1.0])
    assert torch.equal(network.get_submodule("elu1")(x), nn.functional.elu(x, 2.0))
    assert torch.equal(Activation(torch.neg)(x), -x)


def test_kernels_are_the_weights_of_convolutions_and_full_connections_only():
    network = build(planned(norm=component("batch_norm")))
    shapes = [(8, 3, 3, 3), (8, 8, 3, 3), (16, 8, 3, 3), (16, 16, 3, 3), (128, 16 * 2 * 2), (4, 128)]
    assert [tuple(kernel.shape) for kernel in kernels(network)] == shapes
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert all(names[id(kernel)].endswith("weight") for kernel in kernels(network))


def test_every_parameter_gets_a_finite_gradient_also_from_a_black_image():
    everything = planned(
        "INPUT -> CONV -> NORM -> RELU -> POOL -> CONV(stride=2) -> NORM -> ACT "
        "-> POOL(padding=same) -> FC -> NORM -> FC",
        norm=component("batch_norm"),
        pool=component("l2_pool", kernel_size=2),
    )
    network = build(everything)
    network(torch.zeros(4, *SHAPE)).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert len(gradients) == 14
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


# Export.

EVERYTHING = (
    "INPUT -> CONV -> NORM -> ACT -> CONV(stride=2, kernel=(2, 3)) -> NORM -> SELU "
    "-> CONV(groups=depthwise, dilation=2) -> POOL(padding=same) -> DROPOUT -> CONV(6, padding=1, bias=false) "
    "-> POOL(3, stride=1, padding=1, ceil_mode=true) -> {} -> FC -> NORM -> ACT -> DROPOUT -> FC"
)
MIXES: dict[str, dict[str, Any]] = {
    "max": {"pool": component("max_pool"), "norm": component("batch_norm"), "dropout": component("Dropout", p=0.5)},
    "average": {
        "pool": component("average_pool"),
        "norm": component("layer_norm"),
        "dropout": component("SpatialDropout", p=0.5),
    },
    "l2": {
        "pool": component("l2_pool"),
        "norm": component("group_norm", num_groups=4),
        "dropout": component("Dropout", p=0.5),
    },
    "local_response": {
        "pool": component("max_pool"),
        "norm": component("local_response"),
        "dropout": component("Dropout", p=0.0),
    },
}


def exported(network: nn.Module, image: Tensor) -> nn.Module:
    batch = torch.export.Dim("batch")
    return torch.export.export(network.eval(), (image,), dynamic_shapes=({0: batch},)).module()


@pytest.mark.parametrize("mix", MIXES)
def test_a_network_of_all_layer_kinds_exports_with_a_dynamic_batch(mix: str):
    chain = " -> ".join(name.upper() for name in ACTIVATIONS) if mix == "max" else "GAP"
    design = planned(EVERYTHING.format(chain), **MIXES[mix])
    assert Counter(layer.kind for layer in design.layers).keys() >= {"CONV", "NORM", "POOL", "DROPOUT", "ACT", "FC"}
    network = build(design)
    program = exported(network, torch.zeros(2, *SHAPE))
    for size in (1, 2, 7):
        images = torch.rand(size, *SHAPE, generator=torch.Generator().manual_seed(size))
        torch.testing.assert_close(program(images), network(images))
