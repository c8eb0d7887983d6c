"""`convgrid.compare.multiple_comparisons` for thousands of sweeps at once; a test holds the two equal.

Shapes: R sweeps, S settings, K repetitions. All settings of a sweep that are in question have equally many.

A step-down takes one setting after another out of question, in all sweeps at once. Sweeps that are decided are left
aside, and so are columns that are out of question in all others: of 54 settings that takes half the time.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import stats
from scipy.interpolate import CubicSpline
from scipy.special import digamma, ndtr, polygamma, stdtr

from convgrid.compare.multiple_comparisons import IN_COMPARISONS, IN_INTERVALS, LEVEL, Levels, Trust, overlap

NODES = 40  # of degrees of freedom, between which critical values are interpolated
SKEW = 0.75  # of lognormal repetitions
WIDEST = 14.0  # a range of standard normal values is never wider

NARROWER = 0.8  # a share of columns in question up to which the others are left aside

# Means, variances and what is in question, each of shape (R, S), the best first -> ratios and degrees of freedom.
Compare = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def worse(
    values: np.ndarray, levels: Levels, *, paired: bool = False, tolerance: float = 0.0, among: np.ndarray | None = None
) -> np.ndarray:
    """Say of each sweep which settings are told from its best.

    Args:
        values: More is better, shape (R, S, K).
        levels: Of the step-down and of the winner step.
        paired: Whether repetitions are folds, the same for all settings.
        tolerance: Told is that a setting is at most so much better than the best.
        among: Settings in question, shape (R, S); None takes all.

    Returns:
        Shape (R, S); False for the best itself, and for settings that are not in question.
    """
    among = np.ones(values.shape[:2], bool) if among is None else among
    mean = np.where(among, values.mean(axis=2), -np.inf)
    order = np.argsort(-mean, axis=1, kind="stable")
    at = np.take_along_axis(values, order[:, :, None], axis=1)
    left = np.take_along_axis(among, order, axis=1)
    left[:, 0] = False
    if paired:
        at = at[:, :1] - at
    compare = (_paired if paired else _independent)(values.shape[2], tolerance)
    called = _step_down(at.mean(axis=2), at.var(axis=2, ddof=1), left, levels, compare)
    found = np.zeros_like(called)
    np.put_along_axis(found, order, called, axis=1)
    return found


def half_widths(variance: np.ndarray, repetitions: int, share: float) -> np.ndarray:
    """Half the widths of the means' intervals; shape (R, S)."""
    everywhere = np.ones_like(variance, bool)
    raised, freedom = _spreads(variance, everywhere, repetitions - 1, IN_INTERVALS)
    return stats.t.isf(LEVEL / 2 / variance.shape[1], freedom) * np.sqrt(raised * share)


def _step_down(
    mean: np.ndarray, variance: np.ndarray, left: np.ndarray, levels: Levels, compare: Compare
) -> np.ndarray:
    called, columns = np.zeros_like(left), np.broadcast_to(np.arange(left.shape[1]), left.shape)
    rows = np.arange(len(left))
    goes_on = left.any(axis=1)
    while goes_on.any():
        if not goes_on.all():
            rows, columns, mean, variance, left = (each[goes_on] for each in (rows, columns, mean, variance, left))
        widest = 1 + left.sum(axis=1).max()
        if widest <= NARROWER * left.shape[1]:
            left[:, 0] = True  # the best stays where it is
            kept = np.argsort(~left, axis=1, kind="stable")[:, :widest]
            columns, mean, variance, left = (
                np.take_along_axis(each, kept, axis=1) for each in (columns, mean, variance, left)
            )
            left[:, 0] = False
        ratio, freedom = compare(mean, variance, left)
        clarity = _as_normal(ratio, freedom)
        place, last = np.where(left, clarity, -np.inf).argmax(axis=1), np.where(left, clarity, np.inf).argmin(axis=1)
        every = np.arange(len(rows))
        is_clear = _is_clear(ratio[every, place], freedom[every, place], left.sum(axis=1) + 1, levels.step_down)
        ends = np.flatnonzero(~is_clear)
        wins = ends[_alone(ratio[ends, last[ends]], freedom[ends, last[ends]]) <= levels.winner]
        sweeps, settings = np.nonzero(left[wins])
        called[rows[wins][sweeps], columns[wins][sweeps, settings]] = True
        clear, place = every[is_clear], place[is_clear]
        called[rows[clear], columns[clear, place]] = True
        left[clear, place] = False
        goes_on = is_clear & left.any(axis=1)
    return called


def _as_normal(ratio: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """About the normal quantile of a t ratio (Wallace 1959): it orders them, at a tenth of the cost of their p."""
    return (8 * freedom + 1) / (8 * freedom + 3) * np.sqrt(freedom * np.log1p(ratio**2 / freedom))


def _alone(ratio: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """The two-sided p of one setting of each sweep."""
    return 2 * stdtr(freedom, -ratio)


def _is_clear(ratio: np.ndarray, freedom: np.ndarray, settings: np.ndarray, level: float) -> np.ndarray:
    """By the range of all that are in question."""
    alone = _alone(ratio, freedom)
    found = alone * settings * (settings - 1) / 2 < 1e-4
    for count in np.unique(settings):
        at = settings == count
        found[at] |= (
            alone[at] <= level if count == 2 else ratio[at] * np.sqrt(2) >= critical(int(count), level, freedom[at])
        )
    return found


def _independent(repetitions: int, tolerance: float) -> Compare:
    def compare(mean: np.ndarray, variance: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there = left.copy()
        there[:, 0] = True
        raised, freedom = _spreads(variance, there, repetitions - 1, IN_COMPARISONS)
        error = raised / repetitions
        both = error[:, :1] + error
        welch = both**2 / (error[:, :1] ** 2 / freedom + error**2 / freedom)
        apart = mean[:, :1] - np.where(left, mean, 0.0)
        return (apart + tolerance) / np.sqrt(both), (welch + freedom) / 2

    return compare


def _paired(repetitions: int, tolerance: float) -> Compare:
    share = overlap(np.array([repetitions]))[0]

    def compare(mean: np.ndarray, variance: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raised, freedom = _spreads(np.where(left, variance, 1.0), left, repetitions - 1, IN_COMPARISONS)
        return (mean + tolerance) / np.sqrt(raised * share), np.broadcast_to(freedom, left.shape)

    return compare


def _spreads(variance: np.ndarray, there: np.ndarray, freedom: int, trust: Trust) -> tuple[np.ndarray, np.ndarray]:
    """Raised variances, and degrees of freedom, of shape (R, 1)."""
    count = there.sum(axis=1, keepdims=True)
    logs = np.log(variance) - digamma(freedom / 2) + np.log(freedom / 2)
    mean = np.where(there, logs, 0.0).sum(axis=1, keepdims=True) / count
    squares = np.where(there, (logs - mean) ** 2, 0.0).sum(axis=1, keepdims=True)
    extra = squares / np.maximum(count - 1, 1) - polygamma(1, freedom / 2)
    fitted = 2 * _inverse_trigamma(np.maximum(extra, 1e-3))
    alike = extra <= 1e-3
    typical = np.exp(np.where(alike, mean, mean + digamma(fitted / 2) - np.log(fitted / 2)))
    worth = np.minimum(np.where(alike, np.inf, fitted / 2), np.minimum(trust.each * (count - 2), trust.most))
    worth = np.where(count < 3, 0.0, worth)
    towards = (worth * typical + freedom * variance) / (worth + freedom)
    return np.where(count < 3, variance, np.maximum(variance, towards)), freedom + worth


@cache
def _trigamma_table() -> CubicSpline:
    half = np.exp(np.linspace(np.log(1e-3), np.log(5e3), 4000))
    return CubicSpline(-np.log(polygamma(1, half)), np.log(half))


def _inverse_trigamma(value: np.ndarray) -> np.ndarray:
    return np.exp(_trigamma_table()(-np.log(value)))


def critical(settings: int, level: float, freedom: np.ndarray) -> np.ndarray:
    """Values of Tukey's studentised range that chance exceeds so often."""
    return np.exp(_critical(settings, level)(1 / freedom))


@cache
def _critical(settings: int, level: float) -> CubicSpline:
    """Log of the critical value by 1 / freedom, by bisection."""
    inverse = 1.02 * (0.5 - 0.5 * np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES))
    freedom = 1 / inverse
    low, high = np.zeros(NODES), np.full(NODES, np.log(1e6))
    for _ in range(36):  # to 2e-10
        middle = (low + high) / 2
        above = _exceeds(np.exp(middle), settings, freedom) > level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return CubicSpline(inverse, (low + high) / 2)


def _exceeds(value: np.ndarray, settings: int, freedom: np.ndarray) -> np.ndarray:
    """The integral over the chance of each estimated spread, by the trapezoidal rule in its logarithm."""
    log = np.linspace(-14.0, 5.0, 3000)[:, None]
    density = freedom * log - freedom * np.exp(2 * log) / 2
    density = np.exp(density - density.max(axis=0))
    inside = np.clip(np.exp(log) * value, 0, WIDEST)
    return 1 - (density * _range(settings)(inside)).sum(axis=0) / density.sum(axis=0)


@cache
def _range(settings: int) -> CubicSpline:
    """The chance that standard normal values are not farther apart than so much."""
    widths, at = np.linspace(0, WIDEST, 600), np.linspace(-8.5, 8.5, 1500)[:, None]
    density = np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi)
    within = settings * density * (ndtr(at) - ndtr(at - widths)) ** (settings - 1)
    return CubicSpline(widths, within.sum(axis=0) * (at[1, 0] - at[0, 0]))


def noise(generator: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Draw repetitions of mean 0 and variance 1.

    Args:
        kind: "normal"; "heavy", of Student's t with 5 degrees of freedom; "skewed", lognormal, with a tail of bad luck.
    """
    if kind == "heavy":
        return generator.standard_t(5, shape) / np.sqrt(5 / 3)
    drawn = generator.standard_normal(shape)
    if kind == "normal":
        return drawn
    return (np.exp(SKEW**2 / 2) - np.exp(SKEW * drawn)) / np.sqrt((np.exp(SKEW**2) - 1) * np.exp(SKEW**2))
