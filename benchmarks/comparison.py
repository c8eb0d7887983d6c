"""How often a comparison errs, and how often it sees a true difference, where the truth is known.

Usage: python benchmarks/comparison.py [--quick]

For so many settings and seeds, and for spreads that are equal, five times as large for some, or heavy-tailed:

- false winner: of settings that tie for the best, one is called better than all others (at most 5 %);
- best lost: one given setting of those that tie for the best is called worse (at most 5 %; the worst of them);
- coverage: the intervals of all means hold together (at least 95 %);
- power: a setting that is worse by 3 standard deviations is called worse.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from convgrid.compare import multiple_comparisons
from convgrid.compare.multiple_comparisons import LEVEL, compare_independent, half_widths

RATIO = 5.0
FAR = -30.0  # in standard deviations of a noisy setting: out of the question
POWER = -3.0


@dataclass
class Rates:
    """Shares of the repetitions."""

    false_winner: float
    best_lost: float
    coverage: float
    power: float


def scenes(settings: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, means and standard deviations: all tie, two tie, half of them tie; spreads equal, or not."""
    tie, ones, first = np.zeros(settings), np.ones(settings), np.arange(settings)
    yield "all tie, spreads equal", tie, ones
    yield "all tie, one noisy", tie, np.where(first == 0, RATIO, 1.0)
    if settings > 2:
        yield "all tie, some noisy", tie, np.where(first < max(2, settings // 12), RATIO, 1.0)
        yield "all tie, half noisy", tie, np.where(first < settings // 2, RATIO, 1.0)
        yield "all tie, one quiet", tie, np.where(first == 0, 1.0, RATIO)
        two = np.where(first < 2, 0.0, FAR * RATIO)
        yield "two tie, spreads equal", two, ones
        yield "two tie, they are noisy", two, np.where(first < 2, RATIO, 1.0)
        yield "two tie, they are quiet", two, np.where(first < 2, 1.0, RATIO)
        yield (
            "half tie, they are noisy",
            np.where(first < settings // 2, 0.0, FAR * RATIO),
            np.where(first < settings // 2, RATIO, 1.0),
        )
    yield "one better by 3 sd", np.where(first == 0, 0.0, POWER), ones


def measure(mean: np.ndarray, sd: np.ndarray, seeds: int, turns: int, *, heavy: bool) -> Rates:
    """Compare so many random sweeps; heavy tails are those of Student's t with 5 degrees of freedom."""
    generator, tied = np.random.default_rng(0), mean == mean.max()
    winners, covered, worse = 0, 0, np.zeros(len(mean))
    for _ in range(turns):
        shape = (len(mean), seeds)
        noise = generator.standard_t(5, shape) / np.sqrt(5 / 3) if heavy else generator.standard_normal(shape)
        values = mean[:, None] + sd[:, None] * noise
        order = values.mean(axis=1).argsort()[::-1]
        called = np.zeros(len(mean), bool)
        called[order[1:]] = compare_independent([*values[order]]) <= LEVEL
        winners += tied.sum() > 1 and called.sum() == len(mean) - 1
        worse += called
        freedom, share = np.full(len(mean), seeds - 1), np.full(len(mean), 1 / seeds)
        half = half_widths(values.var(axis=1, ddof=1), freedom, share)
        covered += (np.abs(values.mean(axis=1) - mean) <= half).all()
    power = worse[~tied].mean() / turns if tied.sum() == 1 else np.nan
    return Rates(winners / turns, worse[tied].max() / turns, covered / turns, power)


def main() -> None:
    """Print a line a case, and the worst of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? Few turns; no true rates")
    quick = parser.parse_args().quick
    multiple_comparisons.LIKELY = LEVEL  # who is called worse is the same, and no larger p is worked out
    turns = {2: 20_000, 6: 1_000, 54: 100}
    found: list[Rates] = []
    for settings in (2,) if quick else turns:
        for seeds in (3,) if quick else (2, 3, 5, 10):
            for name, mean, sd in scenes(settings):
                for heavy in (False, True):
                    rates = measure(mean, sd, seeds, 20 if quick else turns[settings], heavy=heavy)
                    power = "" if np.isnan(rates.power) else f"  power {rates.power:.2f}"
                    print(
                        f"{settings:>2} settings {seeds:>2} seeds {name:<24} {'heavy' if heavy else 'normal':<6} "
                        f"false winner {rates.false_winner:.3f}  best lost {rates.best_lost:.3f}  "
                        f"coverage {rates.coverage:.3f}{power}",
                        flush=True,
                    )
                    found.append(rates)
    print(
        f"at worst: false winner {max(each.false_winner for each in found):.3f} (at most 0.05), "
        f"best lost {max(each.best_lost for each in found):.3f} (at most 0.05), "
        f"coverage {min(each.coverage for each in found):.3f} (at least 0.95)"
    )


if __name__ == "__main__":
    main()
