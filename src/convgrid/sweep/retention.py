"""Which trials keep their weights and pictures, so that a sweep does not fill the disk."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from convgrid.runs.best import Results, SettingKey, is_finite
from convgrid.runs.trial import BEST
from convgrid.runs.weights import remove
from convgrid.sweep.interfaces import Outcome, Trial

SPARE = 8  # settings more than asked for that keep their weights until the end


def how_many(keep: str) -> int | None:
    """Read `sweep.keep_checkpoints`, which `config.mistakes_in_sweep` has checked.

    Args:
        keep: "best:3", "all" or "none".

    Returns:
        How many of the best trials keep their weights; None for all.

    Example:
        >>> how_many("best:3"), how_many("none"), how_many("all")
        (3, 0, None)
    """
    return {"all": None, "none": 0}[keep] if keep in ("all", "none") else int(keep.removeprefix("best:"))


class Retention:
    """Keep the weights of the best settings, of each those of its best trial; remove all others, with their pictures.

    What another sweep trained or names as its winner, and what a command reads, stays.

    A setting is ranked by its mean, as `convgrid.runs.best` says. The mean still moves while they come in,
    so a few settings more keep their weights until the end.

    Args:
        keep: As `how_many` gives it.
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
    """

    def __init__(self, keep: int | None, metric: str, mode: Literal["max", "min"]) -> None:
        self._keep, self._name, self._sign = keep, f"best/{metric}", -1 if mode == "max" else 1
        self._results = Results(mode)
        self._best: dict[SettingKey, _Kept] = {}
        self._leader: SettingKey | None = None

    def ended(self, trial: Trial, outcome: Outcome, *, removable: bool) -> None:
        """Keep a trial's weights if it is the best of one of the best settings so far.

        Args:
            outcome: How it ended; one that can go on keeps what it has.
            removable: Whether the weights are the sweep's to remove.
        """
        if outcome.status not in ("finished", "pruned"):
            return
        found, value = _Kept(outcome, removable), outcome.metrics.get(self._name, math.nan)
        if outcome.status == "pruned" or not is_finite(value):
            self._remove(found)
            return
        setting = self._results.add(trial.varying, value, trial.plan.multiply_adds)
        if (Path(outcome.folder) / BEST).exists():  # an earlier start of the sweep may have removed them
            both = [found, *([self._best[setting]] if setting in self._best else [])]
            self._best[setting], *worse = sorted(both, key=lambda each: self._sign * each.outcome.metrics[self._name])
            for each in worse:
                self._remove(each)
        if self._keep:
            self._trim(self._keep + SPARE)
        elif self._keep == 0:
            self._trim(0)

    def close(self, leader: SettingKey | None = None) -> Outcome | None:
        """Remove what was kept in reserve: no more trials will come.

        Args:
            leader: The best setting where that is not by the mean alone, as after a race.

        Returns:
            The winner: the best trial, with weights, of the best setting that has any.
        """
        if leader is not None:
            self._leader = leader
        if self._keep is not None:
            self._trim(self._keep)
        with_weights = [setting for setting, kept in self._best.items() if (Path(kept.outcome.folder) / BEST).exists()]
        return self._best[min(with_weights, key=self._order)].outcome if with_weights else None

    def _trim(self, count: int) -> None:
        for setting in sorted(self._best, key=self._order)[count:]:
            self._remove(self._best.pop(setting))

    def _order(self, setting: SettingKey) -> tuple[bool, float, float]:
        return (setting != self._leader, *self._results.order(setting))

    def _remove(self, kept: "_Kept") -> None:
        if kept.removable and self._keep is not None:
            remove(Path(kept.outcome.folder))


@dataclass(frozen=True)
class _Kept:
    """The best trial of a setting."""

    outcome: Outcome
    removable: bool
