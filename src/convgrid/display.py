"""What a person sees: the plan, the progress, the result."""

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from convgrid.plan import Plan, PlannedLayer


def show_plan(plan: Plan, console: Console) -> None:
    """Print a plan as a table.

    Args:
        plan: Of the network.
        console: Where to.
    """
    table = Table(title=f"INPUT {_shape(plan.input_shape)}", title_justify="left", box=None, pad_edge=False)
    for heading in ("layer", "arguments", "output"):
        table.add_column(heading, overflow="fold")
    for heading in ("parameters", "multiply-adds", "memory", "sees"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in plan.layers:
        table.add_row(
            layer.name,
            _arguments(layer),
            _shape(layer.output_shape),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
            _bytes(layer.activation_bytes),
            _shape(layer.receptive_field),
        )
    table.add_section()
    totals = (f"{plan.parameters:,}", f"{plan.multiply_adds:,}", _bytes(plan.activation_bytes))
    table.add_row("total", "", "", *totals, "")
    console.print(table)
    console.print(f"[dim]multiply-adds, memory of the outputs (float32): one image[/]\n{plan.pattern}", highlight=False)


def show_result(rows: Mapping[str, str], console: Console) -> None:
    """Print what a run came to, a line for each thing.

    Args:
        rows: By name.
        console: Where to.
    """
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def epoch_line(epoch: int, epochs: int, metrics: Mapping[str, float], seconds: float) -> str:
    """One line for an epoch.

    Args:
        epoch: Counted from 1.
        epochs: At most.
        metrics: Of the epoch.
        seconds: That it took.

    Returns:
        Text without markup.

    Example:
        >>> epoch_line(3, 20, {"train/loss": 0.5, "val/accuracy": 0.97}, 0.25)
        'epoch  3/20  train/loss 0.5  val/accuracy 0.97  0.25 s'
    """
    values = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    return f"epoch {epoch:>{len(str(epochs))}}/{epochs}  {values}  {seconds:.2f} s"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _bytes(count: int) -> str:
    return f"{count / 1024:,.1f} KiB" if count < 1024**2 else f"{count / 1024**2:,.1f} MiB"


def _arguments(layer: PlannedLayer) -> str:
    """What a reader wants to know of a layer: its size, and what is not as usual."""
    shown = []
    for name, value in layer.component.options.items():
        usual = {"stride": (1, 1), "dilation": (1, 1), "groups": 1, "bias": True, "ceil_mode": False}.get(name)
        if value != usual:
            shown.append(f"{name}={_shape(value) if isinstance(value, tuple) else value}")
    if any(layer.padding):
        left, right, top, bottom = layer.padding
        shown.append(f"padding={left}" if left == right == top == bottom else f"padding={list(layer.padding)}")
    return " ".join(shown)
