"""A race: every setting gets three seeds, then only those that chance may still explain get more.

Looking several times would find winners by chance: at 5 % each time, 16 times of 100. So each look has a share of 5 %,
most of it late, where most is known. A race is worked out anew from the results so far: one that was cut off goes on
alike.

Source: simulation (`benchmarks/racing.py`); Pocock, Biometrika 1977, and Lan and DeMets, Biometrika 1983 (spending a
level over looks); Birattari et al., GECCO 2002 (racing).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from convgrid.compare.multiple_comparisons import Levels, compare_independent, floor

LOOKS: Mapping[int, Levels] = {
    3: Levels(0.0025, 0.001),
    5: Levels(0.006, 0.005),
    8: Levels(0.01, 0.008),
    13: Levels(0.0125, 0.01),
    20: Levels(0.016, 0.0125),
}
HOPELESS = 2.5  # times the seeds that there are: who needs more is not waited for
NEEDED = 9.0  # times the variances over the squared difference: about so many seeds tell two settings apart

# best: all others are worse; tie: none is better by more than the tolerance; hopeless: too many seeds are needed;
# seeds, budget: there are no more; failed: no setting is left.
RaceEnding = Literal["best", "tie", "hopeless", "seeds", "budget", "failed"]


@dataclass(frozen=True)
class RaceRules:
    """When a race ends.

    Args:
        settings: How many start.
        tolerance: A difference that does not matter, in the objective's unit; None where every one does.
        max_seeds: Of a setting.
        budget: Trials in all; None where there is no end to them.
    """

    settings: int
    tolerance: float | None
    max_seeds: int
    budget: int | None

    @property
    def looks(self) -> dict[int, Levels]:
        """Levels by the number of seeds; the last look is at the most seeds."""
        before = [seeds for seeds in LOOKS if seeds < self.max_seeds]
        at_end = LOOKS[next(seeds for seeds in LOOKS if seeds >= self.max_seeds)]
        return {**{seeds: LOOKS[seeds] for seeds in before}, self.max_seeds: at_end}


@dataclass(frozen=True)
class Race:
    """How a race stands.

    Args:
        seeds: That each setting in question has, or is to get now.
        left: The settings in question; the best first, once they were looked at.
        out: The seeds after which each of the others was told to be worse.
        failed: Settings of which a trial failed.
        trials: That were asked for so far.
        ending: Why it is over; None where results are missing.
        needed: Seeds that it would take to go on, where that is hopeless; inf where they cannot be counted.
    """

    seeds: int
    left: tuple[int, ...]
    out: Mapping[int, int] = field(default_factory=dict)
    failed: tuple[int, ...] = ()
    trials: int = 0
    ending: RaceEnding | None = None
    needed: float = 0.0


def race(results: Sequence[Sequence[float | None]], rules: RaceRules, mode: str) -> Race:
    """Work out how a race stands.

    Args:
        results: Of each setting by seed, in order; NaN of a trial that failed, None of one that has not ended.
        mode: Whether the greatest ("max") or the least value is best.

    Returns:
        The race, as far as its looks are complete.
    """
    sign = 1.0 if mode == "max" else -1.0
    known = [[math.nan if value is None else sign * value for value in values] for values in results]
    ended = [next((at for at, value in enumerate(values) if value is None), len(values)) for values in results]
    left, out, failed = list(range(rules.settings)), {}, []
    trials, before = 0, 0
    for seeds, levels in rules.looks.items():
        asked = trials + len(left) * (seeds - before)
        if rules.budget is not None and asked > rules.budget:
            return Race(before, tuple(left), out, tuple(failed), trials, "budget")
        trials, before = asked, seeds
        if any(place >= len(ended) or ended[place] < seeds for place in left):
            return Race(seeds, tuple(left), out, tuple(failed), trials)
        samples = {place: np.array(known[place][:seeds]) for place in left}
        failed += [place for place in left if not np.isfinite(samples[place]).all()]
        left = sorted((place for place in left if place not in failed), key=lambda place: -float(samples[place].mean()))
        worse = _worse([samples[place] for place in left], levels)
        out |= {place: seeds for place, is_out in zip(left, worse, strict=True) if is_out}
        left = [place for place in left if place not in out]
        ending, needed = _ending([samples[place] for place in left], levels, seeds, rules)
        if ending:
            return Race(seeds, tuple(left), out, tuple(failed), trials, ending, needed)
    raise AssertionError("the last look ends a race")


def _worse(samples: Sequence[np.ndarray], levels: Levels) -> list[bool]:
    """Which are told to be worse than the first, the best."""
    if len(samples) < 2:
        return [False] * len(samples)
    return [False, *(compare_independent(samples, levels) <= levels.step_down).tolist()]


def _ending(
    samples: Sequence[np.ndarray], levels: Levels, seeds: int, rules: RaceRules
) -> tuple[RaceEnding | None, float]:
    """Why a race is over, and the seeds that it would have needed."""
    if len(samples) < 2:
        return ("best" if samples else "failed"), 0.0
    tolerance, without = rules.tolerance or 0.0, Levels(levels.step_down, 0.0)
    if rules.tolerance and (compare_independent(samples, without, tolerance=tolerance) <= levels.step_down).all():
        return "tie", 0.0
    if seeds == rules.max_seeds:
        return "seeds", 0.0
    needed = _needed(samples, tolerance)
    return ("hopeless", needed) if seeds > min(LOOKS) and needed > HOPELESS * rules.max_seeds else (None, 0.0)


def _needed(samples: Sequence[np.ndarray], tolerance: float) -> float:
    """Seeds after which the setting that is hardest to tell from the best would be told."""
    least = floor(np.concatenate(samples))
    best, *others = [(sample.mean(), max(sample.var(ddof=1), least)) for sample in samples]
    apart = [float(best[0] - mean) + tolerance for mean, _ in others]
    spread = [float(best[1] + variance) for _, variance in others]
    return max(NEEDED * s / d**2 if d > 0 else math.inf for s, d in zip(spread, apart, strict=True))
