"""What a search draws from: Hydra's overrides read as dimensions, some of which matter only under a condition."""

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol

from hydra.core.override_parser.types import IntervalSweep, Override

from convgrid.config.hydra_internals import with_element
from convgrid.config.overrides import shown
from convgrid.errors import ConfigError
from convgrid.sweep.grid import Axis, Point, axes
from convgrid.sweep.where import Where, parse_where
from convgrid.system.seeding import derive

DIGITS = 4  # significant ones of a number drawn from an interval: what is shown is what is trained
STEP_DECIMALS = 12  # 0.3 - 0.2 is 0.09999999999999998
MOST_REPEATS = 10_000  # points drawn in a row that were drawn before: then there are no others
EXAMPLE = "such as arch.hidden if arch.k > 0"


class Draw(Protocol):
    """Who chooses: dice, or a trial of Optuna's."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Choose a whole number; both ends belong to it."""
        ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Choose a number; both ends belong to it."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of several."""
        ...


@dataclass(frozen=True)
class When:
    """Under which conditions a key matters; without any, always.

    Args:
        options: Of searched groups, those that have the key.
        predicates: Of the other keys, such as "arch.k > 0".
    """

    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    predicates: tuple[Where, ...] = ()

    def applies(self, names: Mapping[str, Any]) -> bool:
        """Whether all of them hold, given all keys and groups with their values."""
        return all(names[group] in having for group, having in self.options.items()) and all(
            predicate.holds(names.get) for predicate in self.predicates
        )

    def named(self) -> set[str]:
        """The keys and groups that must be drawn before, with dots."""
        words = re.findall(r"[\w./]+", " ".join(predicate.text for predicate in self.predicates))
        return {_dotted(word) for word in [*self.options, *words]}


ALWAYS = When()


@dataclass(frozen=True)
class Choice:
    """A key or group with several values, `arch.n=1,2,3` or `optimizer=sgd,adam`, or several that `sweep.zip` ties.

    Args:
        key: As typed; of several keys, all of them.
        steps: What each choice sets; of numbers, in rising order.
        when: Under which conditions it matters.
    """

    key: str
    steps: tuple[Point, ...]
    when: When = ALWAYS

    def draw(self, draw: Draw) -> Point:
        """Numbers with even steps keep their order and distances; all else is one of several."""
        # A sampler learns from neighbours where it is told of numbers; of categories it learns each by itself. Optuna
        # knows ranges with one step only, so that 1,2,4 is a category.
        values = [_value(step) for step in self.steps]
        step = _even_step(values)
        if step is None:
            texts = [" ".join(_text(override) for override in point) for point in self.steps]
            return self.steps[texts.index(draw.suggest_categorical(self.key, texts))]
        low, high = (round(value, STEP_DECIMALS) for value in (values[0], values[-1]))
        if isinstance(step, int):
            return self.steps[(draw.suggest_int(self.key, low, high, step=step) - low) // step]
        return self.steps[round((draw.suggest_float(self.key, low, high, step=step) - low) / step)]


@dataclass(frozen=True)
class Interval:
    """A key with any number between two, `optimizer.lr=tag(log,interval(1e-4,1e-1))` or `arch.k=int(interval(0,3))`.

    Args:
        high: The most, which belongs to it.
        log: Whether orders of magnitude count alike.
        when: Under which conditions it matters.
    """

    override: Override
    low: float
    high: float
    log: bool = False
    when: When = ALWAYS

    @property
    def key(self) -> str:
        """As typed."""
        return self.override.key_or_group

    def draw(self, draw: Draw) -> Point:
        """A whole number where both ends are."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            value = draw.suggest_int(self.key, self.low, self.high, log=self.log)
        else:
            drawn = float(f"{draw.suggest_float(self.key, self.low, self.high, log=self.log):.{DIGITS}g}")
            value = min(max(drawn, self.low), self.high)  # rounding may leave the interval
        return (with_element(self.override, value),)


Dimension = Choice | Interval


@dataclass(frozen=True)
class Space:
    """All points that a search may try.

    Args:
        fixed: Overrides that every point has.
        dimensions: What is drawn; one that another's condition names stands before it.
        names: What conditions may name: keys and groups, with dots, and their values before anything is drawn.
    """

    fixed: Point
    dimensions: tuple[Dimension, ...]
    names: Mapping[str, Any]

    def point(self, draw: Draw) -> Point:
        """Draw a point.

        Returns:
            Overrides, without those of keys that do not matter in it.

        Raises:
            ConfigError: If a condition calculates with something that is not a number.
        """
        # Conditions ask for what was drawn before; of a key that was not drawn they find the config's own value.
        names, drawn = dict(self.names), list(self.fixed)
        for dimension in self.dimensions:
            if dimension.when.applies(names):
                step = dimension.draw(draw)
                names |= {_dotted(override.key_or_group): override.value() for override in step}
                drawn += step
        return tuple(drawn)


def space_of(
    grid: Sequence[Override],
    zips: Sequence[Sequence[str]],
    conditions: Sequence[str],
    names: Mapping[str, Any],
    options_with: Callable[[str, str], Sequence[str]],
) -> Space:
    """Read overrides as a space.

    Args:
        grid: Overrides; of a key given twice the last holds.
        zips: Keys that advance together.
        conditions: Of the config's `sweep.conditions`, such as "arch.hidden if arch.k > 0".
        names: Keys and groups, with dots, and their values in the config without the overrides that vary.
        options_with: The options of a group that have a key, such as ("optimizer", "momentum").

    Returns:
        The space; a key that only some options of a searched group have matters with those.

    Raises:
        ConfigError: If an interval or a condition is not allowed.
    """
    last = {override.key_or_group: override for override in grid}
    listed = axes(tuple(override for override in last.values() if not override.is_interval_sweep()), zips)
    # A key with one value is fixed, not a dimension: a sampler would learn nothing from it.
    fixed = [step for axis in listed if len(axis.steps) == 1 for step in axis.steps[0]]
    choices = [_choice(axis) for axis in listed if len(axis.steps) > 1]
    intervals = [_interval(override) for override in last.values() if override.is_interval_sweep()]
    found: dict[str, Dimension] = {dimension.key: dimension for dimension in (*choices, *intervals)}
    predicates = _predicates(conditions, found, names)
    for key, dimension in found.items():
        when = When(_options_having(key, choices, options_with), tuple(predicates.get(key, ())))
        found[key] = replace(dimension, when=when)
    return Space(tuple(fixed), tuple(_in_order(found)), names)


def random_points(space: Space, seed: int) -> Iterator[Point]:
    """Draw points at random, none twice.

    Args:
        space: What to draw from.
        seed: The same points in the same order with the same seed.

    Yields:
        Overrides of a point, until there seem to be no others.
    """
    dice, seen, repeats = Dice(random.Random(derive(seed, "search"))), set(), 0  # noqa: S311
    # Nobody knows how many points a space with conditions has, so that it counts as empty after so many repeats.
    while repeats < MOST_REPEATS:
        point = space.point(dice)
        texts = tuple(str(override.input_line) for override in point)
        repeats = repeats + 1 if texts in seen else 0
        if repeats == 0:
            seen.add(texts)
            yield point


@dataclass(frozen=True)
class Dice:
    """Chance, evenly over values, or over their orders of magnitude.

    Args:
        rng: Where chance comes from.
    """

    rng: random.Random

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Choose a whole number; both ends belong to it."""
        if log:
            # Half a step more at either end: rounding would give the ends half the share of the others.
            drawn = math.exp(self.rng.uniform(math.log(low - 0.5), math.log(high + 0.5)))
            return min(max(round(drawn), low), high)
        return self.rng.randrange(low, high + 1, step)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Choose a number; both ends belong to it."""
        if step is not None:
            return low + step * self.rng.randrange(round((high - low) / step) + 1)
        return math.exp(self.rng.uniform(math.log(low), math.log(high))) if log else self.rng.uniform(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of several."""
        return self.rng.choice(choices)


def _choice(axis: Axis) -> Choice:
    steps, key = axis.steps, "+".join(override.key_or_group for override in axis.steps[0])
    if all(_is_number(_value(step)) for step in steps):
        # Rising, and each once: an even step is looked for between neighbours.
        by_value = {_value(step): step for step in steps}
        steps = tuple(by_value[value] for value in sorted(by_value))
    return Choice(key, steps)


def _interval(override: Override) -> Interval:
    value, text = override.value(), override.input_line
    assert isinstance(value, IntervalSweep)
    low, high = value.start, value.end
    assert low is not None
    assert high is not None
    if not low < high:
        raise ConfigError(f"{text}: an interval goes from less to more, and {shown(low)} is not below {shown(high)}.")
    if value.tags - {"log", "int"}:
        raise ConfigError(f"{text}: an interval's tag is log, not {', '.join(sorted(value.tags - {'log', 'int'}))}.")
    log = "log" in value.tags
    if log and low <= 0:
        raise ConfigError(f"{text}: orders of magnitude begin above 0. Begin the interval there, or leave out log.")
    if "int" in value.tags:
        low, high = int(low), int(high)
    return Interval(override, low, high, log)


def _even_step(values: Sequence[Any]) -> int | float | None:
    """The step between numbers in rising order, where it is always the same."""
    if len(values) < 2 or not all(_is_number(value) for value in values):
        return None
    step = (values[-1] - values[0]) / (len(values) - 1)
    if not all(math.isclose(value, values[0] + step * i, abs_tol=1e-9 * step) for i, value in enumerate(values)):
        return None
    return int(step) if all(isinstance(value, int) for value in values) else round(step, STEP_DECIMALS)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(step: Point) -> Any:
    """What one key is set to; None for zipped ones, which are not a number."""
    return step[0].value() if len(step) == 1 else None


def _text(override: Override) -> str:
    return override.get_value_element_as_str()


def _dotted(name: str) -> str:
    return name.replace("/", ".")


def _options_having(
    key: str, choices: Sequence[Choice], options_with: Callable[[str, str], Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Of the searched group that the key belongs to, the options that have it, where not all have."""
    for choice in choices:
        group = choice.key
        if key.startswith(f"{_dotted(group)}."):
            options, having = [_text(step[0]) for step in choice.steps], options_with(group, key[len(group) + 1 :])
            if not set(options) <= set(having):
                return {_dotted(group): tuple(option for option in options if option in having)}
    return {}


def _predicates(
    conditions: Sequence[str], found: Mapping[str, Dimension], names: Mapping[str, Any]
) -> dict[str, list[Where]]:
    """Those of `sweep.conditions` by key."""
    predicates: dict[str, list[Where]] = {}
    for text in conditions:
        key, word, predicate = (part.strip() for part in text.partition(" if "))
        if not word:
            raise ConfigError(f"sweep.conditions: {text} cannot be parsed. Write KEY if PREDICATE, {EXAMPLE}.")
        if key not in found:
            raise ConfigError(f"sweep.conditions: {key} is not searched. Searched are {', '.join(found) or 'no keys'}.")
        try:
            predicates.setdefault(key, []).append(
                parse_where(predicate, names, [name for name in found if "/" in name])
            )
        except ConfigError as error:
            raise ConfigError(str(error).replace("sweep.where", "sweep.conditions", 1)) from None
    return predicates


def _in_order(found: Mapping[str, Dimension]) -> Iterator[Dimension]:
    """As typed, but each after those that its conditions name."""
    keys = {_dotted(key): key for key in found}
    # A condition is asked while a point is drawn: what it names must have its value by then.
    named = {key: [keys[name] for name in dim.when.named() if name in keys] for key, dim in found.items()}
    try:
        order = list(TopologicalSorter(named).static_order())
    except CycleError as error:
        circle = " and ".join(dict.fromkeys(error.args[1]))
        raise ConfigError(f"sweep.conditions: {circle} depend on each other. Leave out one of them.") from None
    return (found[key] for key in order)
