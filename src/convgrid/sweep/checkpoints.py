"""Which trials keep their weights and pictures, so that a sweep does not fill the disk."""

from pathlib import Path
from typing import Literal

from convgrid.runs import BEST, WORST
from convgrid.sweep.job import Outcome


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


class Checkpoints:
    """Remove the weights and pictures of trials that are not among the best.

    Args:
        keep: As `how_many` gives it.
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
    """

    def __init__(self, keep: int | None, metric: str, mode: Literal["max", "min"]) -> None:
        self._keep, self._name, self._sign = keep, f"best/{metric}", -1 if mode == "max" else 1
        self._kept: list[tuple[float, str]] = []

    def ended(self, outcome: Outcome) -> None:
        """Keep a trial's weights if it is among the best so far.

        Args:
            outcome: How the trial ended; one that can go on keeps what it has.
        """
        if self._keep is None or outcome.status not in ("finished", "pruned"):
            return
        self._kept.append((self._rank(outcome), outcome.folder))
        self._kept.sort()
        for _, folder in self._kept[self._keep :]:
            for name in (BEST, WORST):
                (Path(folder) / name).unlink(missing_ok=True)
        del self._kept[self._keep :]

    def _rank(self, outcome: Outcome) -> float:
        """The lower, the better; a pruned trial is never the best."""
        if outcome.status == "pruned" or self._name not in outcome.metrics:
            return float("inf")
        return self._sign * outcome.metrics[self._name]
