"""A search that learns from outcomes: Optuna's ask and tell, kept in a storage from which it goes on."""

import contextlib
import functools
import math
import statistics
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec, TypeVar

import optuna
from alembic.util import CommandError
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import RDBStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FixedTrial, FrozenTrial, TrialState
from optuna.trial import Trial as Asked
from sqlalchemy.exc import SQLAlchemyError

from convgrid.component import Component
from convgrid.config import Settings, component
from convgrid.errors import ConfigError, ConvgridError, DiskError
from convgrid.objective.glossary import Mode
from convgrid.sweep.grid import Point
from convgrid.sweep.interfaces import Outcome, Trial, Wait
from convgrid.sweep.objectives import objective_values, objectives_of
from convgrid.sweep.optuna_internals import asked_again, may_be
from convgrid.sweep.space import Space
from convgrid.system.seeding import derive

OVERRIDES, INFEASIBLE = "overrides", "reason"  # attributes of Optuna's trials: what was drawn; why it is infeasible
RECALLED = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
BY_CHANCE = 20  # points in a row that are infeasible or repeat others; then the next are drawn by chance
IN_VAIN = 100  # then the search ends


def open_study(storage: str, name: str, modes: Sequence[Mode]) -> Study:
    """Open a search's study, or begin it.

    Args:
        storage: Address of a database, such as "sqlite:///optuna.db".
        modes: Whether more or less of each objective is better.

    Returns:
        Optuna's study.

    Raises:
        ConfigError: If the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE for mode in modes]
    try:
        opened = RDBStorage(storage)
        return optuna.create_study(storage=opened, study_name=name, directions=directions, load_if_exists=True)
    except (SQLAlchemyError, CommandError, ImportError, RuntimeError, ValueError) as error:
        cause = str(error).strip().splitlines()[0].rstrip(".")
        fix = "Give another, such as sqlite:///searches.db; finished trials are found in runs/ again."
        raise ConfigError(f"sweep.storage={storage} cannot be used: {cause}. {fix}") from None


def search_of(settings: Settings, name: str, space: Space, make: Callable[[Point], Sequence[Trial]]) -> "Search":
    """Begin the search that a config describes, or go on with it.

    Args:
        make: From a point's overrides to its trials, one a seed; it raises ConvgridError where the point is infeasible.

    Returns:
        The search.

    Raises:
        ConfigError: If its storage or its objectives cannot be used.
    """
    sweep, modes, sampler = settings.sweep, objectives_of(settings), component(settings, "sweep/sampler")
    assert sampler is not None
    assert sweep.storage is not None
    assert sweep.max_trials is not None  # `mistakes_in_sweep` has asked for it
    draw = partial(_sampler_of, sampler, sampler.bind(), settings.seed)
    draw(0)  # a mistake in it is told before there is a study
    if sweep.rerun == "all":
        _forget(sweep.storage, name)
    study = open_study(sweep.storage, name, list(modes.values()))
    again = sweep.rerun == "failed"
    return Search(study, space, make, draw, list(modes), sweep.max_trials, rerun_failed=again, blamed=sampler.blamed)


def _sampler_of(option: Component, make: Callable[[int, int], Any], seed: int, number: int) -> BaseSampler:
    """The sampler that draws a trial."""
    with option.blamed():
        made = make(seed, number)
    return option.checked(made, BaseSampler)


def _forget(storage: str, name: str) -> None:
    """Delete a study, where there is one."""
    with contextlib.suppress(KeyError):
        optuna.delete_study(study_name=name, storage=storage)


P = ParamSpec("P")
R = TypeVar("R")


def _written(work: Callable[P, R]) -> Callable[P, R]:
    """Tell of a storage that takes nothing, such as on a full disk, in a line: the search goes on when it is there."""

    @functools.wraps(work)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except (StorageInternalError, SQLAlchemyError) as error:
            cause = str(error.__cause__ or error).strip().partition("\n")[0].rstrip(".")
            raise DiskError(
                f"sweep.storage cannot be written: {cause}. Make room, then start the sweep again: it goes on."
            ) from None

    return told


@dataclass
class Proposal:
    """What stands or falls together: the trials of one set of overrides, one a seed.

    Args:
        asked: Optuna's trials that wait to be told, later ones where a search repeats itself.
        outcomes: Of the trials that have ended, by key.
        state: What Optuna was told.
        values: Of the objectives; none where it was not told any.
    """

    trials: tuple[Trial, ...]
    params: Mapping[str, Any]
    asked: list[Asked] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    state: TrialState = TrialState.RUNNING
    values: Sequence[float] | None = None


class Search:
    """A source of trials that Optuna proposes; `convgrid.sweep.interfaces.Source` says how it is used.

    A point that cannot be is told as pruned, and one that repeats another gets that one's values; neither counts.
    When a search goes on, its earlier trials are handed out again first: those that are trained already end at once.

    Args:
        study: From `open_study`; no other process works on it.
        make: From a point's overrides to its trials, one a seed; it raises ConvgridError where the point is infeasible.
        sampler: From a trial's number to the sampler that draws it.
        objectives: Names of what the study optimises.
        max_trials: How many to train; a point's seeds and folds are not divided.
        rerun_failed: Whether points that failed before are tried again.
        blamed: Tells in a line what the sampler raises.
    """

    def __init__(
        self,
        study: Study,
        space: Space,
        make: Callable[[Point], Sequence[Trial]],
        sampler: Callable[[int], BaseSampler],
        objectives: Sequence[str],
        max_trials: int,
        *,
        rerun_failed: bool = False,
        blamed: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.study, self.space, self.make, self.sampler = study, space, make, sampler
        self.objectives, self.max_trials, self._blamed = tuple(objectives), max_trials, blamed
        self.points: dict[tuple[str, ...], Proposal] = {}
        self.skipped: dict[str, list[tuple[str, ...]]] = {}
        self.note = ""  # why it ended before its time
        self._queue: deque[Trial] = deque()
        self._in_vain = 0
        for frozen in study.get_trials(states=[*RECALLED]):
            self._recall(frozen)
        for point in self.points.values():
            if rerun_failed and (point.state == TrialState.FAIL or has_diverged(point.values)):
                self._try_again(point)

    @_written
    def next(self) -> Trial | Wait | None:
        """Hand out the next trial; None when there are no more."""
        while not self._queue:
            trials = sum(len(point.trials) for point in self.points.values())
            if trials >= self.max_trials:
                return None
            if self._in_vain >= IN_VAIN:
                in_vain = f"{IN_VAIN} points drawn in a row are infeasible or repeat others"
                self.note = f"The search ends with {trials} of {self.max_trials} trials: {in_vain}."
                return None
            self._draw(self.study.ask())
        return self._queue.popleft()

    def epoch(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> bool:
        """A search learns from outcomes only."""
        return False

    @_written
    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Take a trial's outcome; a killed one is handed out again when the search goes on."""
        if outcome.status == "killed":
            return
        for point in self.points.values():
            if any(trial.key == member.key for member in point.trials):
                point.outcomes[trial.key] = outcome
                if len(point.outcomes) == len(point.trials):
                    self._tell(point)

    def _draw(self, asked: Asked) -> None:
        """Let Optuna draw a point, and take it up; what it drew before stays."""
        by_chance = RandomSampler(seed=derive(asked.number, "by chance") % 2**32)
        self.study.sampler = self.sampler(asked.number) if self._in_vain < BY_CHANCE else by_chance
        overrides = self._drawn(asked)
        asked.set_user_attr(OVERRIDES, _texts(overrides)[len(self.space.fixed) :])
        try:
            point = self._point(overrides, asked.params)
        except ConvgridError as error:
            self._skip(str(error), overrides)
            asked.set_user_attr(INFEASIBLE, str(error))
            self.study.tell(asked, state=TrialState.PRUNED)
            return
        point.asked.append(asked)
        if point.state.is_finished():
            self._pass_on(point)

    def _drawn(self, asked: Asked) -> Point:
        """What the sampler draws; Optuna takes whatever it gives for a number."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Clip non-finite values")  # of points that diverged
                overrides = self.space.point(asked)
            for name, value in asked.params.items():
                if not may_be(value, asked.distributions[name]):
                    raise ValueError(f"{name}={value} is none of the values to draw from")
        except (StorageInternalError, SQLAlchemyError):
            raise
        except Exception as error:
            with self._blamed():
                raise error
        return overrides

    def _recall(self, frozen: FrozenTrial) -> None:
        """Take up what an earlier process told, or left behind."""
        if frozen.state == TrialState.RUNNING:
            self._draw(asked_again(self.study, frozen))
            return
        overrides = self.space.point(FixedTrial(frozen.params))
        if INFEASIBLE in frozen.user_attrs:
            self._skip(frozen.user_attrs[INFEASIBLE], overrides)
        else:
            point = self._point(overrides, frozen.params)
            point.state, point.values = frozen.state, frozen.values

    def _try_again(self, point: Proposal) -> None:
        self.study.enqueue_trial(dict(point.params))
        point.state = TrialState.RUNNING
        self._draw(self.study.ask())

    def _point(self, overrides: Point, params: Mapping[str, Any]) -> Proposal:
        """Find the point, or begin it."""
        trials = tuple(self.make(overrides))
        keys = tuple(trial.key for trial in trials)
        if keys in self.points:
            self._in_vain += 1
            return self.points[keys]
        self._in_vain = 0
        self._queue.extend(trials)
        self.points[keys] = Proposal(trials, params)
        return self.points[keys]

    def _skip(self, reason: str, overrides: Point) -> None:
        self._in_vain += 1
        self.skipped.setdefault(reason, []).append(tuple(_texts(overrides)))

    def _tell(self, point: Proposal) -> None:
        """Settle what a point came to: the mean over its trials, as far as they finished."""
        by_status = {
            status: [trial for trial in point.trials if point.outcomes[trial.key].status == status]
            for status in ("finished", "pruned")
        }
        counted = by_status["pruned"] or by_status["finished"]
        rows = [objective_values(self.objectives, trial, point.outcomes[trial.key]) for trial in counted]
        if not rows and all(outcome.diverged for outcome in point.outcomes.values()):
            rows = [self._worst(point.trials[0])]
        point.values = [statistics.fmean(column) for column in zip(*rows, strict=True)] or None
        finished = TrialState.COMPLETE if rows else TrialState.FAIL
        point.state = TrialState.PRUNED if by_status["pruned"] else finished
        self._pass_on(point)

    def _worst(self, trial: Trial) -> list[float]:
        """What a point is told whose trainings all diverged: no metric is worse, its network is as large as it is."""
        bad = [-math.inf if each == StudyDirection.MAXIMIZE else math.inf for each in self.study.directions]
        known = {f"best/{name}": value for name, value in zip(self.objectives, bad, strict=True)}
        return objective_values(self.objectives, trial, Outcome("failed", metrics=known))

    def _pass_on(self, point: Proposal) -> None:
        """Tell Optuna what a point came to, wherever it waits for it."""
        for asked in point.asked:
            if point.state == TrialState.PRUNED and point.values and len(self.objectives) == 1:
                epochs = max((outcome.epochs for outcome in point.outcomes.values()), default=1)
                asked.report(point.values[0], epochs)
            values = point.values if point.state == TrialState.COMPLETE else None
            self.study.tell(asked, values, point.state)
        point.asked.clear()


def has_diverged(values: Sequence[float] | None) -> bool:
    """Whether these are the values of a point whose trainings all diverged."""
    return any(map(math.isinf, values or ()))


def _texts(overrides: Point) -> list[str]:
    return [str(override.input_line) for override in overrides]
