"""Races whose truth is planted: who is out when, why it ends, and how many trials it took."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from convgrid.compare import answer
from convgrid.compare.racing import Race, RaceRules, race
from convgrid.compare.trials import Trials

SD = 0.003


def draws(means: Sequence[float], sd: float = SD, seed: int = 0) -> list[list[float]]:
    generator = np.random.default_rng(seed)
    return [(mean + sd * generator.standard_normal(20)).tolist() for mean in means]


def run(values: Sequence[Sequence[float]], rules: RaceRules, mode: str = "max") -> tuple[Race, list[list[float]]]:
    """Give each setting in question what it asks for, look after look."""
    results: list[list[float]] = [[] for _ in values]
    while (state := race(results, rules, mode)).ending is None:
        for place in state.left:
            results[place] = [*values[place][: state.seeds]]
    return state, results


def test_a_clear_winner_takes_three_seeds_each() -> None:
    state, _ = run(draws([0.90, 0.93, 0.89, 0.88]), RaceRules(4, 0.001, 20, None))
    assert (state.ending, state.left, state.trials) == ("best", (1,), 12)
    assert state.out == {0: 3, 2: 3, 3: 3}


def test_less_may_be_better() -> None:
    state, _ = run(draws([0.90, 0.93, 0.89, 0.80]), RaceRules(4, 0.001, 20, None), "min")
    assert (state.ending, state.left, state.trials) == ("best", (3,), 12)


def test_a_tie_ends_where_none_is_better_by_more_than_the_tolerance() -> None:
    state, _ = run(draws([0.93, 0.93, 0.70, 0.70]), RaceRules(4, 0.05, 20, None))
    assert (state.ending, sorted(state.left), state.out, state.trials) == ("tie", [0, 1], {2: 3, 3: 3}, 12)
    wider, _ = run(draws([0.93, 0.93, 0.70, 0.70]), RaceRules(4, 0.005, 20, None))
    assert (wider.ending, sorted(wider.left)) == ("tie", [0, 1])
    assert wider.trials > 12


def test_a_ladder_loses_its_lowest_first_and_ends_at_its_top() -> None:
    state, results = run(draws([0.93 - 0.005 * step for step in range(6)]), RaceRules(6, 0.001, 20, None))
    assert (state.ending, state.left) == ("best", (0,))
    assert [state.out[place] for place in range(1, 6)] == sorted((state.out[p] for p in range(1, 6)), reverse=True)
    assert len(set(state.out.values())) > 1
    assert state.trials == sum(map(len, results)) < 6 * 20
    assert [len(values) for values in results[1:]] == [state.out[place] for place in range(1, 6)]


def test_settings_that_tie_without_a_tolerance_are_told_to_be_hopeless() -> None:
    state, _ = run(draws([0.93] * 4), RaceRules(4, None, 20, 1000))
    assert (state.ending, state.out) == ("hopeless", {})
    assert state.seeds in (5, 8, 13)
    samples = [np.array(values[: state.seeds]) for values in draws([0.93] * 4)]
    first, *others = sorted(samples, key=lambda each: -each.mean())
    needed = [9 * (first.var(ddof=1) + each.var(ddof=1)) / (first.mean() - each.mean()) ** 2 for each in others]
    assert state.needed == pytest.approx(max(needed))
    assert state.needed > 50


def test_a_budget_is_never_exceeded() -> None:
    values = draws([0.93] * 4)
    state, results = run(values, RaceRules(4, 0.0001, 20, 19))
    assert (state.ending, state.trials, sum(map(len, results))) == ("budget", 12, 12)
    assert run(values, RaceRules(4, 0.0001, 20, 20))[0].trials == 20


def test_the_most_seeds_are_looked_at_last() -> None:
    assert list(RaceRules(4, 0.001, 10, None).looks) == [3, 5, 8, 10]
    assert list(RaceRules(4, 0.001, 20, None).looks) == [3, 5, 8, 13, 20]
    state, _ = run(draws([0.93] * 4), RaceRules(4, 0.0001, 3, None))
    assert (state.ending, state.seeds, state.trials) == ("seeds", 3, 12)


def test_the_levels_of_all_looks_are_less_than_five_percent_together() -> None:
    assert sum(levels.step_down for levels in RaceRules(4, None, 20, 100).looks.values()) == pytest.approx(0.047)
    assert all(levels.winner < levels.step_down for levels in RaceRules(4, None, 20, 100).looks.values())


def test_a_setting_of_which_a_trial_failed_is_out_of_the_race() -> None:
    values = draws([0.99, 0.93, 0.70])
    values[0][2] = math.nan
    state, _ = run(values, RaceRules(3, 0.001, 20, None))
    assert (state.ending, state.left, state.failed, state.out) == ("best", (1,), (0,), {2: 3})
    assert run([[math.nan] * 20] * 3, RaceRules(3, 0.001, 20, None))[0].ending == "failed"


def test_a_look_waits_for_all_results() -> None:
    values = draws([0.93, 0.90])
    results: list[list[float | None]] = [[*values[0][:3]], [values[1][0], None, values[1][2]]]
    state = race(results, RaceRules(2, 0.001, 20, None), "max")
    assert (state.ending, state.seeds, state.left, state.out) == (None, 3, (0, 1), {})


# --- what is told


def trials_of(results: Sequence[Sequence[float]], rules: RaceRules) -> Trials:
    """The more multiply-adds, the greater arch.n."""
    rows = [
        {"status": "finished", "reason": "", "name": "", "epochs": 3, "best_epoch": 2, "seconds": 1.0, "arch.n": place,
         "seed": seed, "best/val/accuracy": result, "test/accuracy": result, "plan.multiply_adds": 1000 * (place + 1)}
        for place, values in enumerate(results)
        for seed, result in enumerate(values)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, index=[f"t{number}" for number in range(len(rows))])
    curves = pd.DataFrame(columns=["trial", "epoch", "metric", "value"])
    return Trials(frame, curves, "val/accuracy", "max", ("arch.n",), ("seed",), swept=("arch.n",), race=rules)


def raced(means: Sequence[float], rules: RaceRules) -> Trials:
    return trials_of(run(draws(means), rules)[1], rules)


def test_a_race_is_told_by_its_verdict_without_p_and_intervals() -> None:
    found = answer(raced([0.90, 0.93, 0.89], RaceRules(3, 0.001, 20, None)))
    assert found.sentence.startswith("arch.n=1 is best: val/accuracy 0.93")
    assert found.sentence.endswith("(sd over 3 seeds); a race of 9 trials told it from all 2 others")
    assert [each.status for each in found.settings] == ["best", "out", "out"]
    assert {each.p for each in found.settings} == {each.interval for each in found.settings} == {None}
    assert all(level.interval is None for levels in found.effects.values() for level in levels)
    assert found.warnings == ()
    assert found.chosen_test is not None
    assert "by an unknown amount" in found.chosen_test.words


TIED = [[0.930, 0.931, 0.932], [0.932, 0.933, 0.931], [0.70, 0.71, 0.70]]


def test_a_tie_is_told_with_the_smallest_in_question() -> None:
    found = answer(trials_of(TIED, RaceRules(3, 0.05, 20, None)))
    assert found.sentence == (
        "arch.n=1 is best: val/accuracy 0.9320 +- 0.0010 (sd over 3 seeds); 1 other is still in question, none better "
        "by more than 0.05; the smallest within that is n=0 with half of the multiply-adds"
    )
    assert [each.status for each in found.settings] == ["best", "in question", "out"]
    best_is_smallest = answer(trials_of([TIED[1], TIED[0], TIED[2]], RaceRules(3, 0.05, 20, None)))
    assert best_is_smallest.sentence.endswith("by more than 0.05")


def test_a_setting_that_is_out_stands_below_those_in_question_whatever_its_mean() -> None:
    first = [[0.90, 0.90, 0.901], [0.93, 0.931, 0.932], [0.931, 0.93, 0.932]]
    more = [0.5, 0.5]  # the two in question come to less than the one that is out
    results = [first[0], [*first[1], *more], [*first[2], *more]]
    found = answer(trials_of(results, RaceRules(3, None, 5, 1000)))
    assert [(each.values["arch.n"], each.status, each.n) for each in found.settings] == [
        (1, "in question", 5), (2, "in question", 5), (0, "out", 3),
    ]  # fmt: skip
    assert found.settings[2].mean > found.settings[0].mean


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (RaceRules(4, 0.0001, 20, 19), "undecided after 12 trials: arch.n="),
        (RaceRules(4, 0.0001, 3, None), "undecided after 3 seeds, the most allowed: arch.n="),
        (RaceRules(4, None, 20, 1000), "undecided: arch.n="),
    ],
)
def test_a_race_that_does_not_tell_says_why(rules: RaceRules, told: str) -> None:
    found = answer(raced([0.93] * 4, rules))
    assert found.sentence.startswith(told)
    assert "3 others are still in question" in found.sentence
    assert {each.status for each in found.settings} == {"in question"}


def test_a_race_that_was_cut_off_is_not_told_to_be_over() -> None:
    trials = raced([0.90, 0.93, 0.89], RaceRules(3, 0.001, 20, None))
    found = answer(replace(trials, frame=trials.frame.iloc[:-1]))
    assert found.sentence.startswith("the race has not ended: arch.n=1 leads: ")
    assert found.sentence.endswith("; 3 of 3 are in question")
    nothing_of_one = trials.frame[trials.frame["arch.n"] > 0]
    assert answer(replace(trials, frame=nothing_of_one)).sentence.startswith("the race has not ended: ")


def test_a_race_whose_other_settings_failed_has_nothing_to_compare_with() -> None:
    trials = trials_of([[0.9, 0.91, 0.92], [0.8, 0.81, 0.82]], RaceRules(2, 0.001, 20, None))
    frame = trials.frame.copy()
    frame.loc["t4", ["status", "best/val/accuracy"]] = "failed", math.nan
    found = answer(replace(trials, frame=frame))
    assert found.sentence == (
        "arch.n=0 is best: val/accuracy 0.910 +- 0.010 (sd over 3 seeds); there is nothing to compare it with"
    )
    assert [each.status for each in found.settings] == ["best", "not compared"]
