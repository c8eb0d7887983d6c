"""How many classes, labels or numbers a source has, held against what the config states."""

from collections.abc import Sequence

from convgrid.errors import ConfigError, DataError
from convgrid.objective.fit import Task

MOST_CLASSES = 2**20
MAX_FLOAT32 = float(2**128 - 2**104)  # the largest that is finite


def check_classes(found: int, num_classes: int | None, source: str) -> None:
    """Hold the number of classes against the one that the config states.

    Args:
        found: Number of classes that the source holds.
        num_classes: What `data.num_classes` says; None to take what is found.
        source: Name of the source, for the message.

    Raises:
        DataError: If they differ.

    Example:
        >>> check_classes(10, 10, "digits")
    """
    if num_classes is not None and found != num_classes:
        raise DataError(
            f"data.num_classes={num_classes} does not fit: {source} has {found} classes. Use data.num_classes={found}."
        )


def check_class_count(num_classes: int) -> None:
    """Refuse a number of classes that none can have, before a name is made for each.

    Raises:
        ConfigError: If it is below 1 or above 2^20.
    """
    if not 1 <= num_classes <= MOST_CLASSES:
        raise ConfigError(f"data.num_classes={num_classes} must be from 1 to {MOST_CLASSES}.")


def check_numbers(
    found: int, num_classes: int | None, task: str, source: str, tasks: Sequence[Task] = ("regression",)
) -> None:
    """Hold what the config states against a source that has numbers to predict, or labels of 0 and 1.

    Args:
        found: How many numbers or labels an image has.
        num_classes: What `data.num_classes` says; None to take what is found.
        task: What `data.task` says.
        source: Name of the source, for the message.
        tasks: What it may say.

    Raises:
        ConfigError: If they differ.

    Example:
        >>> check_numbers(1, 1, "regression", "data=digits_angle")
    """
    if task not in tasks:
        use = " or ".join(f"data.task={name}" for name in tasks)
        raise ConfigError(f"data.task={task}: {source} has numbers to predict, not classes. Use {use}.")
    if num_classes not in (None, found):
        numbers = f"{found} {'label' if task == 'multilabel' else 'number'}{'s' * (found > 1)}"
        raise ConfigError(
            f"data.num_classes={num_classes} does not fit: {source} has {numbers} to predict an image. "
            f"Use data.num_classes={found}."
        )
