"""The answer in words: numbers with the digits that chance leaves them, and sentences of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convgrid.compare import multiple_comparisons
from convgrid.compare.racing import Race
from convgrid.compare.results import Setting
from convgrid.compare.trials import Trials
from convgrid.system.text import one_line
from convgrid.terminal import duration

FRACTIONS = {1 / 10: "a tenth", 1 / 5: "a fifth", 1 / 4: "a quarter", 1 / 3: "a third", 1 / 2: "half",
             2 / 3: "two thirds", 3 / 4: "three quarters"}  # fmt: skip
COUNTLESS = 10_000  # seeds
NEAR = 0.08  # how far, in parts, a fraction may be from its word
COST_NAMES = {"multiply_adds": "multiply-adds", "parameters": "parameters"}


def text(value: Any) -> str:
    """Write a key's value as the user types it.

    Example:
        >>> text(2), text(1e-4), text("adam"), text(True), text(None)
        ('2', '0.0001', 'adam', 'true', 'unset')
    """
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def short(keys: Sequence[str]) -> dict[str, str]:
    """Shorten keys to their last words, where those tell them apart.

    Returns:
        By key.

    Example:
        >>> short(["arch.n", "optimizer.lr", "schedule.lr"])
        {'arch.n': 'n', 'optimizer.lr': 'optimizer.lr', 'schedule.lr': 'schedule.lr'}
    """
    last = [key.rpartition(".")[2] for key in keys]
    return {key: word if last.count(word) == 1 else key for key, word in zip(keys, last, strict=True)}


def named(values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> str:
    """Write a setting.

    Args:
        names: What to call each key; None writes them in full.

    Example:
        >>> named({"arch.n": 2, "optimizer": "adam"}, {"arch.n": "n", "optimizer": "optimizer"})
        'n=2 optimizer=adam'
    """
    return " ".join(f"{names[key] if names else key}={one_line(text(value))}" for key, value in values.items())


def decimals(settings: Sequence[Setting]) -> int:
    """Count the digits behind the point that mean something: two of a usual spread.

    Args:
        settings: All that are shown.

    Returns:
        From 0 to 6; so many that means have four digits, where there are no spreads.

    Example:
        >>> one = Setting({}, ("a", "b"), 2, 12.345, 0.5, None, None, None, None, None, 1, "best")
        >>> decimals([one])
        2
    """
    spreads = [each.spread for each in settings if each.spread]
    if spreads:
        return min(6, max(0, 1 - _magnitude(float(np.median(spreads)))))
    usual = float(np.median([abs(each.mean) for each in settings]))
    return min(6, max(0, 3 - _magnitude(usual))) if usual else 4


def value(each: Setting, digits: int) -> str:
    """Write a setting's mean and spread.

    Example:
        >>> value(Setting({}, ("a", "b"), 2, 0.9171, 0.0024, None, None, None, None, None, 1, "best"), 4)
        '0.9171 +- 0.0024'
    """
    return measured(each.mean, each.spread, digits)


def measured(mean: float, spread: float | None, digits: int) -> str:
    """Write a mean, and its spread where there is one.

    Args:
        spread: Their standard deviation; None of one.

    Example:
        >>> measured(0.9171, None, 3)
        '0.917'
    """
    return f"{mean:.{digits}f}" if spread is None else f"{mean:.{digits}f} +- {spread:.{digits}f}"


def chance(p: float) -> str:
    """Write how easily chance does it.

    Args:
        p: From 0 to 1.

    Example:
        >>> chance(0.2134), chance(0.0312), chance(1e-9), chance(0.6)
        ('p = 0.21', 'p = 0.03', 'p < 0.001', 'p > 0.5')
    """
    if p < 0.001:
        return "p < 0.001"
    if p >= multiple_comparisons.LIKELY:
        return f"p > {multiple_comparisons.LIKELY:g}"
    return f"p = {p:.2f}" if p >= 0.01 else f"p = {p:.3f}"


def verdict(each: Setting) -> str:
    """Write how a setting compares with the best.

    Example:
        >>> verdict(Setting({}, ("a", "b", "c"), 3, 0.9, None, None, None, None, None, None, 2, "out"))
        'out after 3 seeds'
    """
    return f"out after {number_of(each.n, 'seed')}" if each.status == "out" else each.status


def number_of(number: int, unit: str) -> str:
    """Write so many of something.

    Example:
        >>> number_of(1, "seed"), number_of(1200, "trial")
        ('1 seed', '1,200 trials')
    """
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def short_duration(seconds: float) -> str:
    """Write a time.

    Example:
        >>> short_duration(3.21), short_duration(125)
        ('3.2 s', '2 min')
    """
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def unit(trials: Trials) -> str:
    """What a repetition is: a seed, a fold, or just a run."""
    return trials.repetitions[0] if len(trials.repetitions) == 1 and not trials.mixed else "run"


def share(part: float, whole: float) -> str:
    """Write a cost as a part of another.

    Example:
        >>> share(1, 3), share(12, 100), share(1, 1)
        ('a third of', '12 % of', 'as many')
    """
    ratio = part / whole
    if abs(ratio - 1) < 0.05:
        return "as many"
    for fraction, word in FRACTIONS.items():
        if abs(ratio / fraction - 1) < NEAR:
            return f"{word} of"
    return f"{100 * ratio:.0f} % of" if ratio >= 0.01 else f"{100 * ratio:.2g} % of"


def sentence(settings: Sequence[Setting], smallest: Setting | None, trials: Trials) -> str:
    """Answer which setting is best, and whether that is more than chance.

    Args:
        settings: The best first, at least one.
        smallest: The cheapest within one standard error.

    Returns:
        One sentence, without a stop at its end.
    """
    first, digits, names = settings[0], decimals(settings), short(trials.keys)
    over = f" (sd over {number_of(first.n, unit(trials))})" if first.spread is not None else ""
    reached = f"{trials.metric} {value(first, digits)}{over}"
    if len(settings) == 1:
        return f"{named(first.values) or 'one setting'}: {reached}; there is nothing to compare it with"
    parts = [f"{named(first.values)} is best: {reached}"]
    parts += _rivals(settings, digits, names, trials)
    if smallest is not None:
        parts.append(_small(settings, smallest, names))
    return "; ".join(parts)


def _rivals(settings: Sequence[Setting], digits: int, names: Mapping[str, str], trials: Trials) -> list[str]:
    second = settings[1]
    who = f"second {named(second.values, names)} {second.mean:.{digits}f}"
    if second.p is None:
        again = "sweep.folds=5" if "fold" in trials.repetitions else "sweep.seeds=5"
        lone = settings[0] if settings[0].n == 1 else second
        which = "each setting" if all(each.n == 1 for each in settings) else named(lone.values, names)
        return [f"{who}; {which} was run once, which cannot distinguish a difference from chance: repeat with {again}"]
    level = [each for each in settings[1:] if each.status == "not distinguishable"]
    if second.status == "worse":
        more = f", yet {_others(level)} not distinguishable from the best" if level else ""
        return [f"{who}, worse ({chance(second.p)}){more}"]
    others = level[1:]
    more = f", nor {_others(others)}" if others else ""
    return [f"{who}, not distinguishable ({chance(second.p)}){more}"]


def _others(found: Sequence[Setting]) -> str:
    """Such as "is 1 other", "are 6 others"."""
    return f"{'is' if len(found) == 1 else 'are'} {number_of(len(found), 'other')}"


def race_sentence(settings: Sequence[Setting], smallest: Setting | None, trials: Trials, race: Race) -> str:
    """Answer what a race came to.

    Args:
        settings: In its order, at least one.
        smallest: The cheapest within the tolerance of the best; None where the race did not end so.

    Returns:
        One sentence, without a stop at its end.
    """
    assert trials.race is not None
    first, digits, took = settings[0], decimals(settings), number_of(race.trials, "trial")
    over = f" (sd over {number_of(first.n, 'seed')})" if first.spread is not None else ""
    who, reached = named(first.values) or "one setting", f"{trials.metric} {value(first, digits)}{over}"
    others = len(race.left) - 1
    them = f"{others:,} {'other is' if others == 1 else 'others are'} still in question"
    match race.ending:
        case "best":
            rest = "the other" if len(race.out) == 1 else f"all {len(race.out):,} others"
            told = f"a race of {took} told it from {rest}" if race.out else "there is nothing to compare it with"
            return f"{who} is best: {reached}; {told}"
        case "failed":
            return f"of every setting a trial has failed: {who} reached {reached}"
        case "tie":
            told = f"{who} is best: {reached}; {them}, none better by more than {trials.race.tolerance:g}"
        case "hopeless":
            told = f"undecided: {who} leads: {reached}; {them}, and to tell them takes {_seeds(race.needed)}"
        case "seeds":
            told = f"undecided after {race.seeds} seeds, the most allowed: {who} leads: {reached}; {them}"
        case "budget":
            spent = f"another look would take more than sweep.max_trials={trials.race.budget}"
            told = f"undecided after {took}: {who} leads: {reached}; {them}, and {spent}"
        case None:
            left = f"{len(race.left):,} of {trials.race.settings:,} are in question"
            return f"the race has not ended: {who} leads: {reached}; {left}"
    if smallest is None or smallest is first:
        return told
    small = f"the smallest within that is {named(smallest.values, short(trials.keys))}"
    return f"{told}; {_cheaper(small, smallest, first)}"


def _seeds(needed: float) -> str:
    """With two digits that mean something."""
    return "more seeds than can be counted" if needed > COUNTLESS else f"about {float(f'{needed:.2g}'):,.0f} seeds each"


def _small(settings: Sequence[Setting], smallest: Setting, names: Mapping[str, str]) -> str:
    first = settings[0]
    if smallest is first:
        costs = [each.multiply_adds for each in settings]
        least = min((cost for cost in costs if cost is not None), default=None)
        is_least = None not in costs and first.multiply_adds == least
        return "none has fewer multiply-adds" if is_least else "no smaller setting is within one standard error"
    return _cheaper(f"the smallest within one standard error is {named(smallest.values, names)}", smallest, first)


def _cheaper(told: str, smallest: Setting, first: Setting) -> str:
    for key, name in COST_NAMES.items():
        part, whole = getattr(smallest, key), getattr(first, key)
        if part and whole:
            of = share(part, whole)
            return f"{told} with {of} {name}" if of == "as many" else f"{told} with {of} the {name}"
    return told


def _magnitude(number: float) -> int:
    """Of the first digit: 0 for 1 to 9, -1 for 0.1 to 0.9."""
    return math.floor(math.log10(abs(number)))
