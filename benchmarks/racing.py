"""How often a race errs, and how many trials it saves, where the truth is known.

Usage: python benchmarks/racing.py [--quick]

Settings have spreads that are equal, lognormal, or five times as large for one or for half of them. The truth is that
all tie, that two do and the others are five standard deviations behind, that one is better by so many, a ladder of
steps of one, or that a third are within one of the best. A difference of one is tolerated. Of many races:

- false winner: of settings that tie for the best, one is called better than all others (at most 5 %);
- good left: something within the tolerance is still in question at the end (at least 99 %);
- conclusive: the best is told from all others, or is within the tolerance;
- fixed: the same comparison of as many trials, with as many seeds for each setting, is conclusive.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from convgrid.compare.multiple_comparisons import Levels, fixed
from convgrid.compare.racing import HOPELESS, LOOKS, NEEDED
from many_sweeps import noise, worse

TOLERANCE = 1.0
MAX_SEEDS = max(LOOKS)
TRIED = (3, 5, 8, 10, 13, 16, 20)  # seeds each, fixed beforehand
SETTINGS = {6: 4000, 16: 2000, 54: 1000}  # races of so many
HEADS = (
    "settings  spreads    truth       seeds each  conclusive  fixed, as many  fixed, as conclusive  false winner  "
    "good left"
)


@dataclass
class Races:
    """What many races came to.

    Args:
        left: Settings still in question, shape (R, S).
        conclusive: Shape (R,).
        trials: That each took, shape (R,).
    """

    left: np.ndarray
    conclusive: np.ndarray
    trials: np.ndarray


def run(values: np.ndarray, tolerance: float) -> Races:
    """Race settings against each other, many races at once, as `convgrid.compare.racing` does one.

    Args:
        values: More is better, shape (R, S, 20).
    """
    turns, settings, _ = values.shape
    left, conclusive = np.ones((turns, settings), bool), np.zeros(turns, bool)
    trials, rows, before = np.zeros(turns, int), np.arange(turns), 0
    for seeds, levels in LOOKS.items():
        trials[rows] += left[rows].sum(axis=1) * (seeds - before)
        before, drawn = seeds, values[rows, :, :seeds]
        left[rows] &= ~worse(drawn, levels, among=left[rows])
        there = left[rows]
        without = Levels(levels.step_down, 0.0)
        near = worse(drawn, without, among=there, tolerance=tolerance).sum(axis=1) == there.sum(axis=1) - 1
        conclusive[rows] = near  # also where one is left
        rows = rows[~near & ~((seeds > min(LOOKS)) & _is_hopeless(drawn, there, tolerance))]
    return Races(left, conclusive, trials)


def _is_hopeless(values: np.ndarray, left: np.ndarray, tolerance: float) -> np.ndarray:
    mean, variance = np.where(left, values.mean(axis=2), -np.inf), values.var(axis=2, ddof=1)
    best = mean.argmax(axis=1)[:, None]
    apart = np.take_along_axis(mean, best, 1) - mean + tolerance
    others = left & (np.arange(left.shape[1]) != best)
    needed = NEEDED * (np.take_along_axis(variance, best, 1) + variance) / apart**2
    return np.where(others, needed, 0.0).max(axis=1) > HOPELESS * MAX_SEEDS


def truths(settings: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name and means, in standard deviations of the quieter settings."""
    place = np.arange(settings)
    yield "all tie", np.zeros(settings)
    yield "two tie", np.where(place < 2, 0.0, -5.0)
    for better in (1.0, 2.0, 3.0):
        yield f"one by {better:g} sd", np.where(place == 0, 0.0, -better)
    yield "ladder", -1.0 * place
    yield "many near", np.where(place < settings // 3, -place / (settings // 3), -3.0)


def spreads(settings: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name and standard deviations."""
    place = np.arange(settings)
    yield "equal", np.ones(settings)
    yield "lognormal", np.exp(0.5 * np.random.default_rng(1).standard_normal(settings))
    yield "one noisy", np.where(place == 0, 5.0, 1.0)
    yield "half noisy", np.where(place % 2 == 0, 5.0, 1.0)


def conclusive(values: np.ndarray) -> float:
    """The share of sweeps of so many seeds each that tell the best from all others, or within the tolerance."""
    others, levels = values.shape[1] - 1, fixed(values.shape[1])
    told = worse(values, levels).sum(axis=1) == others
    near = worse(values, Levels(levels.step_down, 0.0), tolerance=TOLERANCE).sum(axis=1) == others
    return float((told | near).mean())


def needed(values: np.ndarray, share: float) -> str:
    """The fewest of `TRIED` that are conclusive as often."""
    return next((str(seeds) for seeds in TRIED if conclusive(values[..., :seeds]) >= share), "more")


def main() -> None:
    """Print a line a case, and the worst of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? Few turns; no true rates")
    quick, worst = parser.parse_args().quick, {"normal": (0.0, 1.0), "heavy": (0.0, 1.0), "skewed": (0.0, 1.0)}
    print(HEADS)
    for settings in (3,) if quick else SETTINGS:
        turns = 4 if quick else SETTINGS[settings]
        cases = [(*one, *other) for one in spreads(settings) for other in truths(settings)]
        for spread, sd, truth, mean in cases:
            for kind, (false_before, good_before) in worst.items():
                values = mean[:, None] + sd[:, None] * noise(
                    np.random.default_rng(0), (turns, settings, MAX_SEEDS), kind
                )
                raced, tied = run(values, TOLERANCE), mean == mean.max()
                false_winner = float(tied.sum() > 1) * (raced.left.sum(axis=1) == 1).mean()
                good = raced.left[:, mean >= mean.max() - TOLERANCE].any(axis=1).mean()
                worst[kind] = max(false_before, false_winner), min(good_before, good)
                if kind != "normal":
                    continue
                each, share = raced.trials.mean() / settings, raced.conclusive.mean()
                same = conclusive(values[..., : max(2, round(each))])
                print(
                    f"{settings:>8}  {spread:<10} {truth:<11} {each:11.1f}  {100 * share:8.0f} %  {100 * same:12.0f} %"
                    f"  {needed(values, share):>20}  {false_winner:12.3f}  {good:9.4f}",
                    flush=True,
                )
    for kind, (false_winner, good) in worst.items():
        print(f"at worst, {kind}: false winner {false_winner:.3f} (at most 0.05), good left {good:.4f} (at least 0.99)")


if __name__ == "__main__":
    main()
