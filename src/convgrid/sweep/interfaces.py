"""What the parts of a sweep hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from convgrid.config import Settings
from convgrid.network.plan import Plan
from convgrid.runs.trial import Outcome

Wait = Literal["wait"]
WAIT: Final = "wait"  # nothing to start now, but there will be once a running trial ends


@dataclass(frozen=True)
class Trial:
    """One feasible point of a sweep.

    Args:
        overrides: As Hydra would give them to a job, such as ("arch.n=1", "optimizer=sgd").
        key: Of what is trained: the plan, and the config less what the plan consumed. Points that agree train once.
        config_key: Of the canonical config, by which an earlier run of the same is found.
        varying: The overrides that differ between the sweep's points, by key, such as {"arch.n": "1"}.
    """

    overrides: tuple[str, ...]
    settings: Settings
    plan: Plan
    key: str
    config_key: str
    varying: Mapping[str, str]

    @property
    def cost(self) -> int:
        """Multiply-adds an image times epochs: what the time of trials on one data set goes by."""
        return self.plan.multiply_adds * self.settings.trainer.max_epochs


@dataclass(frozen=True)
class Survey:
    """All that is known of a sweep's points before anything trains.

    Args:
        num_points: How many points the overrides stand for.
        trials: The feasible ones, each network and config once.
        repeats: Overrides of the points that repeat a trial, by its key.
        skipped: Overrides of the infeasible points, by the reason.
        finished: Keys of trials that an earlier run has finished.
        notes: What else the user should know, a sentence each.
    """

    num_points: int
    trials: tuple[Trial, ...]
    repeats: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    skipped: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    finished: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def varying(self) -> dict[str, list[str]]:
        """Every value of the keys that differ between trials, in order, by key."""
        found: dict[str, dict[str, None]] = {}
        for trial in self.trials:
            for key, value in trial.varying.items():
                found.setdefault(key, {})[value] = None
        return {key: list(values) for key, values in found.items()}


TrialResult = tuple[Trial, Outcome]


class Source(Protocol):
    """Where the scheduler takes trials from: a grid, or a search that learns from outcomes."""

    def next(self) -> Trial | Wait | None:
        """Hand out the next trial; None when there are no more."""
        ...

    def epoch(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take an epoch's metrics, counted from 1, and say whether the trial is to be pruned."""
        ...

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Take a trial's outcome."""
        ...
