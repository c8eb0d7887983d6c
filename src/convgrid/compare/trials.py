"""One table of trials, whether they stand in folders or in MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from convgrid.compare.racing import RaceRules


@dataclass(frozen=True)
class Trials:
    """The trials that are compared.

    Args:
        frame: One row a trial, by its id. The columns are `status` ("finished", "pruned", "failed", "killed" or
            "running"), `reason`, `name`, `epochs`, `best_epoch`, `seconds`; every parameter by dotted key
            ("arch.n", "plan.parameters"), where numbers are numbers; every metric ("best/val/accuracy",
            "test/accuracy"); every tag ("tag.git.commit").
        curves: One row a value: `trial`, `epoch`, `metric`, `value`; of train/loss, val/loss and the objective.
        metric: What is best, such as "val/accuracy".
        mode: Whether the greatest or the least value is best.
        keys: The parameters that differ between trials, less repetitions.
        repetitions: Which of "seed" and "fold" differ.
        mixed: Other parameters that differ within settings, where the user named the keys.
        skipped: Overrides of the points that could not be planned, by the reason.
        title: What was compared, in a few words.
        command: What continues it; "" where nothing does.
        sweep: Its id; "" of an experiment.
        folder: Where the report goes unless the user says otherwise.
        swept: What the user let differ: keys, and groups whose keys come with them.
        warnings: What loading them found that makes the comparison unfair.
        left: How many trials have not ended.
        race: When the settings' race ends; None where the number of seeds was fixed beforehand.
    """

    frame: pd.DataFrame
    curves: pd.DataFrame
    metric: str
    mode: Literal["max", "min"]
    keys: tuple[str, ...] = ()
    repetitions: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    title: str = ""
    command: str = ""
    sweep: str = ""
    folder: Path | None = None
    swept: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    left: int = 0
    race: RaceRules | None = None

    @property
    def objective(self) -> str:
        """The column of what is best."""
        return f"best/{self.metric}"

    @property
    def finished(self) -> pd.DataFrame:
        """The trials that count: those that came to their end, and have the objective."""
        frame = self.frame
        if self.objective not in frame:
            return frame.iloc[:0]
        return frame[(frame["status"] == "finished") & frame[self.objective].notna()]
