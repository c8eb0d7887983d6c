"""The way back from a plan: its flat list of layers as the steps of a pattern."""

from collections.abc import Mapping, Sequence

from convgrid.network.pattern import SKIP, Join, Layer, Step
from convgrid.network.planned import IMAGE, PlannedLayer


def folded(layers: Sequence[PlannedLayer]) -> tuple[Step, ...]:
    """Fold layers that name their inputs into joins of paths.

    Where a join's paths part is the last layer that all of them pass: their nearest common dominator. A layer's own is
    the last one that every way from the image to it passes, which for a join is where its paths part.

    Args:
        layers: In topological order, as planned from a pattern.

    Returns:
        As the pattern states them.
    """
    parting: dict[str, str] = {}
    depth = {IMAGE: 0}
    for layer in layers:
        parting[layer.name] = _common(layer.inputs, parting, depth)
        depth[layer.name] = depth[parting[layer.name]] + 1
    return _path(layers[-1].name, IMAGE, {layer.name: layer for layer in layers}, parting)


def _common(names: Sequence[str], parting: Mapping[str, str], depth: Mapping[str, int]) -> str:
    first, *others = names
    for other in others:
        while first != other:
            if depth[first] >= depth[other]:
                first = parting[first]
            else:
                other = parting[other]
    return first


def _path(end: str, start: str, layers: Mapping[str, PlannedLayer], parting: Mapping[str, str]) -> tuple[Step, ...]:
    steps: list[Step] = []
    while end != start:
        layer = layers[end]
        if len(layer.inputs) > 1:
            paths = (_path(name, parting[end], layers, parting) or (SKIP,) for name in layer.inputs)
            steps.append(Join(layer.kind, tuple(paths)))
        elif not (steps and _is_skip(steps[-1])):  # a SKIP may be several layers
            steps.append(layer.written)
        end = parting[end]
    return tuple(steps[::-1])


def _is_skip(step: Step) -> bool:
    return isinstance(step, Layer) and step.kind == "SKIP"
