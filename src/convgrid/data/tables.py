"""Images named in a table, with numbers or labels to predict beside them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from convgrid.data.csv_table import CsvTable, check_targets, classes_of, number_in, read_table
from convgrid.data.dataset import ImageData, check_weights, fingerprint
from convgrid.data.files import readable, some
from convgrid.data.origins import Origins
from convgrid.data.photos import contents, image_size, load, num_workers
from convgrid.data.precision import as_numbers, check_distinct, exact
from convgrid.data.splits import Pool, divide
from convgrid.errors import DataError


def table_images(
    *,
    table: str | None = None,
    image: str = "file",
    targets: Sequence[str] = ("target",),
    weight: str | None = None,
    group: str | None = None,
    shape: Sequence[int] = (3, 64, 64),
    num_classes: int | None = None,
    task: str = "regression",
    memory_gib: float = 2.0,
    workers: int | None = None,
    split: Sequence[float] = (0.8, 0.2),
    split_seed: int = 0,
    limit: int = 0,
) -> ImageData:
    """Photos named in a CSV file, with one or more columns of numbers to predict, or of labels, or one of classes.

    The table has commas, semicolons or tabs between its cells, a header in row 1, and a row an image; empty rows are
    passed over. Images are turned upright by their EXIF orientation, resized (shorter side, antialiased bilinear) and
    cropped at the centre. Rows are divided, not images: one that stands in several rows may come into several parts.

    Args:
        table: The CSV file, in UTF-8; relative paths in it start from its folder.
        image: The column that holds the images' paths.
        targets: The columns to predict; of labels, their names are the labels'; of classes, the one that holds them.
        weight: The column that says how much each image counts in the loss, 0 or above; None for all alike.
        group: The column that says which images belong together, such as a patient: each group comes into one part.
            None for none.
        shape: Channels (3: RGB, 1: grey), and the height and width that images are resized to.
        num_classes: Number of columns to predict, or of classes; None for as many as there are.
        task: regression; multilabel, of columns with 0 and 1, or True and False; or classification, of a column of
            texts or whole numbers.
        memory_gib: Decoded once into memory up to so many GiB of pixels; more are streamed.
        workers: Threads that decode at load, or processes that stream; None for one a core, at most 8.
        split: Fractions for train, validation and, if wanted, test.
        split_seed: Seed of the division.
        limit: How many training images to keep; 0 for all.

    Returns:
        The data set, numbers (B, T) or labels (B, L) in the order of `targets`, or classes (B,). Its digest covers the
        images' names as the table has them, the targets, the weights and groups, and the images' contents, for streamed
        ones their sizes.

    Raises:
        ConfigError: If a number is out of range, or the table or the columns to predict are not given.
        DataError: If the table, columns or images are missing, or numbers, labels or images are corrupt, all named.
    """
    size, threads = image_size(shape), num_workers(workers)
    check_targets(targets, task, num_classes)
    content = read_table(table, image=image, targets=targets, weight=weight, group=group)
    names, weights, groups = content.column(image), _weights(content, weight), _groups(content, group)
    predicted, class_names = _predicted(content, targets, task, num_classes)
    paths, source = {"all": _paths(content, names)}, content.source
    images, marks, told = load(
        paths, size, folder=content.path.parent, source=source, memory_gib=memory_gib, threads=threads
    )
    extra = [weights, groups, list(class_names) if task == "classification" else None]
    digest = fingerprint(names, exact(predicted), marks, *(each for each in extra if each is not None))
    origins = Origins.of(list(map(readable, names)), contents(paths["all"], marks), groups)
    pool = Pool(images["all"], predicted, weights, origins)
    return divide(
        pool, class_names=class_names, digest=digest, split=split, split_seed=split_seed, limit=limit, notes=told
    )


def _weights(table: CsvTable, weight: str | None) -> np.ndarray | None:
    if weight is None:
        return None
    numbers = _numbers(table, [weight], "weights", least=0)
    return check_weights(numbers, len(numbers), f"{table.source}: the weights in column {weight}")


def _groups(table: CsvTable, group: str | None) -> list[str] | None:
    if group is None:
        return None
    cells = table.column(group)
    empty = [f"row {number}" for number, cell in zip(table.rows, cells, strict=True) if not cell]
    if empty:
        raise DataError(
            f"{table.source}: {len(empty)} of {len(cells)} images have no group in column {group}. "
            f"Fill it in:\n{some(empty)}"
        )
    return cells


def _predicted(
    table: CsvTable, targets: Sequence[str], task: str, num_classes: int | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Targets, and names of the classes or labels."""
    if task == "classification":
        classes, names = classes_of(table, targets[0], num_classes)
        return np.array(classes, np.int64), names
    numbers = _numbers(table, targets)
    if task == "multilabel":
        return _labels(table, targets, numbers), tuple(targets)
    check_distinct(numbers, table.source)
    return as_numbers([numbers])[0], ()


def _numbers(table: CsvTable, names: Sequence[str], what: str = "targets", *, least: float = -math.inf) -> np.ndarray:
    """Shape (B, T), float64."""
    columns = {name: table.column(name) for name in names}
    values = np.array([[number_in(cell, table.delimiter) for cell in cells] for cells in columns.values()]).T
    wrong = [
        f"row {number}: {name}={cells[row] or '(empty)'}"
        for row, number in enumerate(table.rows)
        for place, (name, cells) in enumerate(columns.items())
        if not values[row, place] >= least
    ]
    if wrong:
        bound = "" if least == -math.inf else f" of {least:g} or above"
        are_classes = what == "targets" and len(wrong) == values.size
        classes = ", or use data.task=classification" if are_classes else ""
        raise DataError(
            f"{table.source}: {len(wrong)} of {values.size} {what} are not finite numbers{bound}. "
            f"Mend them or remove their rows{classes}:\n{some(wrong)}"
        )
    return np.ascontiguousarray(values)


def _labels(table: CsvTable, targets: Sequence[str], values: np.ndarray) -> np.ndarray:
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


def _paths(table: CsvTable, names: Sequence[str]) -> list[str]:
    folder = table.path.parent
    paths = [_found(folder, name) for name in names]
    missing = [
        f"row {number}: {name or '(empty)'}"
        for number, name, path in zip(table.rows, names, paths, strict=True)
        if path is None
    ]
    if missing:
        raise DataError(
            f"{table.source}: {len(missing)} of {len(paths)} images are missing. "
            f"Relative paths start from {folder}:\n{some(missing)}"
        )
    return [str(path) for path in paths if path is not None]


def _found(folder: Path, name: str) -> Path | None:
    """The file of a name that may be in another normal form, or have the separators of Windows."""
    tried = (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
    for each in (*tried, *(other.replace("\\", "/") for other in tried)):
        with suppress(OSError, ValueError):  # of names that no file can have
            if (folder / each).is_file():
                return folder / each
    return None
