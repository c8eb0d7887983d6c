"""Images named in a table, with numbers or labels to predict beside them."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convgrid.data.dataset import ImageData, check_numbers, check_weights, fingerprint
from convgrid.data.photos import image_size, load, num_workers, some
from convgrid.data.splits import divide
from convgrid.errors import ConfigError, DataError

LARGEST = float(np.finfo(np.float32).max)
COLUMNS_SHOWN = 20


def table_images(
    *,
    table: str | None = None,
    image: str = "file",
    targets: Sequence[str] = ("target",),
    weight: str | None = None,
    shape: Sequence[int] = (3, 64, 64),
    num_classes: int | None = None,
    task: str = "regression",
    memory_gib: float = 2.0,
    workers: int | None = None,
    split: Sequence[float] = (0.8, 0.2),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """Photos named in a CSV file, with one or more columns of numbers to predict, or of labels.

    The table has commas between its cells, a header in row 1, and a row an image; empty rows are passed over. Images
    are turned upright by their EXIF orientation, resized (shorter side, antialiased bilinear) and cropped at the
    centre. Rows are divided, not images: one that stands in several rows may come into several parts.

    Args:
        table: The CSV file, in UTF-8; relative paths in it start from its folder.
        image: The column that holds the images' paths.
        targets: The columns to predict; of labels, their names are the labels'.
        weight: The column that says how much each image counts in the loss, 0 or above; None for all alike.
        shape: Channels (3: RGB, 1: grey), and the height and width that images are resized to.
        num_classes: Number of columns to predict; None for as many as targets names.
        task: regression; or multilabel, of columns with 0 and 1.
        memory_gib: Decoded once into memory up to so many GiB of pixels; more are streamed.
        workers: Threads that decode at load, or processes that stream; None for one a core, at most 8.
        split: Fractions for train, validation and, if wanted, test.
        split_seed: Seed of the division.
        limit: How many training images to keep; 0 for all.

    Returns:
        The data set, numbers (B, T) or labels (B, L) in the order of `targets`. Its digest covers the images' names as
        the table has them, the targets, the weights, and the images' contents, for streamed ones their sizes.

    Raises:
        ConfigError: If a number is out of range, or the table or the columns to predict are not given.
        DataError: If the table, columns or images are missing, or numbers, labels or images are corrupt, all named.
    """
    size, threads = image_size(shape), num_workers(workers)
    listed = f"data.targets=[{','.join(targets)}]"
    if not targets or len(set(targets)) < len(targets):
        raise ConfigError(f"{listed} must name one column or more, each once.")
    check_numbers(len(targets), num_classes, task, listed, ("regression", "multilabel"))
    content = _read(_existing(table))
    _check_columns(content, image, targets, weight)
    names, predicted, weights = content.column(image), _numbers(content, targets), _weights(content, weight)
    if task == "multilabel":
        predicted = _labels(content, targets, predicted)
    paths, source = {"all": _paths(content, names)}, content.source
    images, marks = load(paths, size, folder=content.path.parent, source=source, memory_gib=memory_gib, threads=threads)
    digest = fingerprint(names, predicted, marks, *([] if weights is None else [weights]))
    pool, labels = (images["all"], predicted, weights), tuple(targets) if task == "multilabel" else ()
    return divide(pool, class_names=labels, digest=digest, split=split, split_seed=split_seed, limit=limit)


@dataclass(frozen=True)
class Table:
    """What a CSV file holds, less its empty rows; rows have the numbers that a spreadsheet shows."""

    path: Path
    header: list[str]
    rows: dict[int, list[str]]

    @property
    def source(self) -> str:
        """What messages start with."""
        return f"data.table={self.path}"

    def column(self, name: str) -> list[str]:
        """The cells below a name in the header."""
        place = self.header.index(name)
        return [cells[place] for cells in self.rows.values()]


def _existing(table: str | None) -> Path:
    if table is None:
        raise ConfigError("data.table must be given with data=table_images: a CSV file with a row an image.")
    path = Path(table).expanduser().absolute()
    if not path.is_file():
        raise DataError(f"data.table={table} is not a file. It must be a CSV file with a row an image.")
    return path


def _read(path: Path) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a mark at the start
            reader = csv.reader(file, skipinitialspace=True)
            rows = {number: [cell.strip() for cell in cells] for number, cells in enumerate(reader, 1)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.table={path} cannot be read as a CSV file in UTF-8 ({error}).") from error
    header = rows.pop(1, [])
    table = Table(path, header, {number: cells for number, cells in rows.items() if any(cells)})
    if not table.rows:
        raise DataError(f"{table.source} has no rows below a header. It must have one an image.")
    ragged = [f"row {number}: {len(cells)}" for number, cells in table.rows.items() if len(cells) != len(header)]
    if ragged:
        raise DataError(
            f"{table.source}: {len(ragged)} of {len(table.rows)} rows do not have the header's {len(header)} cells. "
            f"Mend or remove them:\n{some(ragged)}"
        )
    return table


def _check_columns(table: Table, image: str, targets: Sequence[str], weight: str | None) -> None:
    keys = {**dict.fromkeys(targets, "data.targets"), image: "data.image"}
    if weight is not None:
        keys[weight] = "data.weight"
    missing = [f"{name} ({key})" for name, key in keys.items() if name not in table.header]
    if missing:
        raise DataError(
            f"{table.source} has no column {some(missing)}. Its columns are {some(table.header, COLUMNS_SHOWN)}."
        )
    twice = [name for name in keys if table.header.count(name) > 1]
    if twice:
        raise DataError(f"{table.source} has several columns {some(twice)}. Rename all but one.")


def _weights(table: Table, weight: str | None) -> np.ndarray | None:
    if weight is None:
        return None
    numbers = _numbers(table, [weight], "weights", least=0)
    return check_weights(numbers, len(numbers), f"{table.source}: the weights in column {weight}")


def _numbers(table: Table, names: Sequence[str], what: str = "targets", *, least: float = -math.inf) -> np.ndarray:
    """Shape (B, T), float32."""
    columns = {name: table.column(name) for name in names}
    values = np.array([[_number(cell) for cell in cells] for cells in columns.values()]).T
    wrong = [
        f"row {number}: {name}={cells[row] or '(empty)'}"
        for row, number in enumerate(table.rows)
        for place, (name, cells) in enumerate(columns.items())
        if not values[row, place] >= least
    ]
    if wrong:
        bound = "" if least == -math.inf else f" of {least:g} or above"
        raise DataError(
            f"{table.source}: {len(wrong)} of {values.size} {what} are not finite numbers{bound}. "
            f"Mend them or remove their rows:\n{some(wrong)}"
        )
    return np.ascontiguousarray(values, np.float32)


def _labels(table: Table, targets: Sequence[str], values: np.ndarray) -> np.ndarray:
    """Shape (B, L), uint8."""
    numbers = list(table.rows)
    wrong = [
        f"row {numbers[row]}: {targets[place]}={values[row, place]:g}"
        for row, place in np.argwhere((values != 0) & (values != 1))
    ]
    if wrong:
        raise DataError(
            f"{table.source}: {len(wrong)} of {values.size} labels are not 0 or 1. "
            f"Mend them, or use data.task=regression:\n{some(wrong)}"
        )
    return values.astype(np.uint8)


def _number(cell: str) -> float:
    """NaN for what is not a number, or not a finite one in float32."""
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if abs(value) <= LARGEST else math.nan


def _paths(table: Table, names: Sequence[str]) -> list[str]:
    folder = table.path.parent
    paths = [folder / name for name in names]
    missing = [
        f"row {number}: {name or '(empty)'}"
        for number, name, path in zip(table.rows, names, paths, strict=True)
        if not path.is_file()
    ]
    if missing:
        raise DataError(
            f"{table.source}: {len(missing)} of {len(paths)} images are missing. "
            f"Relative paths start from {folder}:\n{some(missing)}"
        )
    return [str(path) for path in paths]
