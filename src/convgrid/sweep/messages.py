"""What the scheduler and its workers say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from convgrid.runs.trial import Outcome
from convgrid.sweep.interfaces import Trial


@dataclass(frozen=True)
class Job:
    """What a worker is asked to do.

    Args:
        again: Statuses of an earlier run whose result is not taken; with "finished" among them, it starts over.
        accumulate: Parts that each batch is divided into, after the whole did not fit into memory.
        asks: Whether every epoch waits for the scheduler's word to go on.
    """

    trial: Trial
    sweep: str
    again: tuple[str, ...] = ()
    accumulate: int = 1
    asks: bool = False


@dataclass(frozen=True)
class Ready:
    """The worker's first word: how many GPUs it sees."""

    gpus: int


@dataclass(frozen=True)
class Began:
    """The trial's folder is the worker's."""

    folder: str


@dataclass(frozen=True)
class Noted:
    """What the user should know of a trial's data and settings, which other trials may say as well."""

    note: str


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is on disk.

    Args:
        epoch: Counted from 1.
    """

    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Ended:
    """How the trial ended.

    Args:
        cause: What the scheduler reacts to: "memory", "disk", "busy" (another process trains it), "mistake" (or a
            divergence: trained again, it would be the same), "lost" (with too many nodes), or "".
        earlier: Whether an earlier run had ended it.
    """

    outcome: Outcome
    cause: str = ""
    earlier: bool = False
