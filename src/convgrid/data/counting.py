"""Classes, labels and numbers to predict, counted for a plan: neither torch is imported nor an image read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from convgrid.data.files import readable


class Counted(NamedTuple):
    """How many there are.

    Args:
        number: What stands for `data.num_classes`.
        what: Of what, and where.
    """

    number: int
    what: str


def count(target: str, options: Mapping[str, Any], task: str) -> Counted | None:
    """Count what a reader would find.

    Args:
        target: The reader's name, as its option's file has it.
        options: What it is given.
        task: What `data.task` says.

    Returns:
        What was counted; None of a reader that cannot be asked.

    Raises:
        ConvgridError: As the reader does, where what it reads is missing or wrong.
    """
    counter = COUNTERS.get(target)
    return None if counter is None else counter(**{**options, "task": task})


def check_source_exists(target: str, options: Mapping[str, Any]) -> None:
    """See that there is what a reader is to read, where it is given.

    Args:
        target: The reader's name, as its option's file has it.
        options: What it is given.

    Raises:
        DataError: As the reader tells it.
    """
    if target == "convgrid.data.image_folder" and options.get("root") is not None:
        from convgrid.data.listing import existing_folder

        existing_folder(options["root"])
    if target == "convgrid.data.table_images" and options.get("table") is not None:
        from convgrid.data.csv_table import existing_table

        existing_table(options["table"])
    if target == "convgrid.data.arrays" and options.get("path") is not None:
        from convgrid.data.npz_file import existing_file

        existing_file(options["path"])


def _image_folder(*, root: str | None = None, **_: Any) -> Counted:
    from convgrid.data.listing import list_classes

    folder, listings, _beside = list_classes(root, None)
    images = ", ".join(
        f"{len(listing.paths):,}" + f" {part}" * (len(listings) > 1) for part, listing in listings.items()
    )
    return Counted(len(listings["train"].class_names), f"class folders of {readable(str(folder))}, images: {images}")


def _table_images(
    *,
    task: str,
    table: str | None = None,
    image: str = "file",
    targets: Sequence[str] = ("target",),
    weight: str | None = None,
    group: str | None = None,
    **_: Any,
) -> Counted:
    from convgrid.data.csv_table import check_targets, classes_of, read_table

    check_targets(targets, task, None)
    content = read_table(table, image=image, targets=targets, weight=weight, group=group)
    if task == "classification":
        return Counted(
            len(classes_of(content, targets[0], None)[1]), f"classes in column {targets[0]} of {content.path}"
        )
    return Counted(len(targets), f"columns of {content.path}: {', '.join(targets)}")


def _arrays(*, task: str, path: str | None = None, group: str | None = None, **_: Any) -> Counted:
    from convgrid.data.npz_file import count_outputs

    what = {"classification": "classes", "multilabel": "labels"}.get(task, "numbers an image")
    return Counted(count_outputs(path, task, group), f"{what} in {path}")


COUNTERS: Mapping[str, Callable[..., Counted]] = {
    "convgrid.data.image_folder": _image_folder,
    "convgrid.data.table_images": _table_images,
    "convgrid.data.arrays": _arrays,
}
