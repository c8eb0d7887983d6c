"""A plan becomes a network."""

import math
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from convgrid.errors import ConfigError
from convgrid.initializers import INITIALIZERS
from convgrid.plan import Plan, PlannedLayer


def build(plan: Plan, *, init: str = "glorot_uniform", seed: int = 0) -> nn.Sequential:
    """Build the planned layers, in order and by name, and initialise their weights.

    Args:
        plan: What to build.
        init: A name in `convgrid.initializers.INITIALIZERS`; "torch" leaves torch's own weights.
        seed: Of the initial weights.

    Returns:
        A network from (B, C, H, W) images to (B, num_outputs) scores.

    Raises:
        ConfigError: If there is no such initialisation.

    Example:
        >>> from convgrid.component import Component
        >>> from convgrid.plan import Architecture, Groups, plan
        >>> conv, relu = Component("conv", "convgrid.layers.conv"), Component("relu", "torch.relu")
        >>> network = build(plan(Architecture("INPUT -> FC", Groups(conv, relu, {})), (1, 8, 8), 10))
        >>> network(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    if init not in INITIALIZERS:
        raise ConfigError(f"arch.init={init} is no initialisation. Use one of {', '.join(INITIALIZERS)}.")
    with torch.random.fork_rng(devices=[]):  # layers draw weights from global state when they are made
        torch.default_generator.manual_seed(seed)
        network = nn.Sequential(OrderedDict((layer.name, _make(layer)) for layer in plan.layers))
    initialize = INITIALIZERS[init]
    if initialize is not None:
        generator = torch.Generator().manual_seed(seed)
        for kernel in kernels(network):
            initialize(kernel, generator)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def kernels(network: nn.Module) -> list[Tensor]:
    """The weights of convolutions and fully connected layers: what weight decay, L1 and L2 apply to.

    Args:
        network: Any network.

    Returns:
        Parameters in the network's order; neither biases nor norms.

    Example:
        >>> [tuple(kernel.shape) for kernel in kernels(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))]
        [(2, 3)]
    """
    return [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


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
    """Give a layer's component what the plan worked out for it."""
    make = layer.component.bind()
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
