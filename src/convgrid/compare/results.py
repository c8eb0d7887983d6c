"""What a comparison comes to, as the report and the table show it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from convgrid.compare.racing import Race

ConfidenceInterval = tuple[float, float]
Verdict = Literal["best", "not distinguishable", "worse", "not compared", "in question", "out"]


@dataclass(frozen=True)
class Setting:
    """A choice of the keys that vary, and what its repetitions came to.

    Args:
        values: Of the keys that vary; a key that the setting does not have is missing.
        trials: Ids of the finished trials.
        n: How many there are.
        spread: Their sample standard deviation; None of one.
        interval: Of the mean, so wide that the intervals of all settings hold together; None of one.
        p: How easily chance alone makes such a difference to the best, all comparisons together; None where there is
            none: of the best, and of settings that were run once.
        parameters: Of the network; None where nobody noted it.
        multiply_adds: Of the network, an image; None where nobody noted it.
        seconds: Mean time of a trial; None where nobody noted it.
        place: From 1, by the mean.
        status: How it compares: "not compared" where there was nothing to repeat. After a race there are neither
            intervals nor p, and it is "best", "in question" or "out".
    """

    values: Mapping[str, Any]
    trials: tuple[str, ...]
    n: int
    mean: float
    spread: float | None
    interval: ConfidenceInterval | None
    p: float | None
    parameters: int | None
    multiply_adds: int | None
    seconds: float | None
    place: int
    status: Verdict


@dataclass(frozen=True)
class Tested:
    """The test metric of the chosen setting, and of no other.

    Args:
        metric: Such as "test/accuracy".
        mean: Over the setting's repetitions.
        spread: Their sample standard deviation; None of one.
        n: How many there are.
        words: A sentence: the value, and by how much choosing the best flatters its validation metric.
    """

    metric: str
    mean: float
    spread: float | None
    n: int
    words: str


@dataclass(frozen=True)
class Level:
    """What one value of a key came to, whatever the other keys were.

    Args:
        mean: Over settings, each of the other keys' combinations alike.
        interval: Of the mean; None where the repetitions do not give one.
        settings: How many settings have it.
    """

    value: Any
    mean: float
    interval: ConfidenceInterval | None
    n: int
    settings: int


@dataclass(frozen=True)
class Interaction:
    """Means of each combination of two keys' values, whatever the other keys were.

    Args:
        rows: Values of the first key.
        columns: Values of the second key.
        means: A row of means for each value of the first key; None where there is no trial.
        counts: How many trials each is the mean of.
    """

    rows: tuple[Any, ...]
    columns: tuple[Any, ...]
    means: tuple[tuple[float | None, ...], ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Answer:
    """What a comparison comes to.

    Args:
        smallest: The setting with the fewest multiply-adds within one standard error of the best; None where there
            are no repetitions, or no sizes.
        chosen_test: The best setting's test metric; None where there is no test part.
        warnings: What makes the comparison unfair, the most serious first.
        notes: How it was computed, and what the intervals do not cover.
        importance: Share of each key in what the objective varies by; empty where that says nothing.
        effects: Of each key: its values in order.
        interactions: Of each pair of keys.
        pareto: Places of the settings that no other beats in the objective and a cost: "parameters", "multiply_adds",
            "seconds".
        failures: Ids of the trials that failed, by the reason; of reasons that differ in numbers, the first.
        race: How the settings' race stands; None where the number of seeds was fixed beforehand.
        settles: How many more seeds would probably tell the best from the others, in a sentence; "" where they are
            told, or nothing says.
    """

    settings: tuple[Setting, ...]
    sentence: str
    smallest: Setting | None
    chosen_test: Tested | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    importance: Mapping[str, float]
    effects: Mapping[str, tuple[Level, ...]]
    interactions: Mapping[tuple[str, str], Interaction]
    pareto: Mapping[str, tuple[int, ...]]
    failures: Mapping[str, tuple[str, ...]]
    race: Race | None = None
    settles: str = ""
