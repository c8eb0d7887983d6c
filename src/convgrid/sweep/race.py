"""A grid's settings race: where the scheduler takes the next seeds of those that are in question from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convgrid.config.sections import SweepSettings
from convgrid.errors import ConfigError
from convgrid.objective.glossary import Mode
from convgrid.runs.best import SettingKey, is_finite, setting_of
from convgrid.sweep.interfaces import WAIT, Outcome, Survey, Trial, Wait

if TYPE_CHECKING:
    from convgrid.compare.racing import Race, RaceRules

FIRST = 3  # seeds that each setting gets


@dataclass(frozen=True)
class Look:
    """What is trained until a race is looked at again.

    Args:
        trials: Of the settings in question, those that have not ended.
        asked: How many trials were asked for up to then.
        left: The settings in question; the best first, once they were looked at.
        settings: How many started.
        seeds: That each setting in question is to have.
        finished: Keys of those trials that an earlier run has finished.
    """

    trials: Sequence[Trial]
    asked: int
    left: Sequence[SettingKey]
    settings: int
    seeds: int
    finished: frozenset[str]


class RaceSource:
    """The trials of a race, look after look; within one the longest first.

    Args:
        survey: Knows the trials of each setting, up to the most seeds.
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
        begins: Told of each look.
    """

    def __init__(
        self, survey: Survey, rules: "RaceRules", metric: str, mode: Mode, begins: Callable[[Look], None]
    ) -> None:
        self._settings, self._finished = by_setting(survey.trials), survey.finished
        self._rules, self._begins = rules, begins
        self._name, self._mode = f"best/{metric}", mode
        self._results: dict[str, float] = {}
        self._left: list[Trial] = []
        self._waits_for: set[str] = set()
        self._race: Race | None = None

    @property
    def leader(self) -> SettingKey | None:
        """The best setting; None before the first look, and where all have failed."""
        known = self._race is not None and (self._race.out or self._race.ending) and self._race.left
        return [*self._settings][self._race.left[0]] if self._race and known else None

    @property
    def asked(self) -> int:
        """How many trials were asked for so far."""
        return self._race.trials if self._race else 0

    def next(self) -> Trial | Wait | None:
        """Hand out the next trial of this look; once all have ended, of the next one."""
        if not self._waits_for:
            self._look()
        if self._left:
            return self._left.pop()
        return WAIT if self._waits_for else None

    def epoch(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Prune nothing."""
        return False

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Take a result; one that was killed is still to come."""
        if outcome.status != "killed":
            value = outcome.metrics.get(self._name, float("nan"))
            self._results[trial.key] = value if outcome.status == "finished" and is_finite(value) else float("nan")
            self._waits_for.discard(trial.key)

    def _look(self) -> None:
        from convgrid.compare.racing import race  # scipy takes a while to import

        groups = [*self._settings.values()]
        results = [[self._results.get(trial.key) for trial in trials] for trials in groups]
        found = self._race = race(results, self._rules, self._mode)
        if found.ending is not None:
            return
        wanted = [trial for place in found.left for trial in groups[place][: found.seeds]]
        self._left = sorted((trial for trial in wanted if trial.key not in self._results), key=lambda each: each.cost)
        self._waits_for = {trial.key for trial in self._left}
        names, earlier = [*self._settings], self._finished & self._waits_for
        left = [names[place] for place in found.left]
        self._begins(Look(self._left[:], found.trials, left, len(names), found.seeds, earlier))


def by_setting(trials: Sequence[Trial]) -> dict[SettingKey, list[Trial]]:
    """Gather the trials of each setting.

    Returns:
        In the order of the seeds.
    """
    found: dict[SettingKey, list[Trial]] = {}
    for trial in trials:
        found.setdefault(setting_of(trial.varying), []).append(trial)
    return {setting: sorted(group, key=lambda trial: trial.settings.seed) for setting, group in found.items()}


def rules_of(trials: Sequence[Trial], sweep: SweepSettings) -> "RaceRules":
    """What ends the race of these trials."""
    from convgrid.compare.racing import RaceRules  # as above

    return RaceRules(len(by_setting(trials)), sweep.tolerance, sweep.max_seeds, sweep.max_trials)


def check_race(trials: Sequence[Trial], sweep: SweepSettings) -> None:
    """Look whether a race can begin, and can come to its end.

    Raises:
        ConfigError: If there are too few trials for a first look, or too few seeds for a last one.
    """
    groups = by_setting(trials)
    least = FIRST * len(groups)
    if sweep.max_trials is not None and sweep.max_trials < least:
        raise ConfigError(
            f"sweep.max_trials={sweep.max_trials} is too few for a race of {len(groups):,} settings, which begins with "
            f"{FIRST} seeds each. Use at least {least:,}."
        )
    if any(len(group) < sweep.max_seeds for group in groups.values()):
        raise ConfigError(
            f"sweep.seeds=auto takes up to {sweep.max_seeds} seeds of each setting, and sweep.where leaves some out. "
            "Leave seed out of it."
        )


def first_look(survey: Survey) -> list[Trial]:
    """The trials that a race begins with."""
    return [trial for group in by_setting(survey.trials).values() for trial in group[:FIRST]]


def most_trials(survey: Survey, sweep: SweepSettings) -> int:
    """How many trials a race takes at most."""
    every = sweep.max_seeds * len(by_setting(survey.trials))
    return every if sweep.max_trials is None else min(every, sweep.max_trials)
