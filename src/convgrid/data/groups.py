"""Groups of images that belong together, such as those of one patient: kept whole when a pool is divided."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from convgrid.data.files import readable, some
from convgrid.errors import ConfigError, DataError


def groups_of_paths(paths: Sequence[str], pattern: str | None) -> list[str] | None:
    """Find each image's group by a pattern over its path.

    Args:
        paths: Below the class folder.
        pattern: What `data.group` says; None for no groups.

    Returns:
        What the pattern's brackets match, or all of it without brackets.

    Raises:
        ConfigError: If it is not a pattern.
        DataError: If it does not match some of the paths.

    Example:
        >>> groups_of_paths(["eve_frame1.jpg", "eve_frame2.jpg", "bob_frame1.jpg"], "(.+)_frame")
        ['eve', 'eve', 'bob']
    """
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"data.group={pattern} is not a regular expression ({error}). Use one such as (.+)_frame."
        ) from None
    matches = [compiled.search(path) for path in paths]
    groups = [_matched(match) for match in matches]
    missing = [readable(path) for path, group in zip(paths, groups, strict=True) if group is None]
    if missing:
        raise DataError(
            f"data.group={pattern} matches nothing in the paths of {len(missing)} of {len(paths)} images "
            f"({some(missing)}). Give a pattern that finds the group in every path."
        )
    return [readable(group) for group in groups if group is not None]


def _matched(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    if not match.re.groups:
        return match[0]
    return None if None in match.groups() else "/".join(match.groups())


def deal_groups(
    strata: np.ndarray, groups: np.ndarray, fractions: Sequence[float], generator: np.random.Generator
) -> list[np.ndarray]:
    """Divide a pool so that every group stays whole and the strata's proportions come as close as a greedy draw brings.

    Groups are dealt one by one, those that are largest for their strata first, each to the part where it makes the sum
    of (share - fraction)^2 / fraction, over parts and strata, smallest; a part that stays empty gets the smallest group
    of the part that has most.

    Args:
        strata: Class of each image, or all alike, shape (B,).
        groups: Group of each image, shape (B,).
        fractions: Of the pool, for each part.

    Returns:
        Sorted rows for each fraction.

    Raises:
        DataError: If there are fewer groups than parts.

    Source: the idea of sklearn.model_selection.StratifiedGroupKFold.
    """
    names, group_of = np.unique(groups.astype(str), return_inverse=True)
    _, stratum_of = np.unique(strata, return_inverse=True)
    counts = np.zeros((len(names), stratum_of.max() + 1))
    np.add.at(counts, (group_of, stratum_of), 1)
    shares = counts / counts.sum(0)
    part_of = _assign(shares, np.array(fractions), generator)
    _fill(part_of, counts.sum(1), len(fractions))
    return [np.flatnonzero(part_of[group_of] == part) for part in range(len(fractions))]


def _assign(shares: np.ndarray, fractions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A part for each group."""
    shuffled = generator.permutation(len(shares))
    order = shuffled[np.argsort(-np.square(shares[shuffled]).sum(1), kind="stable")]
    missing = np.repeat(fractions[:, None], shares.shape[1], 1)
    part_of = np.empty(len(shares), np.int64)
    for group in order:
        share = shares[group]
        gains = (2 * missing - share) @ share / fractions
        part = int(np.argmax(gains))
        part_of[group] = part
        missing[part] -= share
    return part_of


def _fill(part_of: np.ndarray, sizes: np.ndarray, num_parts: int) -> None:
    """Give empty parts the smallest group of the part that has most groups."""
    for part in range(num_parts):
        if not (part_of == part).any():
            richest = np.bincount(part_of, minlength=num_parts).argmax()
            inside = np.flatnonzero(part_of == richest)
            part_of[inside[sizes[inside].argmin()]] = part


def check_enough(groups: np.ndarray, parts: int, asked: str) -> None:
    """Refuse to divide fewer groups than there are parts.

    Args:
        asked: The key and value that ask for the parts, for the message.

    Raises:
        DataError: If there are too few.
    """
    found = len(set(groups.tolist()))
    if found < parts:
        raise DataError(
            f"{asked} asks for {parts} parts, and data.group makes {found} "
            f"group{'' if found == 1 else 's'} of the images, each of which stays whole. "
            + ("Use fewer parts, or another data.group." if found > 1 else "Use another data.group.")
        )
