"""What a plan does that CS231n advises against, or that a processor has something better for: what to type instead.

Source: CS231n, "Convolutional Networks", layer sizing patterns.
"""

import math
from collections.abc import Collection, Iterator
from itertools import islice

from convgrid.network.plan import Plan
from convgrid.network.planned import PlannedLayer

MAX_ADVICE = 3  # lines
SMALL = 3  # a kernel's side that is never too large
MOST_SHARE = 0.9  # of all parameters in the first fully connected layer
AXES = {0: "row", 1: "column"}

BFLOAT16 = ("amx_bf16", "avx512_bf16")  # flags of processors that multiply in it
ENOUGH = 1e8  # multiply-adds of a batch's convolutions; with fewer, changing to and fro takes as long as they do
SLOW_NORM = "local_response"  # in bfloat16 slower than the convolutions are faster


def advice(plan: Plan) -> list[str]:
    """Hold a plan against CS231n's rules of sizes.

    Returns:
        At most three sentences, the costliest rule first.
    """
    return [*islice(_all_advice(plan), MAX_ADVICE)]


def precision_advice(plan: Plan, batch_size: int, cpu_flags: Collection[str]) -> list[str]:
    """Say where a CPU trains faster in bfloat16, and what that costs.

    Measured on one core with avx512_bf16 and torch 2.13 over 33 networks: where this speaks, a training step takes
    0.53 to 0.91 of the time, in the median 0.7; elsewhere it takes 0.8 to 1.75. Convolutions in groups, depthwise
    ones above all, take longer in bfloat16, and so does the norm of neighbouring channels.

    Args:
        batch_size: Images a step.
        cpu_flags: Of the CPU that trains.

    Returns:
        At most a sentence.
    """
    flag = next((flag for flag in BFLOAT16 if flag in cpu_flags), None)
    trained = [layer for layer in plan.layers if layer.name not in plan.frozen]
    convolutions = [layer for layer in trained if layer.kind == "CONV" and not layer.is_own]
    is_slow = any(layer.component.options["groups"] > 1 for layer in convolutions)
    is_slow = is_slow or any(layer.component.target.endswith(f".{SLOW_NORM}") for layer in trained)
    if flag is None or is_slow or batch_size * sum(layer.multiply_adds for layer in convolutions) < ENOUGH:
        return []
    return [
        f"This CPU has {flag}: trainer.precision=bf16-mixed takes about 0.6 to 0.9 of the time. It multiplies numbers "
        "of 8 significant bits instead of 24; weights keep 24."
    ]


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
