"""How a trial ended, in its folder's `run.json`: where a worker, or the scheduler after a worker's death, writes it."""

import time

from convgrid.runs import TrialFolder
from convgrid.sweep.job import Outcome


def write_outcome(folder: TrialFolder, outcome: Outcome) -> None:
    """Write how a trial ended.

    Args:
        folder: The trial's, locked.
        outcome: All but the folder is written.
    """
    folder.update(
        status=outcome.status,
        reason=outcome.reason,
        ended=now(),
        metrics=dict(outcome.metrics),
        best_epoch=outcome.best_epoch,
        epochs=outcome.epochs,
        seconds=outcome.seconds,
    )


def read_outcome(folder: TrialFolder) -> Outcome:
    """Read how a trial ended.

    Args:
        folder: The trial's.

    Returns:
        Its outcome.
    """
    record = folder.record
    known = {name: record[name] for name in ("reason", "metrics", "best_epoch", "epochs", "seconds") if name in record}
    return Outcome(record["status"], folder=str(folder.path), **known)


def now() -> int:
    """The time in milliseconds, as MLflow counts it."""
    return int(time.time() * 1000)
