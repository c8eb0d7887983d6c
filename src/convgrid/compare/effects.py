"""What each key did, whatever the others were; what two did together; and what no other setting beats."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import stdtrit

from convgrid.compare import multiple_comparisons
from convgrid.compare.ranking import Sample, around, errors
from convgrid.compare.results import Interaction, Level
from convgrid.compare.trials import Trials

MOST_LEVELS = 8  # numbers of a key before they are gathered in groups
GROUPS = 5
UNSET = None  # the level of settings that do not have a key


class FactorLevels:
    """The values of a key over settings; drawn numbers, which hardly repeat, in groups of like size.

    Args:
        values: Of each setting; None where it has none.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        known = sorted({value for value in values if value is not None}, key=_order)
        if len(known) > MOST_LEVELS and all(isinstance(value, int | float) for value in known):
            have = np.array([value for value in values if value is not None], float)
            edges = np.unique(np.quantile(have, np.linspace(0, 1, GROUPS + 1)[1:-1]))
            at = [None if value is None else int(np.searchsorted(edges, value)) for value in values]
            groups = {group: [v for v, place in zip(values, at, strict=True) if place == group] for group in set(at)}
            known = [_span(groups[group]) for group in sorted(group for group in groups if group is not None)]
            order = {group: place for place, group in enumerate(sorted(g for g in groups if g is not None))}
            places = [None if place is None else order[place] for place in at]
        else:
            place_of = {value: place for place, value in enumerate(known)}
            places = [None if value is None else place_of[value] for value in values]
        self.names: list[Any] = [*known, *([UNSET] if None in places else [])]
        self.places = np.array([len(known) if place is None else place for place in places], int)


def levels(found: Sequence[Sample], keys: Sequence[str]) -> dict[str, FactorLevels]:
    """Sort each key's values.

    Returns:
        By key.
    """
    return {key: FactorLevels([each.values.get(key) for each in found]) for key in keys}


def effects(found: Sequence[Sample], by: Mapping[str, FactorLevels], trials: Trials) -> dict[str, tuple[Level, ...]]:
    """Average each value of a key over the others.

    In a full grid that is the mean of the settings that have the value. Where settings are missing, keys are told
    apart by least squares on the settings' means, mean = sum of one effect a key, so that a value that was tried with
    better company only does not look better for it; where even that cannot tell them apart, it is the mean.

    Args:
        by: Values of each key.

    Returns:
        Of each key, what its values came to, in order; without intervals after a race, whose seeds went by results.
    """
    if not found:
        return {}
    means, counts = np.array([each.mean for each in found]), np.array([len(each.trials) for each in found])
    variance, freedom, share = errors(found)
    found_effects = {}
    design = _Design(by)
    for key, levels in by.items():
        weights = design.weights(key)
        have = [levels.places == place for place in range(len(levels.names))]
        half = [np.nan] * len(weights) if trials.race else _half_widths(weights, variance * share, freedom)
        found_effects[key] = tuple(
            Level(
                name,
                float(row @ means),
                around(float(row @ means), width, trials.metric),
                int(counts[mask].sum()),
                int(mask.sum()),
            )
            for name, row, width, mask in zip(levels.names, weights, half, have, strict=True)
        )
    return found_effects


def interactions(found: Sequence[Sample], by: Mapping[str, FactorLevels]) -> dict[tuple[str, str], Interaction]:
    """Average the settings of each combination of two keys' values.

    Args:
        by: Values of each key.

    Returns:
        Of each pair of keys, in their order.
    """
    means, counts = np.array([each.mean for each in found]), np.array([len(each.trials) for each in found])
    pairs = {}
    for (first, rows), (second, columns) in combinations(by.items(), 2):
        shape = (len(rows.names), len(columns.names))
        at = np.ravel_multi_index((rows.places, columns.places), shape)
        settings, total, runs = (np.bincount(at, of, int(np.prod(shape))) for of in (None, means, counts))
        table = np.divide(total, settings, out=np.full(len(total), np.nan), where=settings > 0).reshape(shape)
        pairs[first, second] = Interaction(
            tuple(rows.names),
            tuple(columns.names),
            tuple(tuple(None if np.isnan(cell) else float(cell) for cell in row) for row in table),
            tuple(tuple(map(int, row)) for row in runs.reshape(shape)),
        )
    return pairs


def pareto(found: Sequence[Sample], mode: str) -> dict[str, tuple[int, ...]]:
    """Find the settings that no other beats in the objective and a cost.

    Args:
        mode: "max" or "min".

    Returns:
        Places, counted from 1, by the cost, cheapest first; without costs that nobody noted.
    """
    sign = 1 if mode == "max" else -1
    fronts = {}
    for cost in ("parameters", "multiply_adds", "seconds"):
        priced = [
            (each.costs[cost], -sign * each.mean, place) for place, each in enumerate(found, 1) if cost in each.costs
        ]
        front, least = [], np.inf
        for _, loss, place in sorted(priced):
            if loss < least:
                front.append(place)
                least = loss
        if front:
            fronts[cost] = tuple(front)
    return fronts


class _Design:
    """Settings as rows of an additive model: one column for each value of each key."""

    def __init__(self, by: Mapping[str, FactorLevels]) -> None:
        self._by = by
        self._blocks = {key: np.eye(len(levels.names))[levels.places] for key, levels in by.items()}
        rows = len(next(iter(self._blocks.values()))) if by else 0
        self._matrix = np.hstack([np.ones((rows, 1)), *self._blocks.values()])
        self._inverse = np.linalg.pinv(self._matrix)

    def weights(self, key: str) -> np.ndarray:
        """What each setting counts in the mean of each of the key's values, shape (L, S)."""
        asked = [np.ones((len(self._by[key].names), 1))]
        for other, block in self._blocks.items():
            size = block.shape[1]
            asked.append(np.eye(size) if other == key else np.full((len(asked[0]), size), 1 / size))
        wanted = np.hstack(asked)
        weights = wanted @ self._inverse
        told = np.abs(weights @ self._matrix - wanted).max(axis=1) < 1e-8
        plain = self._blocks[key].T / self._blocks[key].sum(axis=0)[:, None]
        return np.where(told[:, None], weights, plain)


def _half_widths(weights: np.ndarray, error: np.ndarray, freedom: np.ndarray) -> list[float]:
    """Of the means of one key's values together; NaN where a setting that counts was run once."""
    counted = np.abs(weights) > 1e-12
    if not np.isfinite(error).any():
        return [np.nan] * len(weights)
    halves = []
    for row, mask in zip(weights, counted, strict=True):
        if not np.isfinite(error[mask]).all():
            halves.append(np.nan)
            continue
        parts = row[mask] ** 2 * error[mask]
        total = parts.sum()
        satterthwaite = total**2 / (parts**2 / freedom[mask]).sum() if total > 0 else 1.0
        halves.append(float(-stdtrit(satterthwaite, multiple_comparisons.LEVEL / 2 / len(weights)) * np.sqrt(total)))
    return halves


def _order(value: Any) -> tuple[bool, Any]:
    """Numbers first, by size; then words."""
    is_word = not isinstance(value, int | float)
    return is_word, str(value) if is_word else value


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
