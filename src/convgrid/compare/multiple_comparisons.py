"""Which settings chance alone may explain: comparisons with the best of many, each of a few repetitions.

Three ideas, chosen by simulation (`benchmarks/comparison.py`), keep false winners rare where spreads differ:

- A spread is the setting's own, but one below what is typical of the settings still in question is raised towards
  that: three seeds that agree are luck more often than precision. None is lowered: a pooled spread, or one that is
  shrunk both ways, calls the luckier of two noisy settings a winner. What is typical is trusted by half as many degrees
  of freedom as Smyth's fit says, since spreads are rarely of one distribution.
- Degrees of freedom lie midway between Welch's and the fewer of the two settings', as Welch's are too many where few
  repetitions scatter very differently.
- Settings are compared with the best in turn, the clearest first; the one at hand is judged as the range of all that
  are still in question (Tukey's studentised range). The last, most often the second best, is judged by itself: choosing
  the best by the data costs nothing there (Hung and Fithian).
- Where that stops with some left, all of them are worse if each is by itself, at a level a little stricter (the winner
  step): the best is told from all of them or from none. With spreads that differ it rests on simulation.

Source: Games and Howell, Journal of Educational Statistics 1976; Hsu, Annals of Statistics 1984; Smyth, Statistical
Applications in Genetics and Molecular Biology 2004 (the typical spread); Hung and Fithian, Annals of Statistics 2019;
Goldwasser, Fithian and Hooker, arXiv 2501.14142, 2025 (the winner step);
Nadeau and Bengio, Machine Learning 2003.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma, stdtr, stdtrit

CERTAIN = 1e-4  # below, Bonferroni's bound is told instead of Tukey's range, which takes 10 ms a value
STEP_TOLERANCE = 0.05  # of a step, that a value may be off by and still be a multiple
NEGLIGIBLE = 1e-12  # of the largest value: a spread that cannot be told from none
LIKELY = 0.5  # of a p so large nobody needs to know how much larger the next one is
LEVEL = 0.05  # that is promised
STEP_DOWN_LEVEL = 0.046  # that keeps it where two settings tie and all others are far behind
WINNER_LEVEL, SETTINGS = 0.03, 16  # of the winner step, of up to so many settings

# Settings still in question -> differences to the best over their standard errors, and degrees of freedom.
Differences = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Trust:
    """How many degrees of freedom the typical spread is worth, at most.

    Args:
        each: For each setting more than two.
        most: Of any number of settings.
    """

    each: float
    most: float


IN_COMPARISONS, IN_INTERVALS = Trust(1.0, 6.0), Trust(0.1, 3.0)


@dataclass(frozen=True)
class Levels:
    """How often a comparison may err.

    Args:
        step_down: Of the comparisons in turn.
        winner: Of the step that calls all that are left worse.
    """

    step_down: float
    winner: float


@dataclass(frozen=True)
class Spreads:
    """Variances of one repetition.

    Args:
        variance: Of each setting, shape (S,).
        freedom: Its degrees of freedom, shape (S,).
    """

    variance: np.ndarray
    freedom: np.ndarray


def fixed(settings: int) -> Levels:
    """Settle the levels of a comparison whose number of repetitions was fixed beforehand.

    Returns:
        Those that keep false winners below 5 %: the more settings, the stricter the winner step.
    """
    return Levels(STEP_DOWN_LEVEL, WINNER_LEVEL * min(1.0, SETTINGS / settings))


def spreads(variance: np.ndarray, freedom: np.ndarray, trust: Trust) -> Spreads:
    """Raise variances that are below the typical one towards it.

    Args:
        variance: Of each setting's repetitions, above 0, shape (S,).
        freedom: Repetitions less 1, shape (S,).
        trust: In the typical one.

    Returns:
        Variances that are as large or larger; of one or two settings, the same.

    Example:
        >>> spreads(np.array([0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), np.full(7, 2), IN_INTERVALS).variance.round(2)
        array([0.34, 1.06, 1.06, 1.06, 1.06, 1.06, 1.06])
    """
    if len(variance) < 3:
        return Spreads(variance, freedom.astype(float))
    typical, worth = _typical(variance, freedom)
    worth = min(worth / 2, trust.each * (len(variance) - 2), trust.most)
    towards = (worth * typical + freedom * variance) / (worth + freedom)
    return Spreads(np.maximum(variance, towards), freedom + worth)


def floor(values: np.ndarray) -> float:
    """The variance that rounding alone gives: an accuracy on 270 images has steps of 1/270.

    Args:
        values: All that were measured.

    Returns:
        The step's square over 12, the variance of a uniform rounding error; next to nothing where values have no step.

    Example:
        >>> round(floor(np.array([0.9, 0.9, 0.8, 0.6])) ** 0.5, 4)
        0.0289
        >>> floor(np.array([0.9, 0.81234, 0.6])) ** 0.5 < 1e-9
        True
    """
    scale = float(np.nanmax(np.abs(values))) or 1.0
    distinct = np.unique(np.round(values[np.isfinite(values)] / scale, 7))
    step = float(np.diff(distinct).min()) if len(distinct) > 1 else 0.0
    counts = (distinct - distinct[0]) / step if step else np.zeros(1)
    has_step = step > 0 and np.abs(counts - counts.round()).max() < STEP_TOLERANCE
    return (scale * step) ** 2 / 12 if has_step else (scale * NEGLIGIBLE) ** 2


def compare_independent(
    samples: Sequence[np.ndarray], levels: Levels | None = None, *, tolerance: float = 0.0
) -> np.ndarray:
    """Compare settings that were repeated by chance: over seeds.

    Args:
        samples: Values of each setting, more is better, the best first; two or more of each.
        levels: How often it may err; None where the number of repetitions was fixed beforehand.
        tolerance: What is asked is whether a setting is better than the best by so much, and not whether it is worse.

    Returns:
        How easily chance makes such a difference to the best, adjusted for all comparisons, shape (S - 1,). A setting
        is worse where it is at most `levels.step_down`; without `levels`, at most `LEVEL`.

    Example:
        >>> compare_independent([np.array([0.93, 0.92, 0.94]), np.array([0.86, 0.86, 0.85])]).round(4)
        array([0.0033])
    """
    mean = np.array([sample.mean() for sample in samples])
    count = np.array([len(sample) for sample in samples])
    variance = np.maximum([sample.var(ddof=1) for sample in samples], floor(np.concatenate(samples)))

    def differences(left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = spreads(variance[[0, *left]], count[[0, *left]] - 1, IN_COMPARISONS)
        error = found.variance / count[[0, *left]]
        return _welch(mean[0] - mean[left] + tolerance, error, found.freedom)

    if levels is not None:
        return _step_down(len(samples), differences, levels)
    return _told(_step_down(len(samples), differences, fixed(len(samples))))


def compare_paired(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Compare settings that were repeated over the same folds.

    The differences of two settings on the same held-out images are what scatters. Trainings on overlapping folds are
    no independent repetitions: 1/n of the variance becomes 1/n + 1/(n - 1), as Nadeau and Bengio have it.

    Args:
        samples: Values of each setting on the same folds, in the same order, more is better, the best first; NaN where
            a fold is missing.

    Returns:
        As of `compare_independent` without levels; NaN where a setting shares fewer than two folds with the best.

    Example:
        >>> compare_paired([np.array([0.93, 0.82, 0.74]), np.array([0.92, 0.80, 0.73])]).round(4)
        array([0.1382])
    """
    apart = [samples[0] - sample for sample in samples[1:]]
    apart = [difference[~np.isnan(difference)] for difference in apart]
    usable = np.array([len(difference) > 1 for difference in apart])
    kept = [difference for difference in apart if len(difference) > 1]
    found = np.full(len(apart), np.nan)
    if not kept:
        return found
    mean, count = (np.array([of(difference) for difference in kept]) for of in (np.mean, len))
    variance = np.maximum([difference.var(ddof=1) for difference in kept], 2 * floor(np.concatenate(samples)))

    def differences(left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raised = spreads(variance[left - 1], count[left - 1] - 1, IN_COMPARISONS)
        error = raised.variance * overlap(count[left - 1])
        return _ratio(mean[left - 1], error), raised.freedom

    found[usable] = _told(_step_down(len(kept) + 1, differences, fixed(len(samples))))
    return found


def overlap(folds: np.ndarray) -> np.ndarray:
    """What a variance over folds is multiplied by for the variance of their mean.

    Args:
        folds: How many there are.

    Returns:
        1/n + 1/(n - 1): the share of a fold, and the ratio of held-out images to trained ones.

    Example:
        >>> overlap(np.array([5]))
        array([0.45])
    """
    return 1 / folds + 1 / (folds - 1)


def half_widths(variance: np.ndarray, freedom: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Half the widths of the means' intervals, which hold all together 19 times of 20.

    Args:
        variance: Of each setting's repetitions, shape (S,).
        freedom: Its degrees of freedom, shape (S,).
        shares: What a variance is multiplied by for that of the mean, such as 1/n, shape (S,).

    Returns:
        Shape (S,), in the objective's units.

    Example:
        >>> half_widths(np.ones(1), np.array([4]), np.array([1 / 5])).round(3)  # 2.776 / sqrt(5)
        array([1.242])
    """
    found = spreads(variance, freedom, IN_INTERVALS)
    return -stdtrit(found.freedom, LEVEL / 2 / len(variance)) * np.sqrt(found.variance * shares)


def _typical(variance: np.ndarray, freedom: np.ndarray) -> tuple[float, float]:
    """Smyth's fit of a scaled F distribution: the typical variance, and how many degrees of freedom it is worth."""
    logs = np.log(variance) - digamma(freedom / 2) + np.log(freedom / 2)
    extra = float(logs.var(ddof=1) - polygamma(1, freedom / 2).mean())
    if extra <= 1e-3:  # no more than chance makes of one variance
        return float(np.exp(logs.mean())), np.inf
    worth = 2 * _inverse_trigamma(extra)
    return float(np.exp(logs.mean() + digamma(worth / 2) - np.log(worth / 2))), worth


def _inverse_trigamma(value: float) -> float:
    """By Newton's method on 1/trigamma, which is nearly straight."""
    found = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, found))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, found))
        found += step
        if abs(step) < 1e-8 * found:
            break
    return found


def _welch(apart: np.ndarray, error: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratios to the standard error, and degrees of freedom; the best stands first in `error` and `freedom`."""
    both = error[0] + error[1:]
    parts = error[0] ** 2 / freedom[0] + error[1:] ** 2 / freedom[1:]
    welch = np.divide(both**2, parts, out=np.ones_like(both), where=parts > 0)
    return _ratio(apart, both), (welch + np.minimum(freedom[0], freedom[1:])) / 2


def _ratio(apart: np.ndarray, error: np.ndarray) -> np.ndarray:
    return np.divide(apart, np.sqrt(error), out=np.zeros_like(apart), where=error > 0)


def _told(p: np.ndarray) -> np.ndarray:
    """A little larger, so that those up to the promised level are worse."""
    return np.minimum(p * LEVEL / STEP_DOWN_LEVEL, 1.0)


def _step_down(count: int, differences: Differences, levels: Levels) -> np.ndarray:
    """Adjusted p values of settings 1 and on against setting 0, the clearest difference first.

    One is at most `levels.step_down` exactly where its setting is called worse.
    """
    found, left, so_far, may_win = np.ones(count - 1), np.arange(1, count), 0.0, levels.winner > 0
    while len(left) and so_far < LIKELY:
        ratio, freedom = differences(left)
        alone = 2 * stdtr(freedom, -ratio)
        place = int(alone.argmin())
        p = max(so_far, _of_range(float(alone[place]), float(ratio[place]), len(left) + 1, float(freedom[place])))
        if may_win and p > levels.step_down:
            may_win = False
            if alone.max() <= levels.winner:
                so_far = max(so_far, float(alone.max()) * levels.step_down / levels.winner)
                break
        so_far = p
        found[left[place] - 1] = so_far
        left = np.delete(left, place)
    found[left - 1] = so_far
    return found


def _of_range(alone: float, ratio: float, settings: int, freedom: float) -> float:
    bound = alone * settings * (settings - 1) / 2
    if settings == 2 or bound < CERTAIN:
        return min(bound, 1.0)
    from scipy import stats  # a second to import

    return float(stats.studentized_range.sf(max(ratio, 0.0) * np.sqrt(2), settings, freedom))
