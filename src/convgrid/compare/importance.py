"""How much of what the objective varies by is each key's doing: Optuna's functional analysis of variance."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convgrid.compare.multiple_comparisons import LEVEL
from convgrid.compare.ranking import Sample
from convgrid.compare.trials import Trials

LEAST_SETTINGS = 4
MOST_TRIALS = 250  # of a larger comparison, evenly drawn: the shares no longer change, the time does


def importance(found: Sequence[Sample], trials: Trials) -> tuple[dict[str, float], str]:
    """Share the variance of the objective out to the keys.

    Returns:
        Shares that sum to 1, the greatest first; {} and the reason where they would mean nothing.
    """
    if len(trials.keys) < 2:
        return {}, "The importance of keys needs two keys or more."
    if len(found) < LEAST_SETTINGS:
        return {}, f"The importance of keys needs {LEAST_SETTINGS} settings or more."
    if not _is_more_than_chance(found):
        return {}, "The importance of keys is not shown: the settings differ no more than their repetitions do."
    shares = _fanova(found, trials)
    return dict(sorted(shares.items(), key=lambda item: -item[1])), ""


def _is_more_than_chance(found: Sequence[Sample]) -> bool:
    """By the ranks of the results (Kruskal and Wallis), which need no equal spreads; single runs may be anything."""
    repeated = [each.results for each in found if len(each.results) > 1]
    if len(repeated) < 2:
        return True
    if len(set(np.concatenate(repeated))) == 1:
        return False
    from scipy import stats  # a second to import

    return float(stats.kruskal(*repeated).pvalue) <= LEVEL


def _fanova(found: Sequence[Sample], trials: Trials) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # in a notebook without ipywidgets
        import optuna  # half a second, and sklearn's trees two more
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    columns = {key: _column([each.values.get(key) for each in found]) for key in trials.keys}
    ranges = {key: _distribution(column) for key, column in columns.items()}
    try:
        study = optuna.create_study(direction="maximize" if trials.mode == "max" else "minimize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    results = [
        ({key: column[place] for key, column in columns.items()}, float(value))
        for place, each in enumerate(found)
        for value in each.results
    ]
    step = -(-len(results) // MOST_TRIALS)
    study.add_trials(
        [
            optuna.trial.create_trial(params=params, distributions=ranges, value=value)
            for params, value in results[::step]
        ]
    )
    shares: Mapping[str, float] = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {key: float(shares[key]) for key in trials.keys}


def _column(values: Sequence[Any]) -> list[Any]:
    """Numbers where all are; otherwise words."""
    if all(isinstance(value, int | float) for value in values):
        return [float(value) for value in values]
    return ["unset" if value is None else str(value) for value in values]


def _distribution(column: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(column[0], str):
        return CategoricalDistribution(sorted(set(column)))
    low, high = min(column), max(column)
    return FloatDistribution(low, high, log=low > 0 and high / low >= 100)
