"""A plan becomes a network."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from convgrid.errors import ConfigError, PlanError
from convgrid.network.graph import Branching
from convgrid.network.initializers import INITIALIZERS, Initializer
from convgrid.network.plan import Plan
from convgrid.network.planned import PlannedLayer

ASKS = "takes_init"  # a layer of the user's own with this attribute starts as arch.init says


def build(
    plan: Plan, *, init: str = "glorot_uniform", init_residual: str = "one", seed: int = 0
) -> nn.Sequential | Branching:
    """Build the planned layers, in order and by name, and initialise the weights of those that convgrid made.

    Args:
        init: A name in `convgrid.network.initializers.INITIALIZERS`; "torch" leaves torch's own weights.
        init_residual: "zero" starts the scale of each norm that ends a residual path at 0, so that the network starts
            without these paths (Goyal et al., 2017); "one" as every other norm's.
        seed: Of the initial weights.

    Returns:
        A network from (B, C, H, W) images to (B, num_outputs) scores; a chain is an `nn.Sequential`.

    Raises:
        ConfigError: If there is no such initialisation.
        PlanError: If a layer of the user's own does not do what the plan says.

    Example:
        >>> from convgrid.component import Component
        >>> from convgrid.network.plan import Architecture, plan
        >>> from convgrid.network.planned import Groups
        >>> conv, relu = Component("conv", "convgrid.layers.conv"), Component("relu", "torch.relu")
        >>> network = build(plan(Architecture("INPUT -> FC", Groups(conv, relu, {})), (1, 8, 8), 10))
        >>> network(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    if init not in INITIALIZERS:
        raise ConfigError(f"arch.init={init} is not an initialisation. Use one of {', '.join(INITIALIZERS)}.")
    with torch.random.fork_rng(devices=[]):  # layers draw weights from global state when they are made
        torch.default_generator.manual_seed(seed)
        modules = OrderedDict((layer.name, _make(layer)) for layer in plan.layers)
    for layer in plan.layers:
        if layer.is_own:
            _try(layer, modules[layer.name])
        if layer.ends_residual and init_residual == "zero":
            _start_at_zero(modules[layer.name])
    network = (
        nn.Sequential(modules)
        if plan.is_chain
        else Branching(modules, {layer.name: layer.inputs for layer in plan.layers})
    )
    initialize = INITIALIZERS[init]
    if initialize is not None:
        generator = torch.Generator().manual_seed(seed)
        for layer in plan.layers:
            if not _keeps_weights(layer, modules[layer.name]):
                _initialize(modules[layer.name], initialize, generator)
    return network


def _start_at_zero(norm: nn.Module) -> None:
    scale = getattr(norm, "weight", None)
    if isinstance(scale, nn.Parameter):
        nn.init.zeros_(scale)


def keeping_weights(plan: Plan, network: nn.Module) -> list[str]:
    """Find the layers of the user's own that keep the weights that they were made with, whatever `arch.init` says.

    Args:
        network: What `build` made of the plan.

    Returns:
        Their names, in order; those that have neither convolutions nor fully connected layers left out.
    """
    pairs = zip(plan.layers, network.children(), strict=True)
    return [layer.name for layer, module in pairs if _keeps_weights(layer, module) and _weighted(module)]


def _keeps_weights(layer: PlannedLayer, module: nn.Module) -> bool:
    """The user's own may be trained already; one that is not may ask for it by an attribute."""
    return layer.is_own and not getattr(module, ASKS, False)


def _initialize(module: nn.Module, initialize: Initializer, generator: torch.Generator) -> None:
    """Fill a layer's kernels, and clear its biases; what is frozen stays."""
    for part in _weighted(module):
        if part.weight.requires_grad:
            initialize(part.weight, generator)
        if part.bias is not None and part.bias.requires_grad:
            nn.init.zeros_(part.bias)


def measure(layer: PlannedLayer) -> PlannedLayer:
    """Find out what a layer of the user's own costs, which only the layer itself can tell.

    Args:
        layer: As planned, without its costs.

    Returns:
        The same with its trainable parameters, and the multiply-adds of each Conv2d and Linear in it.

    Raises:
        ConfigError: If there is no such layer.
        PlanError: If it does not make the planned shape.

    Example:
        >>> from convgrid.component import Component
        >>> from convgrid.network.pattern import Layer
        >>> norm = Component("own", "torch.nn.LayerNorm")
        >>> measure(PlannedLayer("norm1", "NORM", norm, (2, 4, 4), (2, 4, 4), Layer("NORM"))).parameters
        64
    """
    with torch.random.fork_rng(devices=[]):
        module = _make(layer)
    counted: list[int] = []

    def count(part: nn.Module, _: object, out: Tensor) -> None:
        assert isinstance(part.weight, Tensor)
        counted.append(out.numel() * part.weight[0].numel())

    for part in _weighted(module):
        part.register_forward_hook(count)
    _try(layer, module)
    parameters = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    return replace(layer, parameters=parameters, multiply_adds=sum(counted))


def kernels(network: nn.Module) -> list[Tensor]:
    """The weights of convolutions and fully connected layers: what weight decay, L1 and L2 apply to.

    Returns:
        Parameters in the network's order; neither biases nor norms.

    Example:
        >>> [tuple(kernel.shape) for kernel in kernels(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))]
        [(2, 3)]
    """
    return [module.weight for module in _weighted(network)]


def _weighted(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


class Activation(nn.Module):
    """A function of one tensor as a layer.

    Args:
        function: From a tensor to one of the same shape.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(x)


def _make(layer: PlannedLayer) -> nn.Module:
    """Make a layer, of the user's own perhaps."""
    make = layer.component.bind()
    with layer.component.blamed():
        made = _given(layer, make)
    return layer.component.checked(made, nn.Module)


def _given(layer: PlannedLayer, make: Callable[..., Any]) -> Any:
    """Give a layer's component what the plan worked out for it."""
    match layer.kind:
        case "CONV":
            return make(layer.input_shape[0], layer.output_shape[0], layer.padding)
        case "POOL":
            return make(layer.padding)
        case "FC":
            return make(math.prod(layer.input_shape), layer.output_shape[0])
        case "NORM":
            return make(layer.input_shape)
        case "ACT":
            return Activation(make)
        case _:
            return make()


@torch.no_grad()
def _try(layer: PlannedLayer, module: nn.Module) -> None:
    """Let a black image pass, and hold its shape against the plan."""
    mode = module.training
    with layer.component.blamed():
        found = layer.component.checked(module.eval()(torch.zeros(1, *layer.input_shape)), Tensor).shape
    module.train(mode)
    if found != (1, *layer.output_shape):
        component = layer.component
        raise PlanError(
            f"{component.group}={component.name}: {layer.name} makes {_sides(found[1:])} of "
            f"{_sides(layer.input_shape)}, but the plan has {_sides(layer.output_shape)}. Mend {component.target}."
        )


def _sides(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
