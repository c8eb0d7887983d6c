from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from convgrid.compare import Trials, answer
from convgrid.compare.fairness import CIRCUMSTANCES, RESULTS, warnings
from convgrid.compare.ranking import samples
from synthetic_trials import make_trials


def told(trials: Trials) -> tuple[str, ...]:
    return warnings(samples(trials), trials)


def changed(trials: Trials, key: str, *values: Any) -> Trials:
    """The first value in the first trials, and so on, in equal shares."""
    column = [values[place * len(values) // len(trials.frame)] for place in range(len(trials.frame))]
    return replace(trials, frame=trials.frame.assign(**{key: column}))


def test_a_fair_comparison_is_told_without_a_word() -> None:
    assert told(make_trials()) == ()
    assert told(make_trials(seeds=1)) == ()


@pytest.mark.parametrize(
    ("key", "values", "word"),
    [
        ("data", ("digits", "mnist"), "Different data, on which results are not comparable"),
        ("data.digest", ("a1", "b2"), "Different data"),
        ("data.limit", (0, 600), "Different data"),
        ("data.split_seed", (0, 1), "Different divisions into training and validation"),
        ("data.split", ("[0.8, 0.2]", "[0.9, 0.1]"), "Different divisions"),
        ("data.group", ("None", "patient"), "Different groups"),
        ("objective.metric", ("auto", "val/f1"), "Different objectives"),
        ("trainer.max_epochs", (10, 20), "Different lengths of training"),
        ("augment", ("none", "cifar"), "Different augmentation"),
        ("imbalance.class_weights", ("none", "balanced"), "Different weights of classes"),
        ("trainer.precision", ("32-true", "bf16-mixed"), "Different precision"),
        ("tag.code.own_layers", ("a1", "b2"), "Different code of your own components"),
        ("tag.device", ("cpu", "H100"), "Different devices"),
        ("tag.git.commit", ("aaaa", "bbbb"), "Different versions of the code"),
        ("tag.git.dirty", ("true", "false"), "Changes of the code that were not committed"),
        ("tag.host", ("here", "there"), "Different machines"),
    ],
)
def test_what_differs_though_nobody_asked_is_told(key: str, values: tuple[Any, Any], word: str) -> None:
    (warning,) = told(changed(make_trials(), key, *values))
    name = key.removeprefix("tag.")
    assert warning.startswith(word)
    assert f"{name}={values[0]} (18 trials)" in warning
    assert f"{name}={values[1]} (18 trials)" in warning


def test_every_check_of_sameness_is_tested() -> None:
    assert len(RESULTS) + len(CIRCUMSTANCES) == 12  # as many kinds as the test above has; add a row there for another


def test_what_was_swept_on_purpose_is_no_unfairness() -> None:
    longer = changed(make_trials(), "trainer.max_epochs", 10, 20)
    assert told(replace(longer, swept=("trainer.max_epochs",))) == ()
    other = changed(changed(make_trials(), "data", "digits", "mnist"), "data.limit", 0, 600)
    assert told(replace(other, swept=("data",))) == ()  # and what comes with it
    assert len(told(other)) == 1  # once, not for each key


def test_many_values_are_cut_short() -> None:
    (warning,) = told(changed(make_trials(), "tag.git.commit", *(f"{number:040x}" for number in range(6))))
    assert "git.commit=0000000000... (6 trials), " in warning
    assert warning.endswith("and 3 more.")


def test_the_test_images_must_not_choose() -> None:
    trials = make_trials()
    frame = trials.frame.rename(columns={"test/accuracy": "best/test/accuracy"})
    (warning,) = told(replace(trials, frame=frame, metric="test/accuracy"))
    assert warning.startswith("Chosen by test/accuracy: the test images made the choice")
    assert answer(replace(trials, frame=frame, metric="test/accuracy")).chosen_test is None


def test_failures_that_gather_in_one_value_are_told_and_scattered_ones_are_not() -> None:
    gathered = make_trials(failed=[place for place in range(36) if place % 6 >= 3 and place % 3])  # of sgd
    assert any(
        each.startswith("Failures gather: 12 of 18 trials with optimizer=sgd failed, 0 of 18 of the others.")
        for each in told(gathered)
    )
    scattered = make_trials(failed=[0, 5, 13, 20, 31])
    assert not any(each.startswith("Failures") for each in told(scattered))


def test_settings_with_fewer_repetitions_are_named() -> None:
    (warning,) = told(make_trials(failed=[0]))
    assert warning == (
        "Missing repetitions: n=1 m=1 optimizer=adam has 2 of 3 seeds. Few of them make a mean easily too good."
    )


def test_an_option_that_was_tried_more_often_is_told_and_a_number_is_not() -> None:
    trials = make_trials()
    sgd = trials.frame["optimizer"] == "sgd"
    less = replace(trials, frame=trials.frame[~sgd | (trials.frame["arch.n"] == 1)])
    assert told(less) == (
        "Unequal tuning: optimizer=adam was tried in 6 settings, optimizer=sgd in 2. "
        "The best of more tries looks better.",
    )
    infeasible = replace(trials, frame=trials.frame[(trials.frame["arch.n"] < 3) | (trials.frame["arch.m"] == 1)])
    assert told(infeasible) == ()


def test_settings_that_pruning_left_with_the_lucky_repetitions_are_told() -> None:
    warning, pruned = told(make_trials(pruned=[0, 3, 4, 5]))
    assert warning.startswith("Missing repetitions")
    assert pruned == (
        "Pruned: 4 trials ended early and count for nothing; 1 setting lost repetitions so, and is judged by "
        "those that did well."
    )
    assert told(make_trials({"arch.n": (1, 2)}, pruned=[0, 1, 2])) == ()  # all of a setting: it is not in the ranking


def test_the_most_serious_comes_first() -> None:
    trials = changed(changed(make_trials(failed=[0]), "tag.git.commit", "a", "b"), "data.limit", 0, 600)
    assert [warning.partition(":")[0].partition(",")[0] for warning in told(trials)] == [
        "Different data",
        "Missing repetitions",
        "Different versions of the code",
    ]


def test_values_that_nobody_noted_are_no_difference() -> None:
    assert told(changed(make_trials(), "data.digest", "a1", np.nan)) == ()
