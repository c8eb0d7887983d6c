"""Trials -> the answer: the ranking with its certainty, what mattered, what it costs, and what makes it unfair."""

import re
from collections.abc import Sequence

import numpy as np

from convgrid.compare import multiple_comparisons
from convgrid.compare.effects import effects, interactions, levels, pareto
from convgrid.compare.fairness import warnings
from convgrid.compare.forecast import settles
from convgrid.compare.importance import importance
from convgrid.compare.racing import Race, RaceRules
from convgrid.compare.ranking import Sample, errors, raced, rank, samples
from convgrid.compare.results import Answer, Setting, Tested
from convgrid.compare.sentences import COST_NAMES, decimals, measured, number_of, race_sentence, sentence, unit
from convgrid.compare.trials import Trials

NUMBER_PATTERN = re.compile(r"\d[\d.,]*")
NUM_DRAWS = 2000  # of all means at once, to see how much the best of them flatters
BLOCK = 500  # draws in memory at a time


def answer(trials: Trials, *, in_full: bool = True) -> Answer:
    """Compare trials: which setting is best, by how much, and whether that is more than chance.

    Args:
        trials: As `load` gives them.
        in_full: Whether to tell importance, effects and interactions as well, which takes longer.

    Returns:
        The answer; without settings, and a sentence that says so, where no trial has finished.

    Source: `convgrid.compare.multiple_comparisons` names that of the comparison; Breiman et al.,
    Classification and Regression Trees, 1984 (one standard error); Hutter et al., ICML 2014 (importance).
    """
    found, race = raced(samples(trials), trials)
    settings = rank(found, trials, race)
    smallest = _smallest_within(settings, trials, race) if race else _smallest(found, settings, trials)
    shares, why_none = importance(found, trials) if in_full else ({}, "")
    by = levels(found, trials.keys) if in_full else {}
    return Answer(
        settings=settings,
        sentence=_sentence(settings, smallest, trials, race),
        smallest=smallest,
        chosen_test=_tested(found, settings, trials),
        warnings=warnings(found, trials),
        notes=_notes(found, trials, why_none),
        importance=shares,
        effects=effects(found, by, trials),
        interactions=interactions(found, by),
        pareto=pareto(found, trials.mode),
        failures=_failures(trials),
        race=race,
        settles="" if race else settles(found, settings, trials),
    )


def alike(reason: str) -> str:
    """What a reason has in common with others that differ in numbers only.

    Args:
        reason: Why a trial failed.

    Example:
        >>> alike("train/loss became nan in epoch 12")
        'train/loss became nan in epoch 0'
    """
    return NUMBER_PATTERN.sub("0", reason)


def _sentence(settings: Sequence[Setting], smallest: Setting | None, trials: Trials, race: Race | None) -> str:
    if not settings:
        return "no trial has finished"
    return race_sentence(settings, smallest, trials, race) if race else sentence(settings, smallest, trials)


def _smallest_within(settings: Sequence[Setting], trials: Trials, race: Race) -> Setting | None:
    """Of those that a race has left, the cheapest that is as near to the best as nobody minds."""
    if race.ending != "tie" or trials.race is None or trials.race.tolerance is None:
        return None
    reach = trials.race.tolerance
    return _cheapest([each for each in settings[: len(race.left)] if abs(each.mean - settings[0].mean) <= reach])


def _smallest(found: Sequence[Sample], settings: Sequence[Setting], trials: Trials) -> Setting | None:
    """The one-standard-error rule: a cheaper setting that is as good as the best for all that its mean shows."""
    if not found or found[0].count < 2:
        return None
    reach = _standard_errors(found)[0]
    return _cheapest([each for each in settings if abs(each.mean - settings[0].mean) <= reach])


def _cheapest(near: Sequence[Setting]) -> Setting | None:
    for cost in COST_NAMES:
        if all(getattr(each, cost) is not None for each in near):
            return min(near, key=lambda each: (getattr(each, cost), each.place))
    return None


def _standard_errors(found: Sequence[Sample]) -> np.ndarray:
    """Of the means, by spreads that are raised where they are lucky; 0 for a setting that was run once, shape (S,)."""
    variance, freedom, share = errors(found)
    known = np.isfinite(variance) & (np.nan_to_num(variance) > 0)
    error = np.zeros(len(found))
    if known.any():
        raised = multiple_comparisons.spreads(variance[known], freedom[known], multiple_comparisons.IN_INTERVALS)
        error[known] = np.sqrt(raised.variance * share[known])
    return error


def _tested(found: Sequence[Sample], settings: Sequence[Setting], trials: Trials) -> Tested | None:
    metric = trials.metric.replace("val/", "test/", 1)
    if not settings or metric == trials.metric or metric not in trials.frame:
        return None
    chosen = settings[0]
    results = trials.frame.loc[list(chosen.trials), metric].dropna().to_numpy(float)
    if not len(results):
        return None
    mean, spread = float(results.mean()), float(results.std(ddof=1)) if len(results) > 1 else None
    told = f"{metric} of the chosen setting: {measured(mean, spread, decimals(settings))}"
    over = f" (sd over {number_of(len(results), unit(trials))})" if spread is not None else ""
    return Tested(metric, mean, spread, len(results), f"{told}{over}. {_selection(found, settings, trials)}")


def _selection(found: Sequence[Sample], settings: Sequence[Setting], trials: Trials) -> str:
    """Say by how much the best of many flatters: the mean excess of the luckiest over its truth, by simulation."""
    if len(found) == 1:
        return f"Best epochs were chosen by {trials.metric}, which flatters that a little, and not the test."
    chosen = f"It was chosen as the best of {len(found):,} by {trials.metric}, which flatters that value"
    error = _standard_errors(found)
    if trials.race is not None or not error.any():
        return f"{chosen} by an unknown amount; the test images had no part in it."
    flattered = _flattery(np.array([each.mean for each in found]), error, trials.mode)
    digits = decimals(settings)
    least = 10.0**-digits
    by = f"by about {flattered:.{digits}f}" if flattered >= least else f"by less than {least:.{digits}f}"
    return f"{chosen} {by}; the test images had no part in it."


def _flattery(means: np.ndarray, error: np.ndarray, mode: str) -> float:
    """By the parametric bootstrap: draw all means around those that were seen, and take the best of each draw."""
    generator, sign, excess = np.random.default_rng(0), 1 if mode == "max" else -1, 0.0
    for _ in range(NUM_DRAWS // BLOCK):
        drawn = means + error * generator.standard_normal((BLOCK, len(means)))
        lucky = (sign * drawn).argmax(axis=1)
        excess += float(sign * (drawn[np.arange(BLOCK), lucky] - means[lucky]).sum())
    return excess / NUM_DRAWS


def _failures(trials: Trials) -> dict[str, tuple[str, ...]]:
    """Reasons that differ in numbers only are one; the most frequent first."""
    failed = trials.frame[trials.frame["status"] == "failed"]
    groups: dict[str, tuple[str, list[str]]] = {}
    for trial, reason in failed["reason"].fillna("").items():
        groups.setdefault(alike(reason), (reason, []))[1].append(str(trial))
    ranked = sorted(groups.values(), key=lambda group: -len(group[1]))
    return {reason or "for no reason known": tuple(ids) for reason, ids in ranked}


def _notes(found: Sequence[Sample], trials: Trials, why_no_importance: str) -> tuple[str, ...]:
    one, notes = unit(trials), []
    repeated = [each for each in found if each.count > 1]
    if repeated:
        notes.append(f"+- is the sample standard deviation over {one}s; the ranking is by the mean.")
        notes += (_race_method(trials.race) if trials.race else _method(found, trials)) if len(found) > 1 else []
    elif found:
        notes.append("Each setting was run once: no spread, no interval, no p. sweep.seeds=5 repeats each.")
    if repeated and max(each.count for each in repeated) < 3:
        notes.append(
            f"Two {one}s say very little: of two settings, a difference of 3 standard deviations is seen once in eight "
            "times. docs/answer.md has a table of what more of them see."
        )
    if found:
        notes.append(_images(found, trials))
    if why_no_importance:
        notes.append(why_no_importance)
    elif not repeated and len(found) > 1:
        notes.append("Where each setting was run once, importance counts chance as an effect of the keys.")
    return tuple(notes)


def _race_method(rules: RaceRules) -> list[str]:
    looks = ", ".join(map(str, rules.looks))
    return [
        f"The settings raced: all got {min(rules.looks)} seeds, then only those in question did, and were compared "
        f"after {looks}. Each time a setting is out that is worse than the best by more than chance explains, with a "
        "share of 5 % that is spent over all looks: of 100 races the best is lost in about 1 (benchmarks/racing.py).",
        "No p and no interval is shown: the number of seeds went by the results, so that means of settings that are "
        "out are a little too low, and that of the best is a little too high.",
    ]


def _method(found: Sequence[Sample], trials: Trials) -> list[str]:
    if "fold" in trials.repetitions:
        how = (
            "Settings are compared by their differences on the same folds; 1/n + 1/(n - 1) of the variance allows for "
            "folds whose training images overlap (Nadeau and Bengio)."
        )
    else:
        how = (
            "p compares each setting with the best, with its own spread (Welch), which is raised where it is luckily "
            "small, and adjusted for all comparisons (Tukey's range, stepping down). Seeds count as independent."
        )
    return [
        how,
        f"The intervals hold for all {number_of(len(found), 'setting')} together, 19 times of 20. Where settings "
        "tie for the best, one is called better than the others about 5 times of 100 (benchmarks/comparison.py).",
        "The smallest within one standard error: the fewest multiply-adds among settings whose mean is as near to the "
        "best as the standard error of the best (Breiman's rule).",
    ]


def _images(found: Sequence[Sample], trials: Trials) -> str:
    """All seeds share the validation images; a binomial says what other images would have changed."""
    if "fold" in trials.repetitions:
        return "Intervals cover what folds and seeds change; other images of the same kind are covered in part only."
    images = trials.finished.get("data.images.validation")
    count = int(images.dropna().iloc[0]) if images is not None and images.notna().any() else None
    name = trials.metric.rpartition("/")[2]
    told = (
        "Intervals cover what the seed changes. All trials share their validation images: other images would move all"
    )
    if name not in ("accuracy", "exact_match"):
        return f"{told} results, which no interval here covers."
    share = min(max(found[0].mean, 0.0), 1.0)
    if count is None:
        return f"{told} results by about sqrt(a (1 - a) / images), which no interval here covers."
    error = float(np.sqrt(share * (1 - share) / count))
    return f"{told} results by about {error:.2g} (binomial, {count:,} images), which no interval here covers."
