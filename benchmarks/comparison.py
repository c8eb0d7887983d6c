"""How often a comparison errs, and how often it sees a true difference, where the truth is known.

Usage: python benchmarks/comparison.py [--quick]

For so many settings and seeds (or folds, whose trainings overlap), and for noise that is normal, heavy-tailed or
skewed, the worst of many scenes, in which settings tie for the best, spreads are equal or some are 2, 3 or 5 times as
large, and the others are 1.5 to 150 standard deviations behind:

- false winner: of settings that tie for the best, one is called better than all others (at most 5 %);
- best lost: one given setting of those that tie for the best is called worse (at most 5 %; the worst of them);
- coverage: the intervals of all means hold together (at least 95 %).

A line also says how far chance moves a rate of 5 % in so many turns. Then the power: how often one setting that is
worse by so much, as all others are, is called worse, and how often all are.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from convgrid.compare.multiple_comparisons import fixed, overlap
from many_sweeps import half_widths, noise, worse

TURNS = {2: 200_000, 6: 40_000, 16: 20_000, 54: 8_000}  # by settings
SEEDS, FOLDS = (2, 3, 5, 10), (3, 5, 10)
RATIOS = (2.0, 3.0, 5.0)
BEHIND = (1.5, 3.0, 5.0, 8.0, 150.0)  # in standard deviations of the quieter settings
DIFFERENCES = (2.0, 3.0, 4.0)
HEADS = "settings  repetitions  noise    false winner  best lost  coverage  +- chance  scene of the false winner"


class Rates(NamedTuple):
    """Shares of the turns."""

    false_winner: float
    best_lost: float
    coverage: float


class Scene(NamedTuple):
    """What is true: means and standard deviations, shape (S,)."""

    name: str
    mean: np.ndarray
    sd: np.ndarray


def scenes(settings: int) -> Iterator[Scene]:
    """All settings tie, or two, or half of them; spreads are equal, or not."""
    tie, first = np.zeros(settings), np.arange(settings)
    yield Scene("all tie", tie, np.ones(settings))
    for ratio in RATIOS:
        yield Scene(f"all tie, one noisy ({ratio:g})", tie, np.where(first == 0, ratio, 1.0))
        if settings > 2:
            yield Scene(f"all tie, some noisy ({ratio:g})", tie, np.where(first < max(2, settings // 12), ratio, 1.0))
            yield Scene(f"all tie, half noisy ({ratio:g})", tie, np.where(first < settings // 2, ratio, 1.0))
            yield Scene(f"all tie, one quiet ({ratio:g})", tie, np.where(first == 0, 1.0, ratio))
            half = np.where(first < settings // 2, 0.0, -150.0)
            yield Scene(f"half tie, they are noisy ({ratio:g})", half, np.where(first < settings // 2, ratio, 1.0))
    for behind in BEHIND if settings > 2 else ():
        two = np.where(first < 2, 0.0, -behind)
        yield Scene(f"two tie, others {behind:g} behind", two, np.ones(settings))
        for ratio in RATIOS:
            told = f"({ratio:g}), others {behind:g} behind"
            yield Scene(f"two tie, one noisy {told}", two, np.where(first == 0, ratio, 1.0))
            yield Scene(f"two tie, they are noisy {told}", two, np.where(first < 2, ratio, 1.0))
            yield Scene(f"two tie, they are quiet {told}", two, np.where(first < 2, 1.0, ratio))


def draw(scene: Scene, repetitions: int, turns: int, kind: str, *, folds: bool) -> np.ndarray:
    """Draw so many sweeps; the results of one setting in n folds correlate by 1/n (Nadeau and Bengio)."""
    generator, settings = np.random.default_rng(0), len(scene.mean)
    drawn = noise(generator, (turns, settings, repetitions), kind)
    if folds:
        common = noise(generator, (turns, settings, 1), kind)
        drawn = np.sqrt(1 / repetitions) * common + np.sqrt(1 - 1 / repetitions) * drawn
    return scene.mean[:, None] + scene.sd[:, None] * drawn


def measure(scene: Scene, repetitions: int, turns: int, kind: str, *, folds: bool) -> Rates:
    """Compare so many random sweeps of settings of which some tie."""
    values = draw(scene, repetitions, turns, kind, folds=folds)
    called, tied = worse(values, fixed(len(scene.mean)), paired=folds), scene.mean == scene.mean.max()
    share = overlap(np.array([repetitions]))[0] if folds else 1 / repetitions
    half = half_widths(values.var(axis=2, ddof=1), repetitions, share)
    return Rates(
        (called.sum(axis=1) == len(tied) - 1).mean(),
        called[:, tied].mean(axis=0).max(),
        (np.abs(values.mean(axis=2) - scene.mean) <= half).all(axis=1).mean(),
    )


def power(settings: int, difference: float, repetitions: int, turns: int) -> tuple[float, float]:
    """How often one setting is called worse, and how often all are, of those that are worse by so much."""
    scene = Scene("one better", np.where(np.arange(settings) == 0, 0.0, -difference), np.ones(settings))
    called = worse(draw(scene, repetitions, turns, "normal", folds=False), fixed(settings))
    return called[:, 1:].mean(), (called.sum(axis=1) == settings - 1).mean()


def worst(settings: int, repetitions: int, turns: int, kind: str, folds: bool) -> tuple[Rates, str]:
    """The worst rates of all scenes, and the scene of the false winners."""
    found = [(measure(scene, repetitions, turns, kind, folds=folds), scene.name) for scene in scenes(settings)]
    rates = [each for each, _ in found]
    return (
        Rates(
            max(each.false_winner for each in rates),
            max(each.best_lost for each in rates),
            min(each.coverage for each in rates),
        ),
        max(found)[1],
    )


def errors(
    processes: Executor, turns: dict[int, int], repetitions: Iterable[int], kind: str, *, folds: bool
) -> Iterator[Rates]:
    """Print a line for so many settings and repetitions; give the worst of each."""
    word = "folds" if folds else "seeds"
    cases = [(settings, count) for settings in turns for count in repetitions]
    found = [processes.submit(worst, settings, count, turns[settings], kind, folds) for settings, count in cases]
    for (settings, count), future in zip(cases, found, strict=True):
        rates, where = future.result()
        print(
            f"{settings:>8}  {count:>5} {word}  {kind:<6}   {rates.false_winner:>12.4f}  {rates.best_lost:>9.4f}  "
            f"{rates.coverage:>8.4f}  {np.sqrt(0.05 * 0.95 / turns[settings]):>9.4f}  {where}",
            flush=True,
        )
        yield rates


def main() -> None:
    """Print what goes wrong, and what is seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? Few turns; no true rates")
    quick = parser.parse_args().quick
    with ThreadPoolExecutor() if quick else ProcessPoolExecutor() as processes:
        report(processes, *(({2: 20, 6: 20}, (3,), (3,)) if quick else (TURNS, SEEDS, FOLDS)))


def report(processes: Executor, turns: dict[int, int], seeds: Sequence[int], folds: Sequence[int]) -> None:
    """Print a line a case."""
    print(HEADS)
    found = [
        *errors(processes, turns, seeds, "normal", folds=False),
        *errors(processes, turns, seeds, "heavy", folds=False),
        *errors(processes, {count: turns[count] for count in turns if count > 2}, folds, "normal", folds=True),
    ]
    print(
        f"at worst: false winner {max(each.false_winner for each in found):.4f} (at most 0.05), "
        f"best lost {max(each.best_lost for each in found):.4f} (at most 0.05), "
        f"coverage {min(each.coverage for each in found):.4f} (at least 0.95)"
    )
    print("beyond what is promised, noise with a long tail to one side:")
    [*_] = errors(processes, turns, seeds, "skewed", folds=False)
    print("power: one setting is seen (all are), by the difference in standard deviations and by seeds")
    for settings in turns:
        for difference in DIFFERENCES:
            cells = (power(settings, difference, count, turns[settings]) for count in seeds)
            told = "  ".join(
                f"{count} {one:.2f} ({every:.2f})" for count, (one, every) in zip(seeds, cells, strict=True)
            )
            print(f"{settings:>8}  {difference:g} sd  {told}", flush=True)


if __name__ == "__main__":
    main()
