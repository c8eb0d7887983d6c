from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from convgrid.compare import Trials, answer
from convgrid.compare.sentences import share
from synthetic_trials import GRID, make_trials


def given(values: Mapping[Any, list[float]], key: str = "arch.n", **known: Any) -> Trials:
    """One key, a list of results a value; as many multiply-adds as the value is large."""
    rows = [
        {"status": "finished", "reason": "", "name": "", "epochs": 3, "best_epoch": 2, "seconds": 1.0, key: value,
         "seed": seed, "best/val/accuracy": result, "plan.multiply_adds": 1000 * place, "plan.parameters": 100 * place}
        for place, (value, results) in enumerate(values.items(), start=1)
        for seed, result in enumerate(results)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, index=[f"t{number}" for number in range(len(rows))])
    curves = pd.DataFrame(columns=["trial", "epoch", "metric", "value"])
    repetitions = ("seed",) if max(map(len, values.values())) > 1 else ()
    settled: dict[str, Any] = {"metric": "val/accuracy", "mode": "max", "keys": (key,), "repetitions": repetitions}
    return Trials(frame, curves, **{**settled, "swept": (key,), **known})


def test_the_answer_is_a_sentence_with_the_second_best_and_the_smallest_that_is_as_good() -> None:
    trials = given({1: [0.915, 0.918, 0.916], 2: [0.86, 0.862, 0.861], 3: [0.917, 0.919, 0.915]})
    found = answer(trials)
    p = found.settings[1].p
    assert p is not None
    assert found.sentence == (
        "arch.n=3 is best: val/accuracy 0.9170 +- 0.0020 (sd over 3 seeds); second n=1 0.9163, "
        "not distinguishable (p > 0.5); the smallest within one standard error is n=1 with a third of the "
        "multiply-adds"
    )
    assert [each.status for each in found.settings] == ["best", "not distinguishable", "worse"]
    assert found.smallest is found.settings[1]
    assert found.settings[0].spread == pytest.approx(0.002)  # numpy.std([0.917, 0.919, 0.915], ddof=1)
    assert found.warnings == ()


def test_a_planted_winner_is_told_with_its_certainty() -> None:
    found = answer(given({1: [0.90, 0.91, 0.89, 0.9, 0.905], 2: [0.95, 0.951, 0.952, 0.949, 0.95]}))
    assert found.sentence == (
        "arch.n=2 is best: val/accuracy 0.9504 +- 0.0011 (sd over 5 seeds); second n=1 0.9010, worse (p < 0.001); "
        "no smaller setting is within one standard error"
    )


def test_a_best_setting_that_is_the_smallest_is_told_so() -> None:
    found = answer(given({1: [0.95, 0.951, 0.952], 2: [0.90, 0.91, 0.89]}))
    assert found.sentence.endswith("; none has fewer multiply-adds")


def test_less_may_be_better() -> None:
    trials = given({1: [2.0, 2.1, 2.05], 2: [3.0, 3.3, 3.1]}, metric="val/mae", mode="min")
    found = answer(replace(trials, frame=trials.frame.rename(columns={"best/val/accuracy": "best/val/mae"})))
    assert found.sentence.startswith("arch.n=1 is best: val/mae 2.05 +- 0.05 (sd over 3 seeds); second n=2 3.13, worse")
    assert found.pareto["multiply_adds"] == (1,)


def test_settings_that_were_run_once_are_ranked_and_not_compared() -> None:
    found = answer(given({1: [0.9], 2: [0.95], 3: [0.91]}))
    assert [(each.p, each.interval, each.spread, each.status) for each in found.settings[1:]] == [
        (None, None, None, "not compared")
    ] * 2
    assert found.sentence == (
        "arch.n=2 is best: val/accuracy 0.9500; second n=3 0.9100; each setting was run once, which cannot distinguish "
        "a difference from chance: repeat with sweep.seeds=5"
    )
    assert found.smallest is None
    assert any(note.startswith("Each setting was run once") for note in found.notes)


def test_two_seeds_are_compared_and_the_notes_say_how_little_that_tells() -> None:
    found = answer(given({1: [0.93, 0.94], 2: [0.95, 0.96]}))
    assert found.settings[1].status == "not distinguishable"
    assert any(note.startswith("Two seeds say very little") for note in found.notes)


def test_where_the_best_was_run_once_nothing_is_claimed_of_it() -> None:
    found = answer(given({1: [0.9, 0.91, 0.9], 2: [0.96], 3: [0.8, 0.81, 0.82]}))
    assert found.settings[0].status == "best"
    assert {each.status for each in found.settings[1:]} == {"not compared"}
    assert "n=2 was run once, which cannot distinguish a difference from chance" in found.sentence


def test_one_setting_has_nothing_to_be_compared_with() -> None:
    found = answer(given({1: [0.9, 0.91]}, keys=()))
    assert found.sentence == (
        "one setting: val/accuracy 0.9050 +- 0.0071 (sd over 2 seeds); there is nothing to compare it with"
    )


def test_where_no_trial_has_finished_there_is_no_setting() -> None:
    trials = make_trials({"arch.n": (1, 2)}, seeds=1, failed=(0, 1))
    found = answer(trials)
    assert (found.settings, found.sentence) == ((), "no trial has finished")
    assert list(found.failures.values()) == [("000000000000", "000000000001")]


def test_ties_are_broken_by_multiply_adds_and_are_no_difference() -> None:
    found = answer(given({2: [0.9963, 0.9963, 0.9963], 1: [0.9963, 0.9963, 0.9963]}))
    assert found.settings[0].values == {"arch.n": 2}  # of 1,000 multiply-adds
    assert found.settings[1].p == 1.0
    assert found.settings[0].interval == pytest.approx((0.9963, 0.9963))


def test_folds_are_compared_on_the_same_images() -> None:
    folds = [0.80, 0.95, 0.88, 0.91, 0.85]
    trials = given({1: folds, 2: [fold + 0.01 + 0.0001 * place for place, fold in enumerate(folds)]})
    frame = trials.frame.assign(fold=[f"[{seed + 1}, 5]" for seed in trials.frame["seed"]], seed=0)
    paired = answer(replace(trials, frame=frame, repetitions=("fold",)))
    assert "(sd over 5 folds)" in paired.sentence
    assert paired.settings[1].status == "worse"
    assert answer(trials).settings[1].status == "not distinguishable"  # as if seeds: folds scatter much more
    assert any("Nadeau and Bengio" in note for note in paired.notes)


def test_a_fold_that_is_missing_is_left_out_of_the_differences() -> None:
    trials = given({1: [0.8, 0.9, 0.85], 2: [0.81, 0.91]})
    frame = trials.frame.assign(fold=[f"[{seed + 1}, 3]" for seed in trials.frame["seed"]], seed=0)
    found = answer(replace(trials, frame=frame, repetitions=("fold",)))
    assert [each.n for each in found.settings] == [2, 3]
    assert found.settings[1].p is not None
    assert any(warning.startswith("Missing repetitions: n=2 has 2 of 3 folds") for warning in found.warnings)


def test_main_effects_are_the_planted_ones() -> None:
    found = answer(make_trials(spread=0.0005, seeds=5))
    means = {key: {level.value: level.mean for level in levels} for key, levels in found.effects.items()}
    # 0.85 + 0.02 n + 0.01 [m = n] - 0.03 [sgd], averaged by hand over m in (1, 2) and two optimizers
    assert means["arch.n"] == pytest.approx({1: 0.86, 2: 0.88, 3: 0.895}, abs=0.001)
    assert means["optimizer"] == pytest.approx({"adam": 0.8933, "sgd": 0.8633}, abs=0.001)
    for level in found.effects["arch.n"]:
        assert level.interval is not None
        assert level.interval[0] < level.mean < level.interval[1]
        assert (level.n, level.settings) == (20, 4)


def test_effects_of_an_unbalanced_grid_are_told_apart() -> None:
    # adam was tried with n=3 only, where everything is better; additive truth, so least squares finds it exactly
    trials = make_trials(truth=lambda s: 0.8 + 0.05 * s["arch.n"] + 0.01 * (s["optimizer"] == "adam"), spread=1e-9)
    kept = trials.frame[(trials.frame["optimizer"] == "sgd") | (trials.frame["arch.n"] == 3)]
    levels = {level.value: level.mean for level in answer(replace(trials, frame=kept)).effects["optimizer"]}
    assert levels["adam"] - levels["sgd"] == pytest.approx(0.01, abs=1e-6)


def test_a_key_that_only_some_settings_have_is_unset_elsewhere() -> None:
    trials = make_trials({"optimizer": ("adam", "sgd"), "optimizer.momentum": (0.5, 0.9)})
    frame = trials.frame.copy()
    frame.loc[frame["optimizer"] == "adam", "optimizer.momentum"] = np.nan
    found = answer(replace(trials, frame=frame))
    assert [level.value for level in found.effects["optimizer.momentum"]] == [0.5, 0.9, None]
    assert {"optimizer": "adam"} in [dict(each.values) for each in found.settings]


def test_drawn_numbers_are_gathered_in_groups_of_like_size() -> None:
    trials = make_trials({"optimizer.lr": [10 ** (-place / 10) for place in range(30)]}, seeds=1)
    levels = answer(trials).effects["optimizer.lr"]
    assert [level.settings for level in levels] == [6, 6, 6, 6, 6]
    assert levels[0].value == "0.00126 to 0.00398"


def test_interactions_are_means_and_counts_of_each_combination() -> None:
    found = answer(make_trials(spread=0.0005))
    assert [*found.interactions] == [("arch.n", "arch.m"), ("arch.n", "optimizer"), ("arch.m", "optimizer")]
    table = found.interactions["arch.n", "arch.m"]
    assert (table.rows, table.columns) == ((1, 2, 3), (1, 2))
    # the planted bonus of 0.01 where m = n, less 0.015 for half of the settings being sgd
    expected = [[0.865, 0.855], [0.875, 0.885], [0.895, 0.895]]
    assert np.array(table.means) == pytest.approx(np.array(expected), abs=0.001)
    assert table.counts == ((6, 6), (6, 6), (6, 6))


def test_what_matters_is_found_and_what_does_not_is_not() -> None:
    found = answer(make_trials({**GRID, "arch.k": (0, 1)}, spread=0.0005))
    assert [*found.importance][:2] == ["optimizer", "arch.n"]
    assert sum(found.importance.values()) == pytest.approx(1)
    assert found.importance["arch.k"] < 0.01
    # shares of the planted variance by hand: 0.03^2/4 of the optimizer, var(0.86, 0.88, 0.895) of arch.n
    parts = 0.03**2 / 4, np.var([0.86, 0.88, 0.895])
    assert found.importance["optimizer"] == pytest.approx(parts[0] / sum(parts), abs=0.1)
    assert answer(make_trials({**GRID, "arch.k": (0, 1)}, spread=0.0005)).importance == found.importance


def test_importance_is_not_told_of_noise_or_of_one_key() -> None:
    noise = answer(make_trials(truth=lambda _: 0.9, spread=0.01))
    assert noise.importance == {}
    assert any("differ no more than their repetitions do" in note for note in noise.notes)
    assert answer(make_trials({"arch.n": (1, 2, 3, 4)})).importance == {}


def test_fronts_hold_the_settings_that_none_beats() -> None:
    found = answer(given({1: [0.9, 0.9], 2: [0.89, 0.89], 3: [0.95, 0.95], 4: [0.94, 0.94]}))
    assert found.pareto["multiply_adds"] == (3, 1)  # places; n=1 and n=3
    assert [found.settings[place - 1].values["arch.n"] for place in found.pareto["parameters"]] == [1, 3]


def test_the_test_metric_is_of_the_chosen_setting_and_says_how_much_choosing_flatters() -> None:
    trials = make_trials({"arch.n": tuple(range(1, 21))}, truth=lambda _: 0.9, spread=0.01)
    tested = answer(trials).chosen_test
    assert tested is not None
    chosen = trials.frame.loc[list(answer(trials).settings[0].trials), "test/accuracy"]
    assert (tested.mean, tested.n) == (pytest.approx(chosen.mean()), 3)
    assert "chosen as the best of 20 by val/accuracy, which flatters that value by about" in tested.words
    # of 20 equal settings the best of the means is sd / sqrt(3) * 1.867 too good (order statistics of a normal)
    flattered = float(tested.words.partition("by about ")[2].partition(";")[0])
    assert 0.2 * 0.01 / 3**0.5 * 1.867 < flattered < 1.2 * 0.01 / 3**0.5 * 1.867
    assert answer(given({1: [0.9], 2: [0.8]})).chosen_test is None


def test_the_notes_give_the_binomial_size_of_the_validation_images() -> None:
    trials = given({1: [0.9, 0.9, 0.9], 2: [0.8, 0.81, 0.8]})
    counted = replace(trials, frame=trials.frame.assign(**{"data.images.validation": 600.0}))
    error = float(np.sqrt(0.9 * 0.1 / 600))
    assert any(f"by about {error:.2g} (binomial, 600 images)" in note for note in answer(counted).notes)
    assert any("sqrt(a (1 - a) / images)" in note for note in answer(trials).notes)


def test_failures_that_differ_in_numbers_only_are_one_reason() -> None:
    found = answer(make_trials(failed=(3, 6, 10)))
    assert list(found.failures.items()) == [
        ("ValueError: no room for 3 MiB", ("000000000003", "000000000006", "00000000000a"))
    ]


def test_intervals_of_shares_end_at_0_and_1_and_hold_the_mean() -> None:
    for each in answer(given({1: [0.99, 0.97, 1.0], 2: [0.01, 0.03, 0.0]})).settings:
        assert each.interval is not None
        assert 0 <= each.interval[0] <= each.mean <= each.interval[1] <= 1


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [(34, 100, "a third of"), (50, 100, "half of"), (40, 100, "40 % of"), (1, 1000, "0.1 % of"), (99, 100, "as many")],
)
def test_a_cost_is_a_part_of_another_in_words(part: int, whole: int, words: str) -> None:
    assert share(part, whole) == words
