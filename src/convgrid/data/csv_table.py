"""A CSV file with a row an image: its cells, and the classes that a column holds."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from convgrid.data.counts import MAX_FLOAT32, check_classes, check_numbers
from convgrid.data.files import some
from convgrid.errors import ConfigError, DataError

COLUMNS_SHOWN = 20
DELIMITERS = ",;\t"  # the first one with which the images' column is found
TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class CsvTable:
    """What a CSV file holds, less its empty rows; rows have the numbers that a spreadsheet shows."""

    path: Path
    header: list[str]
    rows: dict[int, list[str]]
    delimiter: str = ","

    @property
    def source(self) -> str:
        """What messages start with."""
        return f"data.table={self.path}"

    def column(self, name: str) -> list[str]:
        """The cells below a name in the header."""
        place = self.header.index(name)
        return [cells[place] for cells in self.rows.values()]


def read_table(
    table: str | None, *, image: str, targets: Sequence[str], weight: str | None, group: str | None
) -> CsvTable:
    """Read the file, and see that it has the columns that the keys of `data` name.

    Args:
        table: What `data.table` says, as the others say what their keys do.

    Returns:
        The table, with a row or more.

    Raises:
        ConfigError: If no file is given.
        DataError: If it cannot be read, or lacks a column.
    """
    content = _read(existing_table(table), image)
    _check_columns(content, {**dict.fromkeys(targets, "data.targets"), image: "data.image"}, weight, group)
    return content


def check_targets(targets: Sequence[str], task: str, num_classes: int | None) -> None:
    """Hold the columns to predict against the task.

    Raises:
        ConfigError: If there are too few or too many.
    """
    listed = f"data.targets=[{','.join(targets)}]"
    if not targets or len(set(targets)) < len(targets):
        raise ConfigError(f"{listed} must name one column or more, each once.")
    if task == "classification" and len(targets) > 1:
        raise ConfigError(
            f"{listed}: classes stand in one column. Name that, or use data.task=multilabel for columns of 0 and 1."
        )
    if task != "classification":
        check_numbers(len(targets), num_classes, task, listed, ("regression", "multilabel", "classification"))


def classes_of(table: CsvTable, name: str, num_classes: int | None) -> tuple[list[int], tuple[str, ...]]:
    """Number the classes that a column holds: texts in their order, whole numbers by size.

    Args:
        num_classes: What `data.num_classes` says; None for as many as there are.

    Returns:
        The class of each row, and a name for each class.

    Raises:
        DataError: If a cell is not a class, or they are not so many.
    """
    classes, names = _classes(table, name)
    check_classes(len(names), num_classes, f"column {name} of {table.path}")
    return classes, names


def existing_table(table: str | None) -> Path:
    """Find the file that `data.table` names.

    Raises:
        ConfigError: If none is given.
        DataError: If there is none.
    """
    if table is None:
        raise ConfigError("data.table must be given with data=table_images: a CSV file with a row an image.")
    path = Path(table).expanduser().absolute()
    if not path.is_file():
        raise DataError(f"data.table={table} is not a file. It must be a CSV file with a row an image.")
    return path


def _read(path: Path, image: str) -> CsvTable:
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets write a mark at the start
        delimiter = next((mark for mark in DELIMITERS if image in next(_cells(text, mark), [])), ",")
        rows = dict(enumerate(_cells(text, delimiter), 1))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.table={path} cannot be read as a CSV file in UTF-8 ({error}).") from error
    header = rows.pop(1, [])
    table = CsvTable(path, header, {number: cells for number, cells in rows.items() if any(cells)}, delimiter)
    if not table.rows:
        raise DataError(f"{table.source} has no rows below a header. It must have one an image.")
    ragged = [f"row {number}: {len(cells)}" for number, cells in table.rows.items() if len(cells) != len(header)]
    if ragged:
        raise DataError(
            f"{table.source}: {len(ragged)} of {len(table.rows)} rows do not have the header's {len(header)} cells. "
            f"Mend or remove them:\n{some(ragged)}"
        )
    return table


def _cells(text: str, delimiter: str) -> Iterator[list[str]]:
    for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True):
        yield [cell.strip() for cell in cells]


def _check_columns(table: CsvTable, keys: dict[str, str], weight: str | None, group: str | None) -> None:
    keys |= {name: key for name, key in ((weight, "data.weight"), (group, "data.group")) if name is not None}
    missing = [f"{name} ({key})" for name, key in keys.items() if name not in table.header]
    if missing:
        raise DataError(
            f"{table.source} has no column {some(missing)}. Its columns are {some(table.header, COLUMNS_SHOWN)}."
        )
    twice = [name for name in keys if table.header.count(name) > 1]
    if twice:
        raise DataError(f"{table.source} has several columns {some(twice)}. Rename all but one.")


def _classes(table: CsvTable, name: str) -> tuple[list[int], tuple[str, ...]]:
    cells = [unicodedata.normalize("NFC", cell) for cell in table.column(name)]
    empty = [f"row {number}" for number, cell in zip(table.rows, cells, strict=True) if not cell]
    if empty:
        raise DataError(
            f"{table.source}: {len(empty)} of {len(cells)} images have no class in column {name}. "
            f"Fill it in or remove their rows:\n{some(empty)}"
        )
    numbers = [number_in(cell) for cell in cells]
    if all(map(math.isfinite, numbers)):
        parts = [cell for cell, number in zip(cells, numbers, strict=True) if number % 1]
        if parts:
            raise DataError(
                f"{table.source}: column {name} holds {parts[0]}, which is not a class. "
                "Use data.task=regression, or number the classes in whole numbers."
            )
        by_number = dict(sorted(dict(zip(reversed(numbers), reversed(cells), strict=True)).items()))
        places = {number: place for place, number in enumerate(by_number)}
        return [places[number] for number in numbers], tuple(by_number.values())
    names = sorted(set(cells))
    places = {cell: place for place, cell in enumerate(names)}
    return [places[cell] for cell in cells], tuple(names)


def number_in(cell: str, delimiter: str = ",") -> float:
    """Read a cell, in which semicolons between cells leave commas to decimals.

    Returns:
        The number, 1 and 0 for True and False; NaN for what is not a number, or not a finite one in float32.

    Example:
        >>> number_in("0,5", ";"), number_in("True")
        (0.5, 1.0)
    """
    if cell.lower() in TRUTH:
        return TRUTH[cell.lower()]
    try:
        value = float(cell.replace(",", ".") if delimiter == ";" else cell)
    except ValueError:
        return math.nan
    return value if abs(value) <= MAX_FLOAT32 else math.nan
