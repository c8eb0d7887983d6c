"""What only the data tells of a network's outputs, counted for a plan that nothing trains."""

import functools
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from convgrid.component import revealed
from convgrid.config.mappings import replaced
from convgrid.config.settings import Settings, component
from convgrid.errors import ConfigError

if TYPE_CHECKING:
    from convgrid.data.counting import Counted


def with_counted(settings: Settings) -> Settings:
    """State in a dry run how many classes, labels or numbers the data has, where the config leaves that to the data.

    Returns:
        The same settings, or those with another `data.num_classes`.

    Raises:
        ConvgridError: If they cannot be counted.
    """
    found = counted_for_plan(settings)
    if found is None:
        return settings
    return replace(settings, values=replaced(settings.values, ["data", "num_classes"], found.number))


def check_data_place(settings: Settings) -> None:
    """See that the data to train on is there, where other mistakes may come of what it is.

    Raises:
        DataError: If it is not.
    """
    reader = component(settings, "data")
    assert reader is not None
    if not settings.dry_run:
        from convgrid.data.counting import check_source_exists

        check_source_exists(reader.target, revealed(dict(reader.options), "data"))


def counted_for_plan(settings: Settings) -> "Counted | None":
    """Count what a dry run needs to know of the data.

    Returns:
        What was counted; None where the config tells, or nothing needs it.

    Raises:
        ConvgridError: If it cannot be counted.
    """
    if not settings.dry_run or settings.data.num_classes is not None:
        return None
    reader = component(settings, "data")
    assert reader is not None
    found = _count(reader.target, json.dumps(revealed(dict(reader.options), "data"), default=str), settings.data.task)
    if found is None:
        raise ConfigError("data.num_classes=null: a plan without the data needs a number. Add data.num_classes=10.")
    return found


@functools.cache
def _count(target: str, options: str, task: str) -> "Counted | None":
    """Count once for all points of a sweep."""
    from convgrid.data.counting import count  # most plans need none of it

    return count(target, json.loads(options), task)


def forget_counted() -> None:
    """Count anew: the next command may find other files."""
    _count.cache_clear()
