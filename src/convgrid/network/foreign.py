"""Weights of another program, under its names, become those of a planned network: module by module, shape by shape."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from convgrid.errors import ModelError
from convgrid.network.plan import Plan
from convgrid.network.planned import IMAGE, PlannedLayer
from convgrid.network.weights import shapes

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")  # keys that files put around theirs
PREFIX = "module."  # of networks that were trained on several GPUs
COUNTER = "num_batches_tracked"  # of norms, which older files lack
KIND_BY_DIMENSIONS = {4: "a convolution", 2: "a fully connected layer", 1: "a norm"}  # of a weight


@dataclass
class Module:
    """The tensors of one module of a file, by the last part of their names."""

    name: str
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """Its shape in words."""
        weight = self.tensors.get("weight")
        if weight is None:
            return f"{', '.join(self.tensors)} without a weight"
        kind = KIND_BY_DIMENSIONS.get(weight.dim(), "a tensor")
        bias = ", bias" if "bias" in self.tensors and weight.dim() > 1 else ", no bias" if weight.dim() > 1 else ""
        return f"{kind} of {'x'.join(map(str, weight.shape))}{bias}"


def unwrapped(content: object) -> dict[str, Tensor]:
    """Take the tensors out of what a file holds.

    Args:
        content: A mapping of tensors, or one that has it under a key such as "state_dict".

    Returns:
        Tensors by name, in the file's order, less "module.".

    Raises:
        ModelError: If there are none.
    """
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        inner = next((content[key] for key in WRAPPERS if key in content), None)
        if inner is None:
            raise ModelError(f"it holds {', '.join(map(str, [*content][:5]))}, and no weights by name.")
        content = inner
    if not isinstance(content, Mapping):
        raise ModelError(f"it holds {type(content).__name__}, not weights by name.")
    return {str(name).removeprefix(PREFIX): value for name, value in content.items() if isinstance(value, Tensor)}


def modules_of(tensors: Mapping[str, Tensor], order: Sequence[str] = (), leave_out: Sequence[str] = ()) -> list[Module]:
    """Gather tensors into modules.

    Names that are sorted as texts say nothing of the network's order: "10" is before "2". They are sorted as a reader
    would, after what is said of their order.

    Args:
        order: Parts of names, such as "conv1", in the order in which they stand in the network.
        leave_out: What the names of modules start with that the network does not have.

    Returns:
        Those with tensors, in order.
    """
    found: dict[str, Module] = {}
    for name, tensor in tensors.items():
        place, _, last = name.rpartition(".")
        if last != COUNTER and not name.startswith(tuple(leave_out)):
            found.setdefault(place, Module(place)).tensors[last] = tensor
    modules = [*found.values()]
    return sorted(modules, key=lambda module: _place(module.name, order)) if order or is_sorted(tensors) else modules


def num_channels(modules: Sequence[Module]) -> int:
    """Count the channels of an image: those of the first convolution; 3 where there is none."""
    weights = (module.tensors["weight"] for module in modules if "weight" in module.tensors)
    return next((weight.shape[1] for weight in weights if weight.dim() == 4), 3)


def count_output_units(modules: Sequence[Module]) -> int:
    """Count the outputs: those of the last fully connected layer, or of the last convolution where there is none."""
    weights = [module.tensors["weight"] for module in modules if "weight" in module.tensors]
    linear = [weight for weight in weights if weight.dim() == 2]
    last = (linear or [weight for weight in weights if weight.dim() == 4])[-1:]
    if not last:
        raise ModelError("it holds neither convolutions nor fully connected layers.")
    return len(last[0])


def is_sorted(tensors: Mapping[str, Tensor]) -> bool:
    """Say whether names are sorted as texts, as safetensors does, so that their order is not the network's."""
    return len(tensors) > 1 and [*tensors] == sorted(tensors)


def _place(name: str, order: Sequence[str]) -> list[tuple[int, list[tuple[int, int, str]]]]:
    """Where a name stands: what is listed first, the others as a reader would sort them."""
    return [(order.index(part) if part in order else len(order), _natural(part)) for part in name.split(".")]


def _natural(part: str) -> list[tuple[int, int, str]]:
    pieces = re.findall(r"\d+|\D+", part)
    return [(0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in pieces]


def converted(plan: Plan, network: nn.Module, modules: Sequence[Module], *, by_kind: bool) -> None:
    """Give a network the weights of a file's modules.

    Args:
        network: As `build` made it of the plan, changed in place.
        by_kind: Whether convolutions, norms and fully connected layers are matched apart: sorted names keep the order
            within each kind only.

    Raises:
        ModelError: If a module does not fit, naming the first and both shapes.
    """
    layers = [layer for layer in plan.layers if shapes(layer)]
    for layer, module in _pairs(layers, modules, by_kind=by_kind):
        _fill(layer, network.get_submodule(layer.name), module)


def _pairs(
    layers: Sequence[PlannedLayer], modules: Sequence[Module], *, by_kind: bool
) -> list[tuple[PlannedLayer, Module]]:
    if len(layers) != len(modules):
        _refuse_count(layers, modules)
    if not by_kind:
        return [*zip(layers, modules, strict=True)]
    norms = [module for module in modules if _is_norm(module)]
    others = [module for module in modules if not _is_norm(module)]
    linear = [module for module in others if module.tensors["weight"].dim() == 2]
    convolutions = [module for module in others if module.tensors["weight"].dim() != 2]
    queues = {"NORM": norms, "CONV": convolutions, "FC": linear or convolutions[-1:]}
    pairs = []
    for kind, queue in queues.items():
        mine = [layer for layer in layers if layer.kind == kind]
        if kind == "CONV" and not linear:
            queue = queue[:-1]
        if len(mine) != len(queue):
            _refuse_count(mine, queue)
        pairs += zip(mine, queue, strict=True)
    return pairs


def _is_norm(module: Module) -> bool:
    return "weight" not in module.tensors or module.tensors["weight"].dim() == 1


def _refuse_count(layers: Sequence[PlannedLayer], modules: Sequence[Module]) -> None:
    """Name the first two that differ, of as many as both have, or what is left over."""
    for layer, module in zip(layers, modules, strict=False):
        if not _fits(layer, module):
            raise _misfit(layer, module)
    left = modules[len(layers)].name if len(modules) > len(layers) else layers[len(modules)].name
    who = "the file" if len(modules) > len(layers) else "the network"
    raise ModelError(
        f"the network has {len(layers)} layers with weights, and the file {len(modules)}: only {who} has {left}. "
        "Use another arch, or --leave-out what the network does not have."
    )


def _misfit(layer: PlannedLayer, module: Module) -> ModelError:
    here = ", ".join(map(str, shapes(layer)))
    return ModelError(
        f"{module.name} is {module.told}, and {layer.name}, where it would go, is {here}. "
        "Use another arch, or give the order of names: --order conv1 bn1 layer1"
    )


def _fits(layer: PlannedLayer, module: Module) -> bool:
    weight = module.tensors.get("weight")
    if weight is None:
        return False
    has_bias = "bias" in module.tensors
    match layer.kind:
        case "CONV":
            size, bias = shapes(layer)
            return "x".join(map(str, weight.shape)) == size and has_bias == (bias == "bias")
        case "FC":
            flat = math.prod(layer.input_shape)
            is_window = weight.dim() == 4 and tuple(weight.shape[1:]) == _as_window(layer)
            shape = (layer.output_shape[0], flat)
            return has_bias and len(weight) == shape[0] and (is_window or tuple(weight.shape) == shape)
        case _:
            return tuple(weight.shape) == (layer.input_shape[0],)


def _as_window(layer: PlannedLayer) -> tuple[int, ...]:
    """What a fully connected layer is as a convolution: a window over all of its input."""
    channels, *sides = layer.input_shape
    return (channels, *(sides or (1, 1)))


def _fill(layer: PlannedLayer, own: nn.Module, module: Module) -> None:
    if layer.is_own or not _fits(layer, module):
        raise _misfit(layer, module)
    state = own.state_dict()
    filled = {}
    for name, tensor in state.items():
        last = name.rpartition(".")[2]
        if last == COUNTER:
            filled[name] = tensor
        elif last not in module.tensors:
            raise ModelError(f"{module.name} has no {last}, which {layer.name} needs.")
        else:
            filled[name] = module.tensors[last].reshape(tensor.shape)
    own.load_state_dict(filled)


def turn_channels(plan: Plan, network: nn.Module) -> None:
    """Let a network that took blue, green, red take red, green, blue, and score the same.

    Args:
        network: As `build` made it of the plan, changed in place.

    Raises:
        ModelError: If something else than convolutions of all channels takes the image.
    """
    for layer in plan.layers:
        if IMAGE not in layer.inputs:
            continue
        convolutions = [part for part in network.get_submodule(layer.name).modules() if isinstance(part, nn.Conv2d)]
        if layer.kind != "CONV" or len(convolutions) != 1 or convolutions[0].groups != 1:
            raise ModelError(f"--channels bgr: {layer.name} takes the image, and its channels cannot be turned.")
        weight = convolutions[0].weight
        weight.data = weight.data.flip(1).contiguous()
