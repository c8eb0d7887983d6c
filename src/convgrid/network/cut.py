"""A network in two parts: what is frozen, and what is trained. The parts share its layers."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from torch import nn

from convgrid.network.graph import Branching
from convgrid.network.plan import Plan
from convgrid.network.planned import IMAGE, PlannedLayer


def freeze(plan: Plan, network: nn.Module) -> list[nn.Module]:
    """Keep the frozen layers as they are: they ask for no gradients.

    Args:
        network: As `build` made it of the plan, changed in place.

    Returns:
        The frozen layers, which whoever trains the others keeps in evaluation mode: a norm would learn otherwise.
    """
    return [network.get_submodule(name).requires_grad_(False).eval() for name in plan.frozen]


def cut(plan: Plan, network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Divide a network behind its frozen layers.

    Args:
        plan: At least one of its layers is frozen.
        network: As `build` made it of the plan.

    Returns:
        The frozen part, from images to features, and the rest, from these to scores. Layers keep their names.

    Example:
        >>> from convgrid.component import Component
        >>> from convgrid.network.build import build
        >>> from convgrid.network.plan import Architecture, plan
        >>> from convgrid.network.planned import Groups
        >>> conv, relu = Component("conv", "convgrid.layers.conv"), Component("relu", "torch.relu")
        >>> arch = Architecture("INPUT -> CONV(4) -> GAP -> FC", Groups(conv, relu, {}), freeze="features")
        >>> planned = plan(arch, (1, 8, 8), 10)
        >>> [[*part.state_dict()] for part in cut(planned, build(planned))]
        [['conv1.weight', 'conv1.bias'], ['output.1.weight', 'output.1.bias']]
    """
    frozen, trained = plan.layers[: plan.num_frozen], plan.layers[plan.num_frozen :]
    return _part(frozen, IMAGE, network), _part(trained, frozen[-1].name, network)


def _part(layers: Sequence[PlannedLayer], start: str, network: nn.Module) -> nn.Module:
    modules = OrderedDict((layer.name, network.get_submodule(layer.name)) for layer in layers)
    inputs = {layer.name: [IMAGE if name == start else name for name in layer.inputs] for layer in layers}
    return nn.Sequential(modules) if _is_chain(inputs.values(), modules) else Branching(modules, inputs)


def _is_chain(inputs: Iterable[Sequence[str]], names: Iterable[str]) -> bool:
    return all([*taken] == [before] for taken, before in zip(inputs, (IMAGE, *names), strict=False))
