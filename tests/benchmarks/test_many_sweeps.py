"""The benchmarks' comparison of many sweeps at once decides as the one that users get."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from convgrid.compare import multiple_comparisons
from convgrid.compare.multiple_comparisons import Levels, compare_independent, compare_paired, fixed
from convgrid.compare.racing import RaceRules, race

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SD = np.array([3.0, 3.0, 1.0, 1.0, 1.0, 1.0])


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


def drawn(turns: int, settings: int, repetitions: int) -> np.ndarray:
    """Of settings that tie, are near, or far behind."""
    generator = np.random.default_rng(5)
    mean = -generator.choice([0.0, 2.0, 6.0, 20.0], (turns, settings))
    noise = generator.standard_normal((turns, settings, repetitions))
    return mean[:, :, None] + SD[:settings, None] * noise


@pytest.mark.parametrize(
    ("settings", "seeds", "levels", "tolerance", "paired"),
    [
        (5, 3, None, 0.0, False), (2, 3, None, 0.0, False), (4, 2, Levels(0.05, 0.04), 0.0, False),
        (5, 5, Levels(0.01, 0.0), 0.7, False), (5, 3, None, 0.0, True), (3, 5, None, 0.0, True),
    ],
)  # fmt: skip
def test_many_sweeps_are_decided_as_one(
    settings: int, seeds: int, levels: Levels | None, tolerance: float, paired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from many_sweeps import worse

    used, values = levels or fixed(settings), drawn(12, settings, seeds)
    monkeypatch.setattr(multiple_comparisons, "LIKELY", used.step_down)  # no larger p is worked out
    one_by_one = np.zeros((len(values), settings), bool)
    for row, sweep in zip(one_by_one, values, strict=True):
        order = sweep.mean(axis=1).argsort()[::-1]
        samples = [*sweep[order]]
        p = compare_paired(samples) if paired else compare_independent(samples, levels, tolerance=tolerance)
        row[order[1:]] = p <= (levels.step_down if levels else multiple_comparisons.LEVEL)
    assert (worse(values, used, paired=paired, tolerance=tolerance) == one_by_one).all()
    assert 0 < one_by_one.mean() < 0.9  # some are told, some are not


def test_critical_values_are_those_of_tukeys_range() -> None:
    from many_sweeps import critical

    for settings, level, freedom in ((3, 0.05, 1.3), (16, 0.05, 4.4), (54, 0.0025, 3.1)):
        (value,) = critical(settings, level, np.array([freedom]))
        assert stats.studentized_range.sf(value, settings, freedom) == pytest.approx(level, rel=1e-4)


def test_many_races_end_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import racing

    monkeypatch.setattr(multiple_comparisons, "LIKELY", 0.02)
    values = drawn(8, 3, 20)
    many, rules = racing.run(values, 1.5), RaceRules(3, 1.5, 20, None)
    endings = set()
    for place, sweep in enumerate(values):
        one = race(sweep.tolist(), rules, "max")
        assert [*np.flatnonzero(many.left[place])] == sorted(one.left)
        assert many.trials[place] == one.trials
        assert many.conclusive[place] == (one.ending in ("best", "tie"))
        endings.add(one.ending)
    assert endings == {"best", "tie", "hopeless", "seeds"}
