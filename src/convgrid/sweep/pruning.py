"""Ending poor trials early, by their objective so far beside that of others after as many epochs.

Optuna's pruners decide, over a study in memory that stands for the trials of one sweep, found by grid or by search.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from convgrid.component import Component
from convgrid.config import Settings, component
from convgrid.objective.glossary import Mode
from convgrid.runs.trial import Outcome, Status, read_epochs, read_records
from convgrid.sweep.interfaces import Source, Trial, Wait
from convgrid.sweep.objectives import main_objective

STUDY = "convgrid"
TRIAL_STATES: Mapping[Status, TrialState] = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


def median(max_epochs: int, *, min_epochs: int = 1, startup_trials: int = 5) -> BasePruner:
    """Prune a trial whose best so far is below the median of the finished ones' after as many epochs.

    Args:
        max_epochs: Of a trial.
        min_epochs: Every trial trains so many.
        startup_trials: Nothing is pruned before so many are finished.

    Returns:
        The pruner.

    Example:
        >>> type(median(20)).__name__
        'MedianPruner'

    Source: Golovin et al., Google Vizier, KDD 2017.
    """
    return MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=min_epochs)


def successive_halving(max_epochs: int, *, min_epochs: int = 1, reduction_factor: int = 3) -> BasePruner:
    """Asynchronous successive halving (ASHA): of all that reach a rung, the best 1 / reduction_factor go on.

    Rungs stand after min_epochs * reduction_factor ** i epochs. A trial is compared with those that came before it.

    Args:
        max_epochs: Of a trial.
        min_epochs: The first rung; every trial trains so many.
        reduction_factor: Between rungs; and one trial of so many goes on.

    Returns:
        The pruner.

    Example:
        >>> type(successive_halving(20)).__name__
        'SuccessiveHalvingPruner'

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020.
    """
    return SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=reduction_factor)


def hyperband(max_epochs: int, *, min_epochs: int = 1, reduction_factor: int = 3) -> BasePruner:
    """Successive halving with several first rungs: trials are dealt to brackets, some of which prune later.

    There are floor(log(max_epochs / min_epochs) / log(reduction_factor)) + 1 brackets.

    Args:
        max_epochs: Of a trial.
        min_epochs: The first rung of the first bracket.
        reduction_factor: Between rungs and between brackets; and one trial of so many goes on.

    Returns:
        The pruner.

    Example:
        >>> type(hyperband(20)).__name__
        'HyperbandPruner'

    Source: Li et al., Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization, JMLR 2018.
    """
    return HyperbandPruner(
        min_resource=min_epochs, max_resource=max(max_epochs, min_epochs), reduction_factor=reduction_factor
    )


class Pruner:
    """Says which trials to end. A trial's value is the best that it has reached so far, as its result will be.

    Args:
        pruner: One of Optuna's.
        mode: Whether more or less of the objective is better.
        blamed: Tells in a line what the pruner raises.
    """

    def __init__(
        self, pruner: BasePruner, mode: Mode, blamed: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._blamed = blamed
        self._best: Callable[[float, float], float] = max if mode == "max" else min
        self._storage = InMemoryStorage()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        direction = "maximize" if mode == "max" else "minimize"
        self._study = optuna.create_study(study_name=STUDY, storage=self._storage, direction=direction, pruner=pruner)
        self._ids: dict[str, int] = {}
        self._poor: set[str] = set()

    def add(self, key: str) -> bool:
        """Take a trial in; Hyperband deals trials out to its brackets in this order.

        Args:
            key: The trial's.

        Returns:
            Whether it is a new one.
        """
        if key in self._ids:
            return False
        self._ids[key] = self._storage.create_new_trial(self._storage.get_study_id_from_name(STUDY))
        return True

    def epoch(self, key: str, epoch: int, value: float) -> bool:
        """Take a trial's value after an epoch.

        Args:
            key: The trial's, which has been added.
            epoch: Counted from 1.
            value: Of the objective.

        Returns:
            Whether the trial is to end.
        """
        before = self._storage.get_trial(self._ids[key])
        if before.state.is_finished():
            return False
        if before.last_step is not None:
            if epoch <= before.last_step:  # told before the trial was interrupted
                return False
            value = self._best(value, before.intermediate_values[before.last_step])
        self._storage.set_trial_intermediate_value(self._ids[key], epoch, value)
        with self._blamed():
            is_poor = self._study.pruner.prune(self._study, self._storage.get_trial(self._ids[key]))
            if is_poor not in (True, False):
                raise TypeError(f"it answers {is_poor!r}, not True or False")
        if is_poor:
            self._poor.add(key)  # what was decided stands, though the process may have died before it was done
        return key in self._poor

    def ended(self, key: str, status: Status) -> None:
        """Take how a trial ended.

        Args:
            key: The trial's, which has been added.
            status: A failed or killed trial counts no more.
        """
        last = self._storage.get_trial(self._ids[key])
        if last.state.is_finished():
            return
        state = TRIAL_STATES.get(status, TrialState.FAIL) if last.last_step is not None else TrialState.FAIL
        values = None if state == TrialState.FAIL else [last.intermediate_values[last.last_step or 0]]
        self._storage.set_trial_state_values(self._ids[key], state, values)


class PrunedSource:
    """A source whose poor trials end early.

    Args:
        source: Of the trials.
        pruner: Decides.
        metric: That it decides by, such as "val/accuracy".
        known: Trials in the order of the sweep, as far as they are known; what earlier processes trained of them
            counts as it came.
        start_over: Whether what earlier processes trained is trained again.
    """

    def __init__(
        self, source: Source, pruner: Pruner, metric: str, known: Sequence[Trial] = (), *, start_over: bool = False
    ) -> None:
        self.source, self.pruner, self.metric = source, pruner, metric
        self._folders = {} if start_over else _folders()
        self._add(known)

    def next(self) -> Trial | Wait | None:
        """Hand out the next trial; None when there are no more."""
        trial = self.source.next()
        if isinstance(trial, Trial):
            self._add([trial])
        return trial

    def epoch(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take an epoch's metrics, and say whether the trial is to be pruned; not in its last epoch."""
        self.source.epoch(trial, epoch, metrics)
        poor = self.pruner.epoch(trial.key, epoch, metrics[self.metric])
        return poor and epoch < trial.settings.trainer.max_epochs

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Take a trial's outcome; another process may have trained it."""
        if outcome.folder:
            self._tell([(trial.key, Path(outcome.folder))])
        self.pruner.ended(trial.key, outcome.status)
        self.source.ended(trial, outcome)

    def _add(self, trials: Sequence[Trial]) -> None:
        """Take new trials in, and tell what earlier processes trained of them in the order in which it was trained."""
        new = {trial.config_key: trial.key for trial in trials if self.pruner.add(trial.key)}
        found = {key: self._folders[config_key] for config_key, key in new.items() if config_key in self._folders}
        self._tell([(key, folder) for key, (folder, _) in found.items()])
        for key, (_, status) in found.items():
            if status in TRIAL_STATES:
                self.pruner.ended(key, status)

    def _tell(self, folders: Sequence[tuple[str, Path]]) -> None:
        """Tell the pruner of the epochs in folders, in the order in which they were trained."""
        epochs = [(item["time"], key, item) for key, folder in folders for item in read_epochs(folder)]
        for _, key, item in sorted(epochs, key=lambda epoch: epoch[0]):
            if self.metric in item["metrics"]:
                self.pruner.epoch(key, item["epoch"], item["metrics"][self.metric])


def with_pruning(source: Source, settings: Settings, known: Sequence[Trial] = ()) -> PrunedSource:
    """Prune the trials of a source as a config says.

    Args:
        source: Of the trials.
        settings: The resolved config, whose `sweep/pruner` is not none.
        known: Trials in the order of the sweep, as far as they are known.

    Returns:
        The source whose poor trials end early.
    """
    made, (metric, mode) = component(settings, "sweep/pruner"), main_objective(settings)
    assert made is not None
    _try(made, settings.trainer.max_epochs, mode)
    pruner = _pruner_of(made, settings.trainer.max_epochs, mode)
    return PrunedSource(source, pruner, metric, known, start_over=settings.sweep.rerun == "all")


def _pruner_of(option: Component, max_epochs: int, mode: Mode) -> "Pruner":
    make = option.bind()
    with option.blamed():
        made = make(max_epochs)
    return Pruner(option.checked(made, BasePruner), mode, option.blamed)


def _try(option: Component, max_epochs: int, mode: Mode) -> None:
    """Let it judge two trials that are none, before any is trained."""
    pruner = _pruner_of(option, max_epochs, mode)
    for key, value in (("first", 0.5), ("second", 0.4)):
        pruner.add(key)
        for epoch in range(1, min(max_epochs, 3) + 1):
            pruner.epoch(key, epoch, value)
        pruner.ended(key, "finished")


def _folders() -> dict[str, tuple[Path, Status]]:
    """Where earlier processes trained what, and with what end, by the config's key."""
    found: dict[str, tuple[Path, Status]] = {}
    for path, record in read_records():
        if "config_key" in record:
            found[record["config_key"]] = (path, record["status"])
    return found
