"""The way back: layers as a pattern."""

from collections.abc import Sequence

from convgrid.network.pattern.arguments import ARGUMENTS
from convgrid.network.pattern.tree import Join, Layer, Step, Value


def render(steps: Sequence[Step]) -> str:
    """Write layers and joins as a pattern that reads back to the same, their stages aside.

    Args:
        steps: Without INPUT, the output FC last, such as `Pattern.expand` returns.

    Returns:
        The pattern on one line.

    Example:
        >>> render([Layer("CONV", (("filters", 32), ("kernel_size", 3))), Layer("ACT", activation="relu"), Layer("FC")])
        'INPUT -> CONV(32, kernel=3) -> RELU -> FC'
    """
    return f"INPUT -> {_chain(steps)}"


def render_layer(layer: Layer) -> str:
    """Write one layer.

    Example:
        >>> render_layer(Layer("POOL", (("kernel_size", 3),), optional=True))
        'POOL?(3)'
    """
    name = (layer.activation or layer.kind).upper() + "?" * layer.optional
    first = next(iter(ARGUMENTS.get(layer.kind, ())), None)
    args = [
        ("" if name == first else f"{'kernel' if name == 'kernel_size' else name}=") + render_value(value)
        for name, value in layer.args
    ]
    return f"{name}({', '.join(args)})" if args else name


def render_value(value: Value) -> str:
    """Write an argument's value.

    Example:
        >>> render_value(True), render_value((3, 5))
        ('true', '(3, 5)')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def _chain(steps: Sequence[Step]) -> str:
    return " -> ".join(_join(step) if isinstance(step, Join) else render_layer(step) for step in steps)


def _join(join: Join) -> str:
    return f"{join.kind}[{' | '.join(map(_chain, join.steps))}]"
