"""The sweep's loop with a stand-in for its workers: what it says of trials whose processes died."""

import signal
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from convgrid.runs.trial import Outcome
from convgrid.sweep import scheduler
from convgrid.sweep.executors.interface import Died, Worker
from convgrid.sweep.interfaces import Trial
from convgrid.sweep.messages import Began, Ended, Job, Noted
from convgrid.sweep.scheduler import Scheduler, SchedulerRules
from convgrid.sweep.sources import NotedSource

MEMORY = ", as the system does where memory runs out"


class Workers:
    """Two workers: the first says `news` of its trial, the second's trial trains until it is killed."""

    def __init__(self, news: object, stop: signal.Signals | None) -> None:
        self.workers = [Worker(number) for number in range(2)]
        self.news, self.stop = [news], stop

    def free(self) -> list[Any]:
        return [worker for worker in self.workers if worker.job is None]

    def busy(self) -> list[Any]:
        return [worker for worker in self.workers if worker.job is not None]

    def give(self, worker: Any, job: Job) -> None:
        worker.job = job

    def events(self, timeout: float) -> Iterator[tuple[Any, object]]:
        if self.stop is not None:
            signal.raise_signal(self.stop)
            self.stop = None
        if self.news:
            yield self.workers[0], self.news.pop()

    def interrupt(self, worker: Any) -> None:
        """Hard of hearing, as in a long call of a library's."""

    def kill(self, worker: Any) -> None:
        pass

    def replace(self, worker: Any) -> None:
        pass

    def release(self, worker: Any) -> None:
        worker.job = None

    def set_aside(self, worker: Any, reason: str) -> bool:
        return False

    def notes(self) -> list[str]:
        return []

    def hopeless(self) -> str:
        return ""


class Source:
    def __init__(self) -> None:
        settings = SimpleNamespace(values={"trainer": {"max_epochs": 3}})
        self.left = [Trial((name,), cast(Any, settings), cast(Any, None), name, name, {}) for name in ("b", "a")]

    def next(self) -> Trial | None:
        return self.left.pop() if self.left else None

    def epoch(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> bool:
        return False

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        pass


@pytest.mark.parametrize(
    ("news", "stop", "first", "second"),
    [
        (Died(-signal.SIGTERM), signal.SIGTERM, ("killed", "interrupted"), ("killed", "interrupted")),
        (
            Died(-signal.SIGKILL),
            signal.SIGINT,
            ("killed", f"its process was killed by SIGKILL{MEMORY}"),
            ("killed", "interrupted"),
        ),
        (
            Died(-signal.SIGKILL),
            None,
            ("failed", f"its process was killed by SIGKILL{MEMORY}"),
            ("killed", "the sweep was stopped"),
        ),
        (
            Died(-signal.SIGTERM),
            None,
            ("failed", "its process was killed by SIGTERM"),
            ("killed", "the sweep was stopped"),
        ),
        (
            Ended(Outcome("killed", "No space left on device"), "disk"),
            None,
            ("killed", "No space left on device"),
            ("killed", "the sweep was stopped"),
        ),
    ],
)
def test_a_trial_that_the_sweep_ended_is_not_said_to_lack_memory(
    monkeypatch: pytest.MonkeyPatch,
    news: object,
    stop: signal.Signals | None,
    first: tuple[str, str],
    second: tuple[str, str],
) -> None:
    monkeypatch.setattr(scheduler, "INTERRUPT_GRACE", 0.05)
    view = SimpleNamespace(note=lambda text: None, ended=lambda *said: None)
    rules = SchedulerRules(max_consecutive_failures=1)
    loop = Scheduler("s", cast(Any, Source()), cast(Any, Workers(news, stop)), rules, cast(Any, view), None)
    loop.run()
    said = {key: (outcome.status, outcome.reason) for key, (_, outcome) in loop.outcomes.items()}
    assert said == {"a": first, "b": second}


@pytest.mark.parametrize(("trials", "ending"), [(5, "complete"), (25, "failing")])
def test_a_setting_that_fails_with_all_its_seeds_is_one_failure(trials: int, ending: str) -> None:
    """Five seeds each, of which the first setting diverges."""
    view = SimpleNamespace(note=lambda text: None, ended=lambda *said: None)
    loop = Scheduler("s", cast(Any, None), cast(Any, None), SchedulerRules(), cast(Any, view), None)
    for number in range(trials):
        varying = {"optimizer.lr": str(number // 5), "seed": str(number % 5), "fold": "[1,5]"}
        failed = Trial((), cast(Any, None), cast(Any, None), str(number), "", varying)
        loop._count(failed, Outcome("failed", f"train/loss became nan in epoch {number}"))
    assert loop._ending == ending


def test_what_many_trials_note_is_told_once() -> None:
    told: list[str] = []
    workers, view = Workers(None, None), SimpleNamespace(note=told.append)
    loop = Scheduler("s", cast(Any, Source()), cast(Any, workers), SchedulerRules(), cast(Any, view), None)
    for worker in workers.workers:
        for note in ("copies", "groups"):
            loop._handle(cast(Any, worker), Noted(note))
    assert told == ["copies", "groups"]


@pytest.mark.parametrize(("finished", "told"), [({"a", "b"}, [scheduler.TRAINED_ANEW]), (set[str](), [])])
def test_finished_trials_that_are_trained_anew_are_told_once(
    monkeypatch: pytest.MonkeyPatch, finished: set[str], told: list[str]
) -> None:
    monkeypatch.setattr(scheduler, "INTERRUPT_GRACE", 0.05)
    said: list[str] = []
    view = SimpleNamespace(note=said.append, started=lambda *_: None)
    rules = SchedulerRules(finished=frozenset(finished))
    loop = Scheduler("s", cast(Any, None), cast(Any, None), rules, cast(Any, view), None)
    for trial in (Source().next(), Source().next()):
        loop._handle(Worker(0, job=Job(cast(Any, trial), "s")), Began("runs/1"))
    assert said == told


def test_the_end_is_prepared_while_the_last_trials_train() -> None:
    prepared: list[bool] = []
    source = NotedSource(cast(Any, Source()), cast(Any, None), cast(Any, None), lambda: prepared.append(True))
    assert [cast(Trial, source.next()).key, cast(Trial, source.next()).key, prepared] == ["a", "b", []]
    assert (source.next(), prepared) == (None, [True])
