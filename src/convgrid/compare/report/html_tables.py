"""The ranking as rows of the page, and as a CSV."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from convgrid.compare.report.axes import AxisScale
from convgrid.compare.report.captions import Wording, is_finite_number, summary
from convgrid.compare.report.charts.ranking import TABLE_CELL, axis_of, in_a_cell
from convgrid.compare.report.drawing import NAMED
from convgrid.compare.report.svg import svg
from convgrid.compare.results import Answer, Setting
from convgrid.compare.sentences import chance, short_duration, text, verdict
from convgrid.system.text import cell

AT_ONCE = 100  # settings that the page shows before it is asked for all
SIGNS = {
    "best": "★", "not distinguishable": "≈", "in question": "≈", "worse": "", "out": "", "not compared": "",
}  # fmt: skip  # no meaning by colour alone

MEASURES = ("mean", "spread", "low", "high", "runs", "p", "status", "parameters", "multiply_adds", "seconds", "trials")
SMALLEST_SIGN = "◆"  # of the settings within one standard error of the best


@dataclass(frozen=True)
class Column:
    """A column of the ranking.

    Args:
        key: What a filter calls it.
        number: Whether its cells are numbers.
        sort: "ascending", "descending", what a first click sorts by, or "" where it cannot be sorted.
        start: Its order at first: "ascending" or "none".
    """

    name: str
    key: str
    number: bool = True
    sort: str = "ascending"
    start: str = "none"


@dataclass(frozen=True)
class Cell:
    """A cell of the ranking.

    Args:
        value: What it is sorted by; None where that is the text.
        kind: A class of the page's style.
    """

    text: str | Markup
    value: float | None = None
    kind: str = ""


@dataclass(frozen=True)
class RankingRow:
    """A setting in the ranking.

    Args:
        place: From 1.
        cells: One for each column.
        tip: The setting in a line.
        colour: Role of its colour; "" of the many.
    """

    place: int
    cells: tuple[Cell, ...]
    tip: str
    colour: str


def ranking_table(answer: Answer, words: Wording) -> tuple[list[Column], list[RankingRow]]:
    """Lay the ranking out.

    Args:
        answer: What the comparison comes to.
        words: How its numbers are written.

    Returns:
        The columns, of which none is empty, and a row for each setting.
    """
    keys = keys_of(answer.settings)
    numbers = {key: all(is_finite_number(s.values[key]) for s in answer.settings if key in s.values) for key in keys}
    repeated = any(setting.interval for setting in answer.settings)
    compared = repeated or answer.race is not None
    better = "descending" if words.mode == "max" else "ascending"
    columns = [Column("place", "place", start="ascending"), Column(words.metric, words.metric, sort=better)]
    columns += [Column(key, key, numbers[key]) for key in keys]
    if compared:
        columns += [Column("interval" if repeated else "mean", "interval", False, ""), Column("runs", "runs")]
    columns += [Column(name, key) for key, name in _costs(answer).items()]
    if repeated:
        columns.append(Column("p", "p", sort="descending"))
    if compared:
        columns.append(Column("in the race" if answer.race else "against the best", "status", number=False))
    x = axis_of(answer.settings, words, 6, TABLE_CELL[0] - 6) if compared else None
    return columns, [_row(setting, answer, keys, x, words) for setting in answer.settings]


def interval_ends(answer: Answer, words: Wording) -> tuple[str, str]:
    """The ends of the axis that the table's intervals are drawn on.

    Args:
        answer: What the comparison comes to.
        words: How its numbers are written.

    Returns:
        The least and the greatest value.
    """
    x = axis_of(answer.settings, words, 0, 1)
    return words.mean(x.low), words.mean(x.high)


def keys_of(settings: Sequence[Setting]) -> list[str]:
    """Find the keys that any of the settings has.

    Returns:
        Each once, in their order.
    """
    return list(dict.fromkeys(key for setting in settings for key in setting.values))


def write_csv(answer: Answer, file: Path) -> None:
    """Write the ranking with all digits, a row for each setting; test metrics are of the chosen setting only.

    Args:
        answer: What the comparison comes to.
    """
    keys = keys_of(answer.settings)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["place", *map(cell, keys), *MEASURES])
        for each in answer.settings:
            values = [text(each.values[key]) if key in each.values else "" for key in keys]
            low, high = each.interval or (None, None)
            found = [each.mean, each.spread, low, high, each.n, each.p, each.status]
            costs = [each.parameters, each.multiply_adds, each.seconds]
            writer.writerow([each.place, *map(cell, values), *found, *costs, cell(" ".join(each.trials))])


def _costs(answer: Answer) -> dict[str, str]:
    """Those that are known of any setting, with their names."""
    names = {"parameters": "parameters", "multiply_adds": "multiply-adds", "seconds": "time"}
    return {key: name for key, name in names.items() if any(getattr(each, key) is not None for each in answer.settings)}


def _row(setting: Setting, answer: Answer, keys: Sequence[str], x: AxisScale | None, words: Wording) -> RankingRow:
    cells = [Cell(str(setting.place), setting.place), Cell(words.measured(setting), setting.mean)]
    cells += [_value(setting.values[key]) if key in setting.values else Cell("") for key in keys]
    if x is not None:
        plot = svg(in_a_cell(setting, x, answer.settings[0].mean))
        cells += [Cell(plot, kind="plot"), Cell(str(setting.n), setting.n)]
    cells += [_cost(name, getattr(setting, name)) for name in _costs(answer)]
    if x is not None and answer.race is None:
        cells.append(_chance(setting.p))
    if x is not None:
        about = (SIGNS[setting.status], verdict(setting), SMALLEST_SIGN if setting == answer.smallest else "")
        cells.append(Cell(" ".join(filter(None, about)), kind="words"))
    colour = f"s{setting.place}" if setting.place <= NAMED else ""
    costs = ", ".join(f"{name} {_cost(key, getattr(setting, key)).text}" for key, name in _costs(answer).items())
    return RankingRow(setting.place, tuple(cells), f"{summary(setting, words)}; {costs}", colour)


def _value(value: Any) -> Cell:
    return Cell(text(value), float(value)) if is_finite_number(value) else Cell(text(value))


def _chance(p: float | None) -> Cell:
    return Cell("") if p is None else Cell(chance(p).removeprefix("p ").removeprefix("= "), p)


def _cost(name: str, value: float | None) -> Cell:
    if value is None:
        return Cell("")
    text = short_duration(value) if name == "seconds" else f"{value:,.0f}"
    return Cell(text, value)
