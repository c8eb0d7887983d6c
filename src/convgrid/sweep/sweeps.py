"""A sweep's folder below `sweeps/`: what was asked for, which trials that means, and what is known of them."""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convgrid.errors import ConfigError, DiskError, SweepError
from convgrid.runs.sweep import SWEEP, SWEEPS, read_sweep
from convgrid.runs.trial import now
from convgrid.sweep.interfaces import Outcome, Survey, Trial

SECONDS_BETWEEN_WRITES = 1.0  # a sweep of thousands of trials is not written out for each of them


class SweepFolder:
    """What is stored of one sweep; two processes that run the same sweep write the same.

    Args:
        asked: What else is stored: the command, the definition, the objective.
        shared: Whether another process may run the same sweep at the same time.

    Raises:
        ConfigError: If another process runs it, and it is not shared.
        DiskError: If no folder can be made here.
    """

    def __init__(self, sweep: str, survey: Survey, asked: Mapping[str, Any], *, shared: bool = True) -> None:
        self.id, self.path = sweep, SWEEPS / sweep
        self._places = {trial.key: place for place, trial in enumerate(survey.trials)}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            earlier = self._read()
            self._known = {
                "id": sweep,
                **asked,
                "created": earlier.get("created", now()),
                "varying": survey.varying,
                "points": survey.num_points,
                "skipped": {reason: list(map(" ".join, points)) for reason, points in survey.skipped.items()},
                "trials": earlier.get("trials", [None] * len(survey.trials)),
            }
            self._take_lock(shared)
            self.update(status="running")
        except OSError as error:
            raise DiskError(f"{self.path.absolute()} cannot be used: {error.strerror}.") from None

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Note which folder is a trial's."""
        if not outcome.folder:
            return
        trials: list[str | None] = self._known["trials"]
        name = Path(outcome.folder).name
        place = self._places.setdefault(trial.key, trials.index(name) if name in trials else len(trials))
        trials += [None] * (place + 1 - len(trials))
        trials[place] = name
        if time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            with contextlib.suppress(OSError):  # the trials' own folders say the same
                self.update()

    def update(self, **known: Any) -> None:
        """Add to what is known of the sweep; a reader sees the old or the new, never a part."""
        self._known |= known
        partial = self.path / f"{SWEEP}.{os.getpid()}"
        partial.write_text(json.dumps(self._known, indent=2), encoding="utf-8")
        partial.replace(self.path / SWEEP)
        self._written = time.monotonic()

    def close(self, status: str) -> None:
        """Say how the sweep ended, and let go of the folder: as long as it is held, the sweep is running.

        Args:
            status: "finished", "killed" or "failed".
        """
        with contextlib.suppress(OSError):
            self.update(status=status)
        self._lock.release()

    def _read(self) -> dict[str, Any]:
        try:
            return read_sweep(self.path)
        except SweepError as error:  # a broken one is written anew: the trials' own folders say the same
            cause = error.__cause__
            if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):  # it may be whole
                raise cause from None
            return {}

    def _take_lock(self, shared: bool) -> None:
        """Held, it says that the sweep runs; where another process runs the same, that one says it."""
        self._lock = FileLock(self.path / "lock")
        try:
            self._lock.acquire(timeout=1)  # who looks at it holds it for a moment
        except Timeout:
            if not shared:
                raise ConfigError(
                    f"sweep {self.id} is being run by another process, and a search learns in one place. "
                    "Wait for it, or give sweep.workers more."
                ) from None
