"""What the user sees: the plan, the progress, the result."""

import io
import sys
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from convgrid.config import Settings, component, counted_for_plan
from convgrid.config.address import database, without_password
from convgrid.network.advice import advice, precision_advice
from convgrid.network.memory import training_bytes
from convgrid.network.plan import Plan
from convgrid.network.planned import IMAGE, PlannedLayer
from convgrid.runs.trial import read_record, run_id_of
from convgrid.system.device import is_on_cpu
from convgrid.system.environment import cpu_flags
from convgrid.system.filesystem import network_filesystem
from convgrid.system.text import escaped

Row = tuple[str, ...]

HEADINGS = ("layer", "arguments", "output", "parameters", "multiply-adds", "memory", "sees")
ARGUMENTS_COLUMN = 1  # the column; it and its neighbours hold words, the others numbers
FROM = "from"  # the last column of a network that branches
FROZEN_MARK = "frozen"  # what stands behind a layer that is not trained
NAME_GAP = 2  # spaces after a result's name
BAR_WIDTH = 16  # characters of a bar that shows how far a training is
SCREEN = 80  # characters that a table tries to keep to, by folding its arguments
TIED = "\xa0"  # a space at which no line is folded
MOST_OF_VALUE = 60  # characters of a swept value, such as a pattern, in a line
MIN_ARGUMENTS_WIDTH = 14  # characters of the arguments' column where that is impossible


def shortened(value: str) -> str:
    """Leave out the middle of a long value, for a line that has others beside it; files hold it whole.

    Example:
        >>> shortened("INPUT -> " + "CONV -> RELU -> " * 9 + "FC")
        'INPUT -> CONV -> RELU -> CONV -> REL ... > CONV -> RELU -> FC'
    """
    if len(value) <= MOST_OF_VALUE:
        return value
    third = MOST_OF_VALUE // 3
    return f"{value[: 2 * third - 4].rstrip()} ... {value[-third:].lstrip()}"


def show_plan(plan: Plan, console: Console, notes: Sequence[str] = ()) -> None:
    """Print a plan as a table; however narrow the terminal is, no number and no pattern is broken to copy.

    Args:
        notes: Lines between the table and the pattern, as `plan_notes` gives them.
    """
    totals = (f"{plan.parameters:,}", f"{plan.multiply_adds:,}", _bytes(plan.activation_bytes))
    rows = [HEADINGS, *map(_row, plan.layers), ("total", "", "", *totals, "")]
    words = {*range(ARGUMENTS_COLUMN + 2)}
    if not plan.is_chain:
        words.add(len(HEADINGS))
        rows = [(*row, source) for row, source in zip(rows, (FROM, *_sources(plan), ""), strict=True)]
    if plan.num_frozen:
        words.add(len(rows[0]))
        marks = ("", *(FROZEN_MARK if layer.name in plan.frozen else "" for layer in plan.layers), "")
        rows = [(*row, mark) for row, mark in zip(rows, marks, strict=True)]
    head, *lines, total = aligned(_folded(rows), words=words)
    _write(console, f"INPUT {_shape(plan.input_shape)}", "bold")
    _write(console, head, "bold")
    for line in lines:
        _write(console, line)
    _write(console, total, "bold")
    _write(console, "one image: multiply-adds forward, memory of the outputs in float32, pixels seen", "dim")
    if plan.num_frozen:
        counts = f"{plan.trainable:,} of {plan.parameters:,} parameters are trained"
        _write(console, f"frozen up to {plan.frozen[-1]}: {counts}")
    for note in notes:
        _write(console, note)
    _write(console, plan.pattern)


def show_store(uri: str | None, experiment: str, console: Console) -> None:
    """Say where runs go before they begin, since a variable of the environment may decide it.

    Args:
        uri: Of the tracking store; None where nothing is tracked.
    """
    if uri:
        _write(console, printable(f"tracked in {without_password(uri)}, experiment {experiment}", console))
        path = database(uri)
        kind = network_filesystem(path) if path else None
        if kind:
            _write(
                console,
                f"The database lies on a network file system ({kind}), where sqlite cannot lock it safely. "
                "Use it from one machine at a time, or name a server: tracking.uri=http://HOST:PORT.",
            )


def plan_notes(plan: Plan, settings: Settings) -> list[str]:
    """Say what the training of a plan takes, what CS231n would do otherwise, and whether this CPU could be faster.

    Returns:
        A line each.
    """
    size, trainer, optimizer = settings.data.batch_size, settings.trainer, component(settings, "optimizer")
    assert optimizer is not None
    taken = _bytes(training_bytes(plan, size, optimizer))
    counted = counted_for_plan(settings)
    told = [] if counted is None else [f"data.num_classes={counted.number}, counted: {counted.what}"]
    memory = f"a batch of {size:,} images trained with {optimizer.name}: about {taken} of memory"
    may_be_mixed = trainer.precision == "32-true" and is_on_cpu(trainer.accelerator)
    faster = precision_advice(plan, size, cpu_flags()) if may_be_mixed else []
    return [*told, memory, *advice(plan), *faster]


def result_rows(folder: Path, uri: str | None) -> dict[str, str]:
    """Say what a finished run came to, by what its folder holds.

    Args:
        uri: Of the tracking store; None where nothing is tracked.

    Returns:
        By name.
    """
    record = read_record(folder)
    metrics, params = record["metrics"], record["params"]
    test = _metrics(metrics, "test/")
    return {
        "best epoch": f"{record['best_epoch']} of {record['epochs']}, by {record['objective'][0]}",
        "validation": _metrics(metrics, "best/val/"),
        **({"test": test} if test else {}),
        "parameters": _parameters(params),
        "multiply-adds": f"{int(params['plan.multiply_adds']):,} an image",
        "time": f"{record['seconds']:.1f} s on {record['tags']['device']}",
        **({"MLflow run": run_id_of(folder) or "not sent yet: python -m convgrid sync"} if uri else {}),
        **(
            {"dashboard": without_password(uri) if uri.startswith("http") else "make ui, or python -m convgrid ui"}
            if uri
            else {}
        ),
        "folder": str(folder),
    }


def _parameters(params: Mapping[str, str]) -> str:
    """All, and those trained where that is not all; runs of older versions do not say."""
    whole = int(params["plan.parameters"])
    trained = int(params.get("plan.trainable", whole))
    return f"{whole:,}" if trained == whole else f"{whole:,}, of which {trained:,} were trained"


def _metrics(metrics: Mapping[str, float], prefix: str) -> str:
    return "  ".join(
        f"{name.removeprefix(prefix)} {value:.4g}" for name, value in metrics.items() if name.startswith(prefix)
    )


def show_result(rows: Mapping[str, str], console: Console) -> None:
    """Print what a run came to, a line for each thing; a value's further lines stand below its first."""
    lines = [
        (name * (number == 0), line) for name, text in rows.items() for number, line in enumerate(text.split("\n"))
    ]
    width = max(map(len, rows), default=0)
    for line in aligned(lines, words=range(2), gap=NAME_GAP):
        line = escaped(line)
        console.print(Text.assemble((line[:width], "bold"), line[width:]), soft_wrap=True)


def aligned(rows: Sequence[Sequence[str]], *, words: Collection[int], gap: int = 1) -> list[str]:
    """Set rows in columns, each as wide as its cells, however narrow the screen is: a line is never broken to copy.

    Args:
        rows: As many cells in each.
        words: Places of the columns that stand to the left; numbers stand to the right.
        gap: Spaces between columns.

    Returns:
        A line a row, without spaces at its end.

    Example:
        >>> aligned([("layer", "parameters"), ("fc1", "640")], words=[0])
        ['layer parameters', 'fc1          640']
    """
    from rich.table import Table  # --help does without

    table = Table.grid(padding=(0, gap, 0, 0), pad_edge=False)
    for place in range(max(map(len, rows), default=0)):
        table.add_column(justify="left" if place in words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=io.StringIO(), color_system=None)
    lines = console.render_lines(table, console.options.update_width(sys.maxsize), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def epoch_line(epoch: int, epochs: int, metrics: Mapping[str, float], seconds: float) -> str:
    """One line for an epoch.

    Args:
        epoch: Counted from 1.

    Returns:
        Text without markup.

    Example:
        >>> epoch_line(3, 20, {"train/loss": 0.5, "val/accuracy": 0.97}, 0.25)
        'epoch  3/20  train/loss 0.5  val/accuracy 0.97  0.25 s'
    """
    values = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    return f"epoch {epoch:>{len(str(epochs))}}/{epochs}  {values}  {seconds:.2f} s"


def _write(console: Console, line: str, style: str = "") -> None:
    console.print(Text(escaped(line), style=style), soft_wrap=True)


def _row(layer: PlannedLayer) -> Row:
    costs = (f"{layer.parameters:,}", f"{layer.multiply_adds:,}", _bytes(layer.activation_bytes))
    return (layer.name, _arguments(layer), _shape(layer.output_shape), *costs, _shape(layer.receptive_field))


def _sources(plan: Plan) -> Iterator[str]:
    """What each layer takes, where that is not the line above."""
    before = IMAGE
    for layer in plan.layers:
        yield "" if layer.inputs == (before,) else ", ".join(layer.inputs)
        before = layer.name


def _folded(rows: Sequence[Row]) -> list[Row]:
    """Fold the arguments, so that the table fits the screen."""
    others = sum(max(map(len, column)) + 1 for column in zip(*rows, strict=True)) - 1
    room = max(SCREEN - others + max(len(row[ARGUMENTS_COLUMN]) for row in rows), MIN_ARGUMENTS_WIDTH)
    folded = []
    for name, arguments, *rest in rows:
        first, *further = [line.replace(TIED, " ") for line in textwrap.wrap(arguments, room)] or [""]
        folded.append((name, first, *rest))
        folded += [("", line, *("" for _ in rest)) for line in further]
    return folded


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _bytes(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:,.1f} KiB" if count < 1024**2 else f"{count / 1024**2:,.1f} MiB"


def _arguments(layer: PlannedLayer) -> str:
    """What a reader wants to know of a layer: its size, and what is not as usual; "3x3, padding 1"."""
    options = dict(layer.component.options)
    kernel = options.pop("kernel_size", None)
    usual = {"stride": kernel if layer.kind == "POOL" else (1, 1), "dilation": (1, 1), "groups": 1}
    usual |= {"bias": True, "ceil_mode": False, "eps": options.get("eps")}
    unusual = {name: value for name, value in options.items() if value != usual.get(name)}
    if any(layer.padding):
        unusual["padding"] = _padding(*layer.padding)
    sizes = [] if kernel is None else [_shape(kernel)]
    return ", ".join([*sizes, *(f"{name}{TIED}{_value(value)}" for name, value in unusual.items())])


def _padding(left: int, right: int, top: int, bottom: int) -> object:
    if left == right == top == bottom:
        return left
    return (top, left) if (left, top) == (right, bottom) else f"{top}+{bottom}x{left}+{right}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return _shape(value) if len(set(value)) > 1 else str(value[0])
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Write a time as the user says it.

    Returns:
        In seconds, minutes or hours.

    Example:
        >>> duration(99), duration(600), duration(9000)
        ('99 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def printable(text: str, console: Console) -> str:
    r"""Write out what a console cannot show, so that no character stops a sweep.

    Args:
        console: Where it will be printed.

    Returns:
        Text in the console's encoding.

    Example:
        >>> import io
        >>> printable("größe", Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii")))
        'gr\\xf6\\xdfe'
    """
    return escaped(text).encode(console.encoding, "backslashreplace").decode(console.encoding)
