"""The answer in a terminal: the sentence, what is unfair, the ranked settings, failures by their causes."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from convgrid.compare.results import Answer, Setting
from convgrid.compare.sentences import chance, decimals, short_duration, text, value, verdict
from convgrid.compare.trials import Trials
from convgrid.system.text import one_line
from convgrid.terminal import aligned, printable

MAX_SETTINGS_SHOWN = 20
MIN_REASON_WIDTH = 16  # characters of a reason on a narrow screen


class Cause(NamedTuple):
    """Why trials failed."""

    reason: str
    trials: int
    example: str


def show(trials: Trials, answer: Answer, console: Console, causes: Sequence[Cause] | None = None) -> None:
    """Print an answer.

    Args:
        answer: What the comparison comes to.
        causes: Why trials failed; None takes the answer's.
    """
    if answer.settings:
        _print(answer.sentence, console, "bold")
    for warning in answer.warnings:
        _print(warning, console, "yellow")
    head, *rows = _table(answer.settings[:MAX_SETTINGS_SHOWN], trials, console.width) if answer.settings else [""]
    if rows:
        _print(head, console, "bold")
    failed = failures(_causes(answer) if causes is None else causes, console.width)
    goes_on = [f"{trials.left:,} left. To go on: {trials.command}"] if trials.left and trials.command else []
    settles = [answer.settles] if answer.settles else []
    for line in [*rows, *settles, *_rest(answer, trials), *failed, *goes_on]:
        _print(line, console)


def failures(causes: Sequence[Cause], width: int) -> list[str]:
    """Write why trials failed.

    Args:
        causes: The most frequent first.

    Returns:
        Lines; none where nothing failed.

    Example:
        >>> failures([Cause("train/loss became nan.", 2, "runs/1f0c")], 80)
        ['2 failed', '    2  train/loss became nan.', '       such as runs/1f0c']
    """
    lines = [f"{sum(cause.trials for cause in causes):,} failed"] if causes else []
    for cause in causes:
        first, *further = textwrap.wrap(cause.reason, max(MIN_REASON_WIDTH, width - 8)) or ["for no reason known"]
        lines += [
            f"{cause.trials:>5,}  {first}",
            *(f"       {line}" for line in (*further, f"such as {cause.example}")),
        ]
    return lines


def _causes(answer: Answer) -> list[Cause]:
    return [Cause(reason, len(ids), ids[0]) for reason, ids in answer.failures.items()]


def _rest(answer: Answer, trials: Trials) -> list[str]:
    lines, left = [], answer.settings[MAX_SETTINGS_SHOWN:]
    if left:
        last = value(left[-1], decimals(answer.settings))
        lines.append(f"and {len(left):,} settings more, down to {trials.metric} {last}")
    pruned = int((trials.frame["status"] == "pruned").sum())
    if pruned:
        lines.append(f"{pruned:,} pruned before their last epoch")
    return lines


def _table(settings: Sequence[Setting], trials: Trials, width: int) -> list[str]:
    """A column a key where there is room, else each setting below its numbers, in one line to copy."""
    keys = trials.keys
    numbers = _numbers(settings, trials.metric, raced=trials.race is not None)
    places = ["", *(str(each.place) for each in settings)]
    words = [
        [*keys],
        *([one_line(text(each.values[key])) if key in each.values else "" for key in keys] for each in settings),
    ]
    rows = [[place, *of_keys, *row] for place, of_keys, row in zip(places, words, numbers, strict=True)]
    for gap in (2, 1):
        lines = aligned(rows, words=range(1, 1 + len(keys)), gap=gap)
        if max(map(len, lines)) < width:
            return lines
    head, *lines = aligned([[place, *row] for place, row in zip(places, numbers, strict=True)], words=(), gap=2)
    indent = " " * (len(places[-1]) + 2)
    below = (indent + " ".join(f"{key}={one_line(text(each.values[key]))}" for key in each.values) for each in settings)
    return [head, *(line for pair in zip(lines, below, strict=True) for line in pair)]


def _numbers(settings: Sequence[Setting], metric: str, *, raced: bool) -> list[list[str]]:
    """Columns that say something, under their names."""
    digits = decimals(settings)
    columns = [
        [metric, *(value(each, digits) for each in settings)],
        ["p", *("" if each.p is None else chance(each.p).removeprefix("p ").removeprefix("= ") for each in settings)],
        ["runs", *(str(each.n) for each in settings)],
        ["race", *(verdict(each) if raced else "" for each in settings)],
        ["parameters", *map(_count, (each.parameters for each in settings))],
        ["multiply-adds", *map(_count, (each.multiply_adds for each in settings))],
        ["time", *("" if each.seconds is None else short_duration(each.seconds) for each in settings)],
    ]
    kept = [column for column in columns if any(column[1:]) and (column[0] != "runs" or len({*column[1:]}) > 1)]
    return [list(row) for row in zip(*kept, strict=True)]


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _print(line: str, console: Console, style: str = "") -> None:
    console.print(Text(printable(line, console), style=style), soft_wrap=True)
