"""A search against known functions in the place of training."""

import contextlib
import itertools
import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from convgrid.errors import ConfigError, DiskError, PlanError
from convgrid.sweep import samplers
from convgrid.sweep.grid import Point
from convgrid.sweep.interfaces import Outcome, Trial
from convgrid.sweep.objectives import front
from convgrid.sweep.search import IN_VAIN, Search, open_study
from convgrid.sweep.space import Space, random_points, space_of

HAVING = {("optimizer", "momentum"): ["sgd"], ("layer/norm", "eps"): ["batch", "group"]}
NAMES = {"a": 1, "b": 1, "arch.n": 1, "arch.k": 1, "arch.hidden": 128, "optimizer": "adam"}


def space(*overrides: str, conditions: Sequence[str] = (), zips: Sequence[Sequence[str]] = ()) -> Space:
    parsed = [OverridesParser.create().parse_override(text) for text in overrides]
    return space_of(parsed, zips, conditions, NAMES, lambda group, key: HAVING.get((group, key), ["sgd", "adam"]))


def values(overrides: Sequence[str]) -> dict[str, str]:
    return dict(text.split("=", 1) for text in overrides)


def texts(point: Point) -> tuple[str, ...]:
    return tuple(str(override.input_line) for override in point)


def trial(point: Point, seed: int = 0) -> Trial:
    overrides = texts(point)
    key = " ".join([*sorted(overrides), *([f"seed={seed}"] if seed else [])])
    plan = SimpleNamespace(multiply_adds=100 * int(values(overrides).get("arch.n", 1)), parameters=1)
    settings = SimpleNamespace(values={"trainer": {"max_epochs": 9}})
    return Trial(overrides, cast(Any, settings), cast(Any, plan), key, key, {})


def finished(value: float) -> Outcome:
    return Outcome("finished", metrics={"best/val/accuracy": value}, epochs=9, best_epoch=9)


def make(point: Point) -> list[Trial]:
    return [trial(point)]


def searching(
    searched: Space,
    max_trials: int,
    *,
    study: optuna.Study | None = None,
    sampler: Callable[..., Any] = samplers.tpe,
    seed: int = 0,
    make: Callable[[Point], Sequence[Trial]] = make,
    **more: Any,
) -> Search:
    """A search as it begins, or goes on with a study."""
    study = study or in_memory()
    return Search(study, searched, make, partial(sampler, seed), ["val/accuracy"], max_trials, **more)


def in_memory(directions: Sequence[str] = ("maximize",)) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(directions=cast(Any, directions))


def train(
    search: Search,
    value: Callable[[Mapping[str, str]], float],
    most: int = 1000,
    before: Sequence[tuple[str, ...]] = (),
) -> list[tuple[str, ...]]:
    """One worker: the overrides in the order of training; those that were trained before end at once."""
    trained = []
    while len(trained) < most and isinstance(found := search.next(), Trial):
        trained += [found.overrides] * (found.overrides not in before)
        search.ended(found, finished(value(values(found.overrides))))
    return trained


def told(search: Search) -> list[tuple[str, list[float] | None]]:
    return [(found.state.name, found.values) for found in search.study.get_trials()]


# --- the space


def drawn(searched: Space, count: int = 200) -> list[dict[str, str]]:
    return [values(texts(point)) for point in itertools.islice(random_points(searched, 0), count)]


def test_a_fixed_override_is_in_every_point_and_choices_are_drawn_each_once() -> None:
    found = drawn(space("arch.m=2", "arch.n=3,1,2", "optimizer=sgd,adam"))
    assert len(found) == 6
    assert {tuple(point.values()) for point in found} == {("2", n, o) for n in "123" for o in ("sgd", "adam")}


def test_an_interval_gives_numbers_within_it_to_four_digits() -> None:
    found = [float(point["optimizer.lr"]) for point in drawn(space("optimizer.lr=interval(0.1,0.2)"))]
    assert len(found) == 200
    assert 0.1 <= min(found) < 0.11 < 0.19 < max(found) <= 0.2
    assert all(number == float(f"{number:.4g}") for number in found)


def test_log_draws_orders_of_magnitude_alike() -> None:
    found = [float(point["optimizer.lr"]) for point in drawn(space("optimizer.lr=tag(log,interval(1e-4,1e-1))"))]
    for low in (1e-4, 1e-3, 1e-2):  # a third each: 66.7 +- 6.7 of 200
        assert 45 < sum(low <= number < 10 * low for number in found) < 90


@pytest.mark.parametrize("text", ["int(interval(1,4))", "tag(log,int(interval(1,4)))", "range(1,5)", "1,2,3,4"])
def test_whole_numbers_hold_both_ends_of_an_interval_and_no_stop_of_a_range(text: str) -> None:
    assert {point["arch.n"] for point in drawn(space(f"arch.n={text}"))} == {"1", "2", "3", "4"}


def test_numbers_in_even_steps_keep_their_order_for_optuna_and_other_values_are_categories() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = study.ask()
    found = values(texts(space("a=1,3,5", "b=0.1,0.2,0.3", "c=1,2,4", "d=x,'y z',[1,2]", "e=true,false").point(asked)))
    kinds = {name: (type(kind).__name__, getattr(kind, "step", None)) for name, kind in asked.distributions.items()}
    assert kinds["a"] == ("IntDistribution", 2)
    assert kinds["b"] == ("FloatDistribution", pytest.approx(0.1))
    assert kinds["c"] == kinds["d"] == kinds["e"] == ("CategoricalDistribution", None)
    assert found["b"] in ("0.1", "0.2", "0.3")
    assert found["d"] in ("x", "'y z'", "[1,2]")


def test_a_key_that_only_some_options_have_is_drawn_with_those_only() -> None:
    found = drawn(space("optimizer.momentum=0.5,0.9", "optimizer=sgd,adam"))
    assert [point.get("optimizer.momentum") for point in found if point["optimizer"] == "adam"] == [None]
    assert {point["optimizer.momentum"] for point in found if point["optimizer"] == "sgd"} == {"0.5", "0.9"}


def test_a_key_of_a_group_in_a_folder_is_conditional_too() -> None:
    found = drawn(space("layer.norm.eps=0.1,0.2", "layer/norm=batch,none"))
    assert {point.get("layer.norm.eps") for point in found if point["layer/norm"] == "none"} == {None}
    assert len(found) == 3


def test_conditions_of_the_config_look_at_drawn_and_at_fixed_values() -> None:
    found = drawn(space("arch.hidden=32,64", "arch.k=0,1", conditions=["arch.hidden if arch.k > 0 and arch.n == 1"]))
    assert [point.get("arch.hidden") for point in found if point["arch.k"] == "0"] == [None]
    assert len(found) == 3


def test_zipped_keys_are_drawn_together() -> None:
    found = drawn(space("arch.n=1,2,3", "arch.m=4,5,6", "arch.k=0,1", zips=[["arch.n", "arch.m"]]))
    assert len(found) == 6
    assert {(point["arch.n"], point["arch.m"]) for point in found} == {("1", "4"), ("2", "5"), ("3", "6")}


@pytest.mark.parametrize(
    ("overrides", "conditions", "message"),
    [
        (["a=interval(2,1)"], [], "a=interval(2,1): an interval goes from less to more, and 2.0 is not below 1.0."),
        (["a=tag(log,interval(0,1))"], [], "orders of magnitude begin above 0"),
        (["a=tag(lg,interval(1,2))"], [], "an interval's tag is log, not lg."),
        (["a=1,2"], ["a when b"], "sweep.conditions: a when b cannot be parsed. Write KEY if PREDICATE"),
        (["a=1,2"], ["b if a > 1"], "sweep.conditions: b is not searched. Searched are a."),
        (["a=1,2"], ["a if arch.z > 1"], "sweep.conditions: arch.z is neither a key nor a quantity"),
        (["a=1,2", "b=1,2"], ["a if b > 1", "b if a > 1"], "depend on each other"),
    ],
)
def test_a_space_that_cannot_be_says_why(overrides: list[str], conditions: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        space(*overrides, conditions=conditions)
    assert message in str(caught.value)


def test_random_points_are_the_same_with_the_same_seed_only() -> None:
    searched = space("optimizer.lr=interval(0,1)")
    first, again, other = (texts(next(random_points(searched, seed))) for seed in (0, 0, 1))
    assert first == again != other


# --- learning


def hill(point: Mapping[str, str]) -> float:
    """Best at lr = 0.01, n = 3."""
    return 1 - abs(math.log10(float(point["lr"])) + 2) / 4 - abs(int(point["n"]) - 3) / 10


HILL = ("lr=tag(log,interval(1e-6,1))", "n=int(interval(1,8))")


def test_tpe_comes_closer_than_chance() -> None:
    best = {
        sampler.__name__: [
            max(hill(values(p)) for p in train(searching(space(*HILL), 30, sampler=sampler, seed=seed), hill))
            for seed in (run, run + 1)
        ]
        for run, sampler in ((0, samplers.tpe), (2, samplers.random))
    }
    assert min(best["tpe"]) > max(best["random"])
    assert min(best["tpe"]) > 0.95


@pytest.mark.parametrize("sampler", [samplers.tpe, samplers.gp, samplers.nsgaii, samplers.qmc, samplers.random])
def test_a_search_that_was_cut_off_trains_what_it_would_have_trained(sampler: Callable[..., Any]) -> None:
    searched = space(*HILL, "optimizer=sgd,adam", "optimizer.momentum=0.5,0.9")
    undisturbed = train(searching(searched, 13, sampler=sampler), hill)
    study = in_memory()
    first = searching(searched, 13, sampler=sampler, study=study)
    trained = train(first, hill, most=11)
    first.next()  # handed out when the process dies
    trained += train(searching(searched, 13, sampler=sampler, study=study), hill, before=trained)
    assert len(undisturbed) == 13
    assert trained == undisturbed
    assert {"momentum" in " ".join(point) for point in trained} == {True, False}


def test_a_storage_keeps_all_that_a_search_needs_to_go_on(tmp_path: Path) -> None:
    def opened() -> optuna.Study:
        return open_study(f"sqlite:///{tmp_path}/optuna.db", "study", ["max"])

    first = searching(space(*HILL), 4, study=opened())
    trained = train(first, hill, most=2)
    left = first.next()
    again = searching(space(*HILL), 4, study=opened())
    trained += train(again, hill, before=trained)
    assert isinstance(left, Trial)
    assert trained[2] == left.overrides
    assert trained == train(searching(space(*HILL), 4), hill)
    assert told(again) == [("COMPLETE", [hill(values(point))]) for point in trained]


def test_a_killed_trial_is_handed_out_again() -> None:
    search = searching(space(*HILL), 2)
    found = search.next()
    assert isinstance(found, Trial)
    search.ended(found, Outcome("killed", "Ctrl-C"))
    assert searching(space(*HILL), 2, study=search.study).next() == found


def test_a_point_that_cannot_be_is_told_and_does_not_count() -> None:
    def careful(point: Point) -> list[Trial]:
        if int(values(texts(point))["n"]) > 4:
            raise PlanError("n is too large")
        return [trial(point)]

    search = searching(space(*HILL), 8, make=careful)
    trained = train(search, hill)
    assert len(trained) == 8
    assert {int(values(point)["n"]) for point in trained} <= {1, 2, 3, 4}
    skipped = search.skipped["n is too large"]
    assert [state for state, _ in told(search)].count("PRUNED") == len(skipped) > 0
    again = searching(space(*HILL), 8, make=careful, study=search.study)
    assert again.skipped == search.skipped
    assert train(again, hill, before=trained) == []
    assert len(told(again)) == len(told(search))


def test_a_repeated_point_is_told_its_value_and_trained_once_and_a_small_space_ends() -> None:
    search = searching(space("n=1,2,3", "lr=0.1"), 10)
    trained = train(search, hill)
    assert sorted(trained) == [("lr=0.1", f"n={n}") for n in (1, 2, 3)]
    assert (
        search.note
        == f"The search ends with 3 of 10 trials: {IN_VAIN} points drawn in a row are infeasible or repeat others."
    )
    reached = {n: hill({"lr": "0.1", "n": n}) for n in "123"}
    asked = search.study.get_trials()
    assert len(asked) >= 3 + IN_VAIN
    assert all(found.values == [reached[str(found.params["n"])]] for found in asked)


def test_a_repeat_of_a_running_trial_is_told_when_that_ends() -> None:
    search = searching(space("n=1,2", "lr=0.1"), 3)
    running = [search.next(), search.next()]
    assert search.next() is None
    assert {state for state, _ in told(search)} == {"RUNNING"}
    for found in running:
        assert isinstance(found, Trial)
        search.ended(found, finished(hill(values(found.overrides))))
    assert {state for state, _ in told(search)} == {"COMPLETE"}


def test_a_point_with_several_seeds_is_told_their_mean() -> None:
    search = searching(space("n=1,2"), 3, make=lambda point: [trial(point, seed) for seed in (0, 1, 2)])
    trials = list(iter(search.next, None))
    assert len(trials) == 3
    for found, outcome in zip(trials, [finished(0.5), Outcome("failed", "out of memory"), finished(0.7)], strict=True):
        assert isinstance(found, Trial)
        assert told(search) == [("RUNNING", None)]
        search.ended(found, outcome)
    assert told(search) == [("COMPLETE", [pytest.approx(0.6)])]


def test_a_pruned_trial_is_told_with_what_it_reached() -> None:
    search = searching(space("n=1,2"), 1)
    found = search.next()
    assert isinstance(found, Trial)
    search.ended(found, Outcome("pruned", metrics={"best/val/accuracy": 0.4}, epochs=3))
    (asked,) = search.study.get_trials()
    assert asked.state == TrialState.PRUNED
    assert asked.intermediate_values == {3: 0.4}


@pytest.mark.parametrize(("direction", "worst"), [("maximize", -math.inf), ("minimize", math.inf)])
def test_divergence_is_told_as_the_worst_value_and_tried_again_when_asked_for(direction: str, worst: float) -> None:
    search = searching(
        space("n=1,2"), 2, study=in_memory([direction]), make=lambda point: [trial(point, 0), trial(point, 1)]
    )
    for _ in range(2):
        found = search.next()
        assert isinstance(found, Trial)
        search.ended(found, Outcome("failed", "train/loss became nan", diverged=True))
    assert told(search) == [("COMPLETE", [worst])]
    goes_on = searching(space("n=1,2"), 1, study=search.study, rerun_failed=True)
    assert len(train(goes_on, lambda point: 0.5)) == 1


def test_a_search_learns_from_divergence_and_goes_on() -> None:
    """Most of the space diverges; told as nothing, TPE would draw there for ever."""
    search, diverged = searching(space("lr=interval(0,1)"), 60), []
    while isinstance(found := search.next(), Trial):
        lr = float(values(found.overrides)["lr"])
        diverged.append(lr > 0.2)
        bad = Outcome("failed", "train/loss became nan", diverged=True)
        search.ended(found, bad if lr > 0.2 else finished(0.5 + lr))
    assert sum(diverged[30:]) < 20  # by chance 24 of 30; 27, where Optuna is told of nothing


def test_failed_points_are_tried_again_when_asked_for() -> None:
    search = searching(space("n=1,2"), 1)
    found = search.next()
    assert isinstance(found, Trial)
    search.ended(found, Outcome("failed", "out of memory"))
    assert told(search) == [("FAIL", None)]
    goes_on = searching(space("n=1,2"), 1, study=search.study)
    assert train(goes_on, lambda point: 0.5, before=[found.overrides]) == []
    assert told(search) == [("FAIL", None)]
    again = searching(space("n=1,2"), 1, study=search.study, rerun_failed=True)
    assert train(again, lambda point: 0.5) == [found.overrides]
    assert told(again) == [("FAIL", None), ("COMPLETE", [0.5])]
    last = searching(space("n=1,2"), 1, study=search.study, rerun_failed=True)
    assert train(last, lambda point: 0.5, before=[found.overrides]) == []
    assert len(told(last)) == 2


def test_a_storage_on_a_full_disk_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    search = searching(space("n=1,2"), 2)
    found = search.next()
    assert isinstance(found, Trial)

    def fill(*_: object) -> None:  # as Optuna's storage does
        raise StorageInternalError("An exception is raised during the commit.") from OSError("disk is full\n[SQL ...")

    monkeypatch.setattr(search.study, "tell", fill)
    with pytest.raises(DiskError, match=r"^sweep.storage cannot be written: .*disk is full.*\. Make room, then start"):
        search.ended(found, finished(0.5))


def test_several_objectives_end_in_a_front() -> None:
    study = in_memory(["maximize", "minimize"])
    sampler, objectives = partial(samplers.nsgaii, 0), ["val/accuracy", "multiply_adds"]
    search = Search(study, space("arch.n=1,2,3,4", "lr=0.1,0.5"), make, sampler, objectives, 8)
    worth = {"1": 0.5, "2": 0.7, "3": 0.6, "4": 0.8}
    train(search, lambda point: worth[point["arch.n"]] - (0.1 if point["lr"] == "0.5" else 0))
    results = {point.trials[0].key: point.values or [] for point in search.points.values()}
    assert len(results) == 8
    expected = [f"arch.n={n} lr=0.1" for n in (4, 2, 1)]
    assert front(results, ["max", "min"]) == expected
    assert {tuple(best.values) for best in search.study.best_trials} == {(0.8, 400.0), (0.7, 200.0), (0.5, 100.0)}


def test_a_storage_that_cannot_be_opened_says_so() -> None:
    with pytest.raises(ConfigError, match=r"sweep.storage=sqlite:////no/optuna.db cannot be used: .*unable to open"):
        open_study("sqlite:////no/optuna.db", "study", ["max"])


def test_the_storage_of_another_program_is_no_place_for_a_search(tmp_path: Path) -> None:
    """MLflow keeps its schema's version in a table of the same name as Optuna's."""
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as store, store:
        store.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        store.execute("INSERT INTO alembic_version VALUES ('1b2c3d4e5f60')")
    with pytest.raises(ConfigError, match=r"mlflow.db cannot be used: .* Give another, such as sqlite:///searches.db"):
        open_study(f"sqlite:///{tmp_path}/mlflow.db", "study", ["max"])
