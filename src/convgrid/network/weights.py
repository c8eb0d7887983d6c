"""Which layers of a network take their weights from those of another one: by name and shape; no torch."""

import math
from collections.abc import Sequence

from convgrid.errors import PlanError
from convgrid.network.plan import Plan
from convgrid.network.planned import PlannedLayer


def matching(plan: Plan, source: Plan, place: str, *, free_head: bool) -> tuple[str, ...]:
    """Find the layers that weights are loaded into.

    All that have weights must have the same name and shape, the output layer aside. A head of the user's own is loaded
    where all of it fits so, and left out as a whole where not.

    Args:
        plan: Of the network that is given weights.
        source: Of the network that has them.
        place: What the user calls them, for messages: "arch.weights=last".
        free_head: Whether the head is the user's own, so that it need not match.

    Returns:
        Names of layers with weights, in the plan's order.

    Raises:
        PlanError: If the two differ, naming the first layer that does.
    """
    known = {layer.name: layer for layer in source.layers}
    end = plan.num_features if free_head else len(plan.layers) - 1
    found = _weighted(plan.layers[:end])
    for layer in found:
        _check(layer, known.get(layer.name), plan, source, place)
    if not free_head or plan.num_features == source.num_features:
        head = _weighted(plan.layers[end:-1])
        if all(layer.name in known and shapes(layer) == shapes(known[layer.name]) for layer in head):
            found += [*head, *_output(plan, source)]
    _check_rest(plan, source, {layer.name for layer in plan.layers[:end]}, place, free_head=free_head)
    return tuple(layer.name for layer in found)


def differing_layers(plan: Plan, source: Plan, loaded: Sequence[str]) -> list[str]:
    """Find loaded layers that compute otherwise than where their weights come from, and the activations among them.

    Args:
        loaded: What `matching` found.

    Returns:
        Names: of windows that step or pad otherwise, of norms with other numbers; other input sizes do not count.
    """
    known = {layer.name: layer for layer in source.layers}
    is_same_size = plan.input_shape == source.input_shape
    return [
        layer.name
        for layer in plan.layers
        if layer.name in loaded
        and (
            layer.component.target != known[layer.name].component.target
            or _listed(layer) != _listed(known[layer.name])
            or (is_same_size and layer.padding != known[layer.name].padding)
        )
    ]


def shapes(layer: PlannedLayer) -> tuple[object, ...]:
    """What a layer's weights are like, to be compared and shown.

    Returns:
        Shapes and what else decides them; () of a layer without weights.
    """
    options = layer.component.options
    if layer.is_own:
        return (layer.component.target, layer.input_shape, layer.output_shape) if layer.parameters else ()
    match layer.kind:
        case "CONV":
            sizes = (layer.output_shape[0], layer.input_shape[0] // options.get("groups", 1), *options["kernel_size"])
            return ("x".join(map(str, sizes)), "bias" if options.get("bias", True) else "no bias")
        case "FC":
            return (f"{layer.output_shape[0]}x{math.prod(layer.input_shape)}", "bias")
        case "NORM" if layer.parameters:
            return (f"{layer.parameters // 2} channels", layer.component.target.rpartition(".")[2])
        case _:
            return ()


def _weighted(layers: Sequence[PlannedLayer]) -> list[PlannedLayer]:
    return [layer for layer in layers if shapes(layer)]


def _output(plan: Plan, source: Plan) -> list[PlannedLayer]:
    output, other = plan.layers[-1], source.layers[-1]
    return [output] if shapes(output) == shapes(other) else []


def _listed(layer: PlannedLayer) -> dict[str, object]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in layer.component.options.items()}


def _check(layer: PlannedLayer, other: PlannedLayer | None, plan: Plan, source: Plan, place: str) -> None:
    if other is None:
        raise PlanError(f"{place}: {layer.name} has no weights there, whose pattern is {source.pattern}. {_fix(place)}")
    if shapes(layer) == shapes(other):
        return
    here, there = (", ".join(map(str, shapes(each))) for each in (layer, other))
    if layer.kind == "FC" == other.kind and plan.input_shape[1:] != source.input_shape[1:]:
        size = "x".join(map(str, source.input_shape[1:]))
        raise PlanError(
            f"{place}: {layer.name} is {here}, and {there} there, where images are {size}. "
            f"Use images of {size}, or a head that takes any size: arch.head='GAP -> FC'."
        )
    raise PlanError(f"{place}: {layer.name} is {here}, and {there} there. {_fix(place)}")


def _check_rest(plan: Plan, source: Plan, there: set[str], place: str, *, free_head: bool) -> None:
    """Weights that no layer takes are another network's."""
    others = source.layers[: source.num_features if free_head else -1]
    left = [layer.name for layer in _weighted(others) if layer.name not in there]
    if left:
        raise PlanError(f"{place}: it has weights of {left[0]}, and {plan.pattern} has no such layer. {_fix(place)}")


def _fix(place: str) -> str:
    return f"Use the arch of {place.removeprefix('arch.weights=')}, or other weights."
