"""Where the scheduler takes a grid's trials from, and what is noted of each on the way."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from convgrid.runs.sweep import SweepFolder
from convgrid.runs.trial import read_record
from convgrid.sweep.interfaces import Outcome, Source, Trial, Wait
from convgrid.sweep.retention import Retention


class GridSource:
    """The trials of a grid, longest first, so that no long one is left to the end."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._left = sorted(trials, key=lambda trial: trial.cost)

    def next(self) -> Trial | Wait | None:
        """Hand out the longest that is left."""
        return self._left.pop() if self._left else None

    def epoch(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Prune nothing."""
        return False

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Learn nothing."""


class NotedSource:
    """A source whose outcomes are noted on the way: in the sweep's folder, and for the weights that it keeps.

    Args:
        retention: Of the weights.
        prepare: What to call where no trial is left: the asking worker's core is free until the others have ended.
    """

    def __init__(self, source: Source, folder: SweepFolder, retention: Retention, prepare: Callable[[], None]) -> None:
        self._source, self._folder, self._retention, self._prepare = source, folder, retention, prepare
        self.epoch = source.epoch

    def next(self) -> Trial | Wait | None:
        """Hand out the next."""
        trial = self._source.next()
        if trial is None:
            self._prepare()
        return trial

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Note it, and hand it on."""
        if outcome.folder:
            folder = Path(outcome.folder)
            self._folder.ended(trial.key, folder.name)
            # A single run or another sweep's trial that this sweep found again keeps what it has.
            self._retention.ended(trial, outcome, removable=read_record(folder).get("sweep") == self._folder.id)
        self._source.ended(trial, outcome)
