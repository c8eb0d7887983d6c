"""What a sweep came to: its settings, the best first, and why trials failed."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich.console import Console
from rich.text import Text

from convgrid.sweep.job import Outcome, Trial
from convgrid.sweep.table import duration
from convgrid.sweep.view import Mode, printable, setting

MOST = 20  # settings shown
REPETITIONS = ("seed", "fold")  # keys whose values are repetitions of one setting
NUMBER = re.compile(r"\d[\d.,]*")
LEAST = 16  # characters of the settings' column on a narrow screen

Result = tuple[Trial, Outcome]


@dataclass(frozen=True)
class Ranked:
    """A setting and what it came to.

    Args:
        setting: The overrides that vary, less seed and fold.
        mean: Of the objective over the finished repetitions.
        spread: Their sample standard deviation; None of one.
        results: The finished trials.
    """

    setting: Mapping[str, str]
    mean: float
    spread: float | None
    results: tuple[Result, ...]


def rank(results: Iterable[Result], metric: str, mode: Mode) -> list[Ranked]:
    """Put settings in order, by the mean over their seeds and folds.

    Args:
        results: Of all trials; those that have not finished do not count.
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".

    Returns:
        The best first; of equals the one with fewer multiply-adds.
    """
    name = f"best/{metric}"
    groups: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for trial, outcome in results:
        if outcome.status == "finished" and name in outcome.metrics:
            key = tuple((key, value) for key, value in trial.varying.items() if key not in REPETITIONS)
            groups.setdefault(key, []).append((trial, outcome))
    ranked = [_ranked(dict(key), found, name) for key, found in groups.items()]
    sign = -1 if mode == "max" else 1
    return sorted(ranked, key=lambda each: (sign * each.mean, each.results[0][0].plan.multiply_adds))


def show_ranking(
    results: Sequence[Result], metric: str, mode: Mode, console: Console, *, left: int, command: str
) -> None:
    """Print the ranked settings, the failures by their causes, and how to go on where something is left.

    Args:
        results: Of all trials.
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
        console: Where to.
        left: Trials that have not ended.
        command: What continues the sweep.
    """
    ranked = rank(results, metric, mode)
    lines = _table(ranked[:MOST], metric, console.width) if ranked else []
    if len(ranked) > MOST:
        lines.append(f"and {len(ranked) - MOST:,} settings more, down to {metric} {_value(ranked[-1])}")
    pruned = sum(outcome.status == "pruned" for _, outcome in results)
    if pruned:
        lines.append(f"{pruned:,} pruned before their last epoch")
    lines += _failures(results, console.width)
    if left:
        lines.append(f"{left:,} left. To go on: {command}")
    for number, line in enumerate(lines):
        style = "bold" if ranked and number == 0 else ""
        console.print(Text(printable(line, console), style=style), soft_wrap=True)


def _ranked(setting: Mapping[str, str], results: Sequence[Result], name: str) -> Ranked:
    values = [outcome.metrics[name] for _, outcome in results]
    return Ranked(setting, fmean(values), stdev(values) if len(values) > 1 else None, tuple(results))


def _table(ranked: Sequence[Ranked], metric: str, width: int) -> list[str]:
    """A column a key where there is room, else each setting below its numbers, in one line to copy."""
    keys = list(dict.fromkeys(key for each in ranked for key in each.setting))
    numbers = [[metric, "runs", "parameters", "multiply-adds", "time"], *map(_numbers, ranked)]
    if max(len(each.results) for each in ranked) == 1:
        numbers = [[row[0], *row[2:]] for row in numbers]
    places = ["", *(str(place) for place in range(1, len(ranked) + 1))]
    words = [keys, *([each.setting.get(key, "") for key in keys] for each in ranked)]
    for gap in ("  ", " "):
        lines = _aligned(places, words, numbers, gap)
        if max(map(len, lines)) < width:
            return lines
    head, *lines = _aligned(places, [[] for _ in numbers], numbers, "  ")
    indent = " " * (len(places[-1]) + 2)
    below = (indent + " ".join(f"{key}={value}" for key, value in each.setting.items()) for each in ranked)
    return [head, *(line for pair in zip(lines, below, strict=True) for line in pair)]


def _aligned(
    places: Sequence[str], words: Sequence[Sequence[str]], numbers: Sequence[Sequence[str]], gap: str
) -> list[str]:
    """Words to the left, numbers to the right."""
    rows = [[place, *text, *row] for place, text, row in zip(places, words, numbers, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = range(1, 1 + len(words[0]))
    return [
        gap.join(
            cell.ljust(width) if column in texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _numbers(each: Ranked) -> list[str]:
    plan = each.results[0][0].plan
    seconds = fmean(outcome.seconds for _, outcome in each.results)
    time = f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
    return [_value(each), str(len(each.results)), f"{plan.parameters:,}", f"{plan.multiply_adds:,}", time]


def _value(each: Ranked) -> str:
    """As README writes them; four digits, and as many places of the spread."""
    mean = f"{each.mean:.4f}" if 1e-3 < abs(each.mean) < 1e3 else f"{each.mean:.4g}"
    return mean if each.spread is None else f"{mean} +- {each.spread:.4f}"


def _failures(results: Sequence[Result], width: int) -> list[str]:
    """Reasons that differ in numbers only are one cause."""
    causes: dict[str, list[Result]] = {}
    for trial, outcome in results:
        if outcome.status == "failed":
            causes.setdefault(NUMBER.sub("0", outcome.reason), []).append((trial, outcome))
    lines = [f"{sum(map(len, causes.values())):,} failed"] if causes else []
    for found in sorted(causes.values(), key=len, reverse=True):
        trial, outcome = found[0]
        first, *further = textwrap.wrap(outcome.reason, max(LEAST, width - 8)) or ["for no reason known"]
        where = f"such as {setting(trial)}" + (f": {outcome.folder}/log.txt" if outcome.folder else "")
        lines += [f"{len(found):>5,}  {first}", *(f"       {line}" for line in (*further, where))]
    return lines
