"""Pruners over learning curves that are known beforehand, in the place of training."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from optuna.pruners import BasePruner

from convgrid.sweep.interfaces import Outcome, Trial
from convgrid.sweep.pruning import PrunedSource, Pruner, hyperband, median, successive_halving

EPOCHS = 9


def trial(name: str) -> Trial:
    settings = SimpleNamespace(trainer=SimpleNamespace(max_epochs=EPOCHS))
    return Trial((f"x={name}",), cast(Any, settings), cast(Any, None), name, f"config {name}", {})


class Listed:
    """A source of given trials that remembers what it is told."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self.left = list(trials)
        self.outcomes: dict[str, Outcome] = {}
        self.epochs = 0

    def next(self) -> Trial | None:
        return self.left.pop(0) if self.left else None

    def epoch(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.epochs += 1
        return False

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        self.outcomes[trial.key] = outcome


def flat(heights: Sequence[float]) -> dict[str, list[float]]:
    return {str(number): [height] * EPOCHS for number, height in enumerate(heights)}


def train(pruner: BasePruner, curves: Mapping[str, Sequence[float]], mode: Any = "max") -> dict[str, int]:
    """One worker; how many epochs each trial trained."""
    source = Listed(map(trial, curves))
    pruned = PrunedSource(source, Pruner(pruner, mode), "val/accuracy")
    while (found := pruned.next()) is not None:
        assert isinstance(found, Trial)
        attempt(pruned, found, curves[found.key])
    return {key: outcome.epochs for key, outcome in source.outcomes.items()}


def attempt(pruned: PrunedSource, found: Trial, curve: Sequence[float]) -> None:
    for epoch, value in enumerate(curve, 1):
        if pruned.epoch(found, epoch, {"val/accuracy": value}):
            return pruned.ended(found, Outcome("pruned", epochs=epoch))
    return pruned.ended(found, Outcome("finished", epochs=len(curve)))


def asha(values: Sequence[float], factor: int) -> list[int]:
    """Epochs of trials with flat curves that come one after another, worked out by hand: rungs at 1, factor, ..."""
    rungs: dict[int, list[float]] = {}
    epochs = []
    for value in values:
        rung = 1
        while rung < EPOCHS:
            there = rungs.setdefault(rung, [])
            there.append(value)
            if value < sorted(there, reverse=True)[max(len(there) // factor, 1) - 1]:
                break
            rung *= factor
        epochs.append(min(rung, EPOCHS))
    return epochs


@pytest.mark.parametrize("factor", [2, 3])
def test_successive_halving_lets_one_of_so_many_past_every_rung(factor: int) -> None:
    heights = [0.5, 0.4, 0.6, 0.3, 0.2, 0.7, 0.1, 0.55, 0.65, 0.45, 0.35, 0.8]
    trained = train(successive_halving(EPOCHS, reduction_factor=factor), flat(heights))
    assert list(trained.values()) == asha(heights, factor)
    assert trained["5"] == trained["11"] == EPOCHS  # the best so far
    assert trained["1"] == trained["4"] == trained["6"] == 1


def test_successive_halving_prunes_a_large_loss_where_less_is_better() -> None:
    trained = train(successive_halving(EPOCHS), flat([0.5, 0.9, 0.1]), mode="min")
    assert list(trained.values()) == [9, 1, 9]


def test_no_trial_is_pruned_before_its_least_epochs() -> None:
    for make in (successive_halving, median, hyperband):
        extra: Any = {"startup_trials": 1} if make is median else {}
        trained = train(make(EPOCHS, min_epochs=2, **extra), flat([0.5, 0.1, 0.2, 0.1, 0.1, 0.2, 0.3, 0.1]))
        assert min(trained.values()) == 2, make


def test_a_trial_that_reaches_its_last_epoch_is_not_pruned_there() -> None:
    pruned = PrunedSource(Listed([]), Pruner(successive_halving(EPOCHS, min_epochs=EPOCHS), "max"), "val/accuracy")
    pruned.pruner.add("best")
    assert not pruned.pruner.epoch("best", EPOCHS, 0.9)
    poor = trial("poor")
    pruned._add([poor])
    assert not pruned.epoch(poor, EPOCHS, {"val/accuracy": 0.1})


def test_median_waits_for_finished_trials_and_then_compares_with_them() -> None:
    trained = train(median(EPOCHS, startup_trials=3), flat([0.1, 0.5, 0.9, 0.4, 0.6]))
    assert list(trained.values()) == [9, 9, 9, 1, 9]


def test_a_value_is_the_best_so_far_as_a_result_is() -> None:
    """Its sixth epoch is poor, but its second was the best of all."""
    curves = {"good": [0.5] * EPOCHS, "noisy": [0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]}
    assert train(successive_halving(EPOCHS, min_epochs=2), curves)["noisy"] == EPOCHS


def test_hyperband_deals_trials_to_brackets_some_of_which_prune_later() -> None:
    trained = train(hyperband(EPOCHS), flat([0.9] + [0.1] * 40))
    assert set(trained.values()) >= {1, 3, 9}


def test_a_failed_trial_leaves_the_others_alone() -> None:
    source = Listed([trial("a"), trial("b")])
    pruned = PrunedSource(source, Pruner(median(EPOCHS, startup_trials=1), "max"), "val/accuracy")
    first, second = pruned.next(), pruned.next()
    assert isinstance(first, Trial)
    assert isinstance(second, Trial)
    pruned.epoch(first, 1, {"val/accuracy": 0.9})
    pruned.ended(first, Outcome("failed", "out of memory"))
    attempt(pruned, second, [0.1] * EPOCHS)
    assert source.outcomes["b"].status == "finished"
    assert source.epochs == EPOCHS + 1


# --- going on


END = {"reason": "", "ended": 1, "metrics": {}, "best_epoch": 1, "epochs": 1, "seconds": 1.0}


def write(curve: Sequence[float], name: str, status: str, start: int) -> None:
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config_key": f"config {name}", "status": status, **END}))
    lines = [
        json.dumps({"epoch": epoch, "time": start + epoch, "metrics": {"val/accuracy": value}})
        for epoch, value in enumerate(curve, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))


HEIGHTS = {"a": 0.5, "b": 0.3, "c": 0.7, "d": 0.6, "e": 0.8, "f": 0.65}


@pytest.mark.parametrize("start_over", [False, True])
def test_what_earlier_processes_trained_counts(in_tmp: Path, start_over: bool) -> None:
    """d and f are poor only beside c, which an earlier process trained."""
    write([0.5] * 9, "a", "finished", 0)
    write([0.3], "b", "pruned", 100)
    write([0.7] * 9, "c", "finished", 200)
    source = Listed(map(trial, "def"))
    known = list(map(trial, HEIGHTS))
    pruner = Pruner(successive_halving(EPOCHS), "max")
    pruned = PrunedSource(source, pruner, "val/accuracy", known, start_over=start_over)
    while (found := pruned.next()) is not None:
        assert isinstance(found, Trial)
        attempt(pruned, found, [HEIGHTS[found.key]] * EPOCHS)
    trained = {key: outcome.epochs for key, outcome in source.outcomes.items()}
    assert trained == ({"d": 9, "e": 9, "f": 1} if start_over else {"d": 1, "e": 9, "f": 1})


def test_a_trial_that_was_interrupted_at_a_rung_goes_on_as_it_was_decided(in_tmp: Path) -> None:
    """Told in the order of time: b was the best when it came to the rung, and a, later, was not."""
    write([0.7], "b", "running", 0)
    write([0.6], "a", "running", 100)
    write([0.9] * 9, "c", "finished", 200)
    known = list(map(trial, "abc"))
    pruned = PrunedSource(Listed(known[:2]), Pruner(successive_halving(EPOCHS), "max"), "val/accuracy", known)
    assert pruned.epoch(known[0], 2, {"val/accuracy": 0.6})
    assert not pruned.epoch(known[1], 2, {"val/accuracy": 0.7})
    assert pruned.epoch(known[1], 3, {"val/accuracy": 0.7})  # the next rung, where c was


def test_a_trial_that_another_process_trained_meanwhile_counts(in_tmp: Path) -> None:
    known = list(map(trial, "ab"))
    source = Listed(known)
    pruned = PrunedSource(source, Pruner(successive_halving(EPOCHS), "max"), "val/accuracy", known)
    write([0.9] * 9, "a", "finished", 0)
    pruned.ended(known[0], Outcome("finished", epochs=9, folder="runs/a"))
    attempt(pruned, known[1], [0.5] * EPOCHS)
    assert source.outcomes["b"].status == "pruned"
