"""What would settle a comparison that is not conclusive, against simulation."""

from dataclasses import replace

import numpy as np
import pytest

from convgrid.compare import answer
from convgrid.compare.forecast import needed_seeds
from convgrid.compare.multiple_comparisons import LEVEL, compare_independent
from convgrid.compare.ranking import samples
from convgrid.compare.trials import Trials
from synthetic_trials import make_trials

PAIR = {"arch.n": (1, 2)}


def near(apart: float, *, seeds: int = 3, spread: float = 0.003, **known: str) -> Trials:
    """Two settings whose means are exactly so far apart, and whose spreads are exactly that."""
    trials = make_trials(PAIR, lambda point: 0.9, spread=spread, seeds=seeds)
    shape = np.linspace(-1, 1, seeds)
    shape *= spread / shape.std(ddof=1)
    for n, mean in ((1, 0.9), (2, 0.9 + apart)):
        trials.frame.loc[trials.frame["arch.n"] == n, trials.objective] = mean + shape
    return replace(trials, **known)


def test_what_would_settle_it_is_said_as_a_range_with_the_command() -> None:
    trials = near(0.006, command="python run.py -m arch.n=1,2 sweep.seeds=3 trainer.max_epochs=2")
    # n = 2 + (2.34 + 0.5 ln 2)^2 * 2 * 0.003^2 / 0.006^2 = 5.6; 0.4 and 2 times that are 2.2 and 11.2
    assert answer(trials).settles == (
        "About 3 more seeds each, perhaps 1 to 9, would settle it: "
        "python run.py -m arch.n=1,2 trainer.max_epochs=2 sweep.seeds=6"
    )
    assert answer(near(0.006, command="")).settles.endswith("would settle it: sweep.seeds=6")


def test_a_difference_that_is_too_small_is_left_to_a_race() -> None:
    told = answer(near(0.0001, command="python run.py -m arch.n=1,2 sweep.seeds=3")).settles
    assert told == (
        "n=1 is so near that more than 50 more seeds each would be needed to settle it. If differences up to 0.003 do "
        "not matter, a race ends sooner: python run.py -m arch.n=1,2 sweep.seeds=auto sweep.tolerance=0.003"
    )
    assert "is so near" in answer(near(0.0)).settles


@pytest.mark.parametrize("seeds", [1, 3])
def test_nothing_is_said_where_all_is_told_or_was_run_once(seeds: int) -> None:
    assert answer(make_trials(PAIR, lambda point: point["arch.n"] / 3, seeds=seeds)).settles == ""


def test_nothing_is_said_of_a_sweep_that_goes_on_or_has_folds() -> None:
    trials = near(0.006)
    assert answer(replace(trials, left=1)).settles == ""
    folds = replace(trials, frame=trials.frame.rename(columns={"seed": "fold"}), repetitions=("fold",))
    assert answer(folds).settles == ""


def test_so_many_seeds_settle_it_in_about_eight_cases_of_ten() -> None:
    generator, apart = np.random.default_rng(0), 2.0
    trials = near(0.006)
    needed = round(needed_seeds(samples(trials), [1]))  # 0.006 is two standard deviations
    values = generator.standard_normal((300, 2, needed))
    values[:, 0] += apart
    told = [compare_independent([*pair])[0] <= LEVEL for pair in values]
    assert np.mean(told) == pytest.approx(0.8, abs=0.12)
