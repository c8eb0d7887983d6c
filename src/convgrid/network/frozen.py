"""Where a network may be cut in two, and which of its layers `arch.freeze` keeps as they are: no torch."""

import difflib
from collections.abc import Sequence

from convgrid.errors import PlanError
from convgrid.network.planned import IMAGE, PlannedLayer

FREEZE_NONE, FREEZE_FEATURES = "none", "features"


def cuts(layers: Sequence[PlannedLayer]) -> list[bool]:
    """Say behind which layers a network can be cut: where all that follows takes that layer's output and no other.

    Args:
        layers: In topological order.

    Returns:
        One answer a layer; inside of a join's paths there is no cut.
    """
    last = {source: place for place, layer in enumerate(layers) for source in layer.inputs}
    found, open_until = [], last.get(IMAGE, -1)  # the last place that takes something made before this layer
    for place, layer in enumerate(layers):
        found.append(open_until <= place)
        open_until = max(open_until, last.get(layer.name, -1))
    return found


def count_features(layers: Sequence[PlannedLayer]) -> int:
    """Count the layers before the head: all before the first fully connected one that every image's way passes.

    Args:
        layers: In topological order; dropouts right before the head belong to it.

    Returns:
        Their number; a gate's fully connected layers, inside of a join, are features.
    """
    count = next(place for place, is_cut in enumerate(cuts(layers)) if is_cut and layers[place].kind == "FC")
    while count and layers[count - 1].kind == "DROPOUT":
        count -= 1
    return count


def count_frozen(layers: Sequence[PlannedLayer], num_features: int, freeze: str) -> int:
    """Count the layers that are frozen: all up to and including one.

    Args:
        layers: In topological order.
        num_features: How many stand before the head.
        freeze: "none", "features", or the name of a layer.

    Returns:
        Their number.

    Raises:
        PlanError: If there is no such layer, the network cannot be cut behind it, or nothing would be left to train.
    """
    if freeze == FREEZE_NONE:
        return 0
    if freeze == FREEZE_FEATURES:
        if not any(layer.parameters for layer in layers[:num_features]):
            raise PlanError("arch.freeze=features: no layer before the head has weights. Use arch.freeze=none.")
        return num_features
    names = [layer.name for layer in layers]
    if freeze not in names:
        near = difflib.get_close_matches(freeze, [*names, FREEZE_FEATURES, FREEZE_NONE], n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else "dry_run=true shows their names."
        raise PlanError(f"arch.freeze={freeze} is not a layer of the network. {hint}")
    place = names.index(freeze)
    _check_cut(layers, place, freeze)
    if not any(layer.parameters for layer in layers[place + 1 :]):
        raise PlanError(f"arch.freeze={freeze} leaves nothing to train. Use a layer before the last one with weights.")
    return place + 1


def _check_cut(layers: Sequence[PlannedLayer], place: int, freeze: str) -> None:
    where = cuts(layers)
    if where[place]:
        return
    before = next((layers[near].name for near in range(place, -1, -1) if where[near]), None)
    behind = next(layers[near].name for near in range(place, len(layers)) if where[near])
    use = f"{before} or {behind}" if before else behind
    raise PlanError(f"arch.freeze={freeze} lies on one of the paths that {behind} joins. Use arch.freeze={use}.")
