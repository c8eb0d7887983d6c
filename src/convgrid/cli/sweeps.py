"""`convgrid sweeps`: the sweeps of a folder, how far each is, and the command that goes on with it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from convgrid.errors import SweepError
from convgrid.runs.sweep import SWEEP, SWEEPS, Standing, read_sweep, standing, status
from convgrid.runs.trial import RUNS
from convgrid.terminal import printable

SWEEP_COLUMNS = ("sweep", "started", "state", "finished", "pruned", "failed", "left")
STATES = {"running": "running", "finished": "finished", "failed": "stopped", "killed": "interrupted"}


def sweeps() -> int:
    """Print the sweeps of this folder.

    Returns:
        The exit status.
    """
    show_sweeps(Console())
    return 0


def show_sweeps(console: Console, sweeps: Path = SWEEPS, runs: Path = RUNS) -> None:
    """Print the sweeps of a folder, the latest at last.

    Args:
        sweeps: Where the sweeps' folders are.
        runs: Where the trials' folders are.
    """
    found, broken = [], []
    for file in sorted(sweeps.glob(f"*/{SWEEP}")):
        try:
            sweep = read_sweep(file.parent)
        except SweepError as error:
            broken.append(str(error))
            continue
        found.append((sweep, STATES[status(sweep, file.parent)], standing(sweep, runs)))
    for number, (sweep, state, now) in enumerate(sorted(found, key=lambda item: item[0]["created"])):
        console.print(_table(sweep, state, now, with_head=number == 0))
        _print(_lines(sweep, state, now), console)
    _print(broken if found or broken else [f"There are no sweeps in {sweeps.resolve()}."], console)


def _print(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(Text(printable(line, console)), soft_wrap=True)


def _table(sweep: Mapping[str, Any], state: str, now: Standing, *, with_head: bool) -> Table:
    """One row: each sweep's command stands below its own."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=with_head)
    for name, width in zip(SWEEP_COLUMNS, (12, 16, 11, 8, 6, 6, 5), strict=True):
        table.add_column(name, justify="left" if name in SWEEP_COLUMNS[:3] else "right", min_width=width, no_wrap=True)
    started = datetime.fromtimestamp(sweep["created"] / 1000).strftime("%Y-%m-%d %H:%M")
    table.add_row(sweep["id"], started, state, *(f"{now.counts[name]:,}" for name in SWEEP_COLUMNS[3:]))
    return table


def _lines(sweep: Mapping[str, Any], state: str, now: Standing) -> list[str]:
    lines = []
    if now.best is not None:
        metric, _ = sweep["objective"]
        setting = " ".join(f"{key}={value}" for key, value in now.setting.items())
        mean = f" (mean of {now.runs})" if now.runs > 1 else ""
        lines.append(f"  best      {metric} {now.mean:.4g}{mean}  {setting}".rstrip())
    cut_off = "race" in sweep and state == "interrupted"  # between two looks no trial is left
    goes_on = (now.counts["left"] or cut_off) and state != "running"
    return [*lines, f"  {'to go on' if goes_on else 'command '}  {sweep['command']}"]
