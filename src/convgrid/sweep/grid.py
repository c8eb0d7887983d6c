"""From grids of overrides to points: every combination, in the order of Hydra's own sweeper."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType, ValueType

from convgrid.config import Grid, elements_of
from convgrid.config.hydra_internals import with_element
from convgrid.errors import ConfigError

Point = tuple[Override, ...]


@dataclass(frozen=True)
class Axis:
    """Overrides that advance together; mostly one, more where `sweep.zip` ties them.

    Args:
        steps: Each holds one override a key.
    """

    steps: tuple[Point, ...]


def axes(grid: Grid, zips: Sequence[Sequence[str]] = ()) -> list[Axis]:
    """Take a grid apart.

    Args:
        grid: Overrides; of a key given twice the last holds, at the place of the first.
        zips: Keys that advance together.

    Returns:
        One axis for each override, or for all that one zip ties, at the place of the first of them.

    Raises:
        ConfigError: If the values tied are not equally many, or one of the keys is not swept.
    """
    by_key = {_key(steps): steps for steps in map(_single, grid)}
    found: dict[str, Axis] = {}
    tied = {key: tuple(keys) for keys in zips for key in keys if any(name in by_key for name in keys)}
    for key, steps in by_key.items():
        keys = tied.get(key, (key,))
        name = min(keys)
        if name not in found:
            found[name] = _tie(keys, by_key) if len(keys) > 1 else Axis(tuple((step,) for step in steps))
    return list(found.values())


def size(found: Sequence[Axis]) -> int:
    """Count the points of some axes.

    Args:
        found: What `axes` made.

    Returns:
        Their number.
    """
    return math.prod(len(axis.steps) for axis in found)


def points(found: Sequence[Axis]) -> Iterator[Point]:
    """Go through every combination; the last axis advances fastest.

    Args:
        found: What `axes` made.

    Yields:
        The overrides of a point, one value each.
    """
    for steps in itertools.product(*(axis.steps for axis in found)):
        yield tuple(itertools.chain.from_iterable(steps))


def repetitions(point: Point, seed: int, seeds: int | None, folds: int | None) -> Iterator[Point]:
    """Repeat a point for each fold, and in each fold for each seed.

    Args:
        point: Overrides with one value each.
        seeds: How many; None leaves the seed as it is.
        folds: How many; None does not divide.

    Yields:
        The point with overrides of `fold` and `seed`.
    """
    parts = [(_override("fold", [number, folds]),) for number in range(1, folds + 1)] if folds else [()]
    draws = [(_override("seed", number),) for number in range(seed, seed + seeds)] if seeds else [()]
    for part, draw in itertools.product(parts, draws):
        yield (*point, *part, *draw)


def _override(key: str, value: Any) -> Override:
    return with_element(Override(OverrideType.CHANGE, key, ValueType.ELEMENT, value), value)


def _key(steps: Point) -> str:
    """An option and keys of its group, optimizer=sgd optimizer={lr:1}, do not take each other's place."""
    key = steps[0].get_key_element()
    return f"{key}={{}}" if isinstance(steps[0].value(), dict) else key


def _single(override: Override) -> Point:
    if not override.is_sweep_override():
        return (override,)
    if override.is_interval_sweep():
        raise ConfigError(
            f"{override.input_line}: an interval is for a search. Give values, or range(start,stop,step)."
        )
    return tuple(with_element(override, value) for value in elements_of(override))


def _tie(keys: Sequence[str], by_key: dict[str, Point]) -> Axis:
    counts = {key: len(by_key.get(key, ())) for key in keys}
    missing = [key for key, count in counts.items() if not count]
    name = f"sweep.zip=[[{','.join(keys)}]]"
    if missing:
        raise ConfigError(f"{name}: {missing[0]} has no values. Give it as many as {keys[0]}, or leave it out.")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{key} {count}" for key, count in counts.items())
        raise ConfigError(f"{name}: keys that advance together need equally many values, but have: {told}.")
    return Axis(tuple(zip(*(by_key[key] for key in keys), strict=True)))
