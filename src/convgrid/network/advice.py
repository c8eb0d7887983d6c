"""What a plan does that CS231n advises against: what it costs, and what to type instead.

Source: CS231n, "Convolutional Networks", layer sizing patterns.
"""

import math
from collections.abc import Iterator
from itertools import islice

from convgrid.network.plan import Plan
from convgrid.network.planned import PlannedLayer

MOST = 3  # lines
SMALL = 3  # a kernel's side that is never too large
MOST_SHARE = 0.9  # of all parameters in the first fully connected layer
AXES = {0: "row", 1: "column"}


def advice(plan: Plan) -> list[str]:
    """Hold a plan against CS231n's rules of sizes.

    Returns:
        At most three sentences, the costliest rule first.
    """
    return [*islice(_all_advice(plan), MOST)]


def _all_advice(plan: Plan) -> Iterator[str]:
    first = next((layer for layer in plan.layers if layer.kind == "FC"), plan.layers[-1])
    if first is not plan.layers[-1] and first.parameters >= MOST_SHARE * plan.parameters:
        yield (
            f"{first.name} holds {100 * first.parameters // plan.parameters} % of all parameters. "
            f"Use GAP or one more POOL before it, or fewer units than {first.output_shape[0]}."
        )
    for layer in plan.layers:
        if layer.kind == "CONV" and not layer.is_own:
            yield from _on_kernel(layer)
        if layer.kind == "POOL" and not layer.is_own:
            yield from _on_dropped(layer)


def _on_kernel(layer: PlannedLayer) -> Iterator[str]:
    kernel, sides = layer.component.options["kernel_size"], layer.input_shape[1:]
    if any(length > SMALL and 2 * length > side for length, side in zip(kernel, sides, strict=True)):
        times = math.prod(kernel) / SMALL**2
        yield (
            f"{layer.name} slides {_by(kernel)} over {_by(sides)}, which costs {times:.2g} times what 3x3 does. "
            f"Use kernel={SMALL} for it."
        )


def _on_dropped(layer: PlannedLayer) -> Iterator[str]:
    """A pool whose last window ends before its input does."""
    options = layer.component.options
    left, _, top, _ = layer.padding
    dropped: list[str] = []
    for axis, before in enumerate((top, left)):
        side, length, step = layer.input_shape[axis + 1], options["kernel_size"][axis], options["stride"][axis]
        unseen = before + side - (layer.output_shape[axis + 1] - 1) * step - length
        if unseen > 0:
            dropped.append(AXES[axis] if unseen == 1 else f"{unseen} {AXES[axis]}s")
    if dropped:
        yield (
            f"{layer.name} never looks at the last {' and '.join(dropped)} of its {_by(layer.input_shape[1:])} input. "
            "Use padding=same for it, or an image whose sides it divides."
        )


def _by(sides: tuple[int, ...]) -> str:
    return "x".join(map(str, sides))
