"""Optuna's samplers. Each is made anew for every trial, with draws keyed by its number: a search can go on anywhere."""

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

from convgrid.system.seeding import derive


def tpe(seed: int, number: int, *, startup_trials: int = 10, candidates: int = 24) -> BaseSampler:
    """Tree-structured Parzen estimator: draw where good trials are dense and poor ones are not.

    Of the densities l of good and g of other trials, it takes the candidate with the largest l(x) / g(x).

    Args:
        seed: The sweep's.
        number: Of the trial that is drawn, from 0.
        startup_trials: So many are drawn at random first.
        candidates: Drawn from l for each trial.

    Returns:
        The sampler.

    Example:
        >>> type(tpe(0, 0)).__name__
        'TPESampler'

    Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011.
    """
    return TPESampler(n_startup_trials=startup_trials, n_ei_candidates=candidates, seed=_seed(seed, number))


def gp(seed: int, number: int, *, startup_trials: int = 10) -> BaseSampler:
    """Gaussian process with expected improvement: few trials of a smooth objective with few keys.

    Args:
        seed: The sweep's.
        number: Of the trial that is drawn, from 0.
        startup_trials: So many are drawn at random first.

    Returns:
        The sampler.

    Example:
        >>> type(gp(0, 0)).__name__
        'GPSampler'

    Source: Jones et al., Efficient Global Optimization of Expensive Black-Box Functions, 1998.
    """
    drawn = _seed(seed, number)
    return GPSampler(
        seed=drawn,
        independent_sampler=RandomSampler(seed=drawn),
        n_startup_trials=startup_trials,
        warn_independent_sampling=False,
    )


def nsgaii(seed: int, number: int, *, population_size: int = 50, crossover_rate: float = 0.9) -> BaseSampler:
    """Genetic algorithm that keeps the points that no other beats: many trials, several objectives.

    Args:
        seed: The sweep's.
        number: Of the trial that is drawn, from 0.
        population_size: Trials of a generation; those of the first are drawn at random.
        crossover_rate: Probability that a trial has two parents instead of one.

    Returns:
        The sampler.

    Example:
        >>> type(nsgaii(0, 0)).__name__
        'NSGAIISampler'

    Source: Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, 2002.
    """
    return NSGAIISampler(population_size=population_size, crossover_prob=crossover_rate, seed=_seed(seed, number))


def qmc(seed: int, number: int, *, sequence: str = "sobol", scramble: bool = True) -> BaseSampler:
    """Quasi-Monte Carlo: points spread more evenly than chance spreads them; conditions are left to chance.

    Args:
        seed: The sweep's.
        number: Of the trial that is drawn, from 0.
        sequence: sobol or halton.
        scramble: Shift the sequence by chance.

    Returns:
        The sampler.

    Example:
        >>> type(qmc(0, 0)).__name__
        'QMCSampler'

    Source: Bergstra & Bengio, Random Search for Hyper-Parameter Optimization, JMLR 2012.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return QMCSampler(
            qmc_type=sequence,
            scramble=scramble,
            seed=_seed(seed, 0),  # of the whole sequence
            independent_sampler=RandomSampler(seed=_seed(seed, number)),
            warn_independent_sampling=False,
        )


def random(seed: int, number: int) -> BaseSampler:
    """Chance alone, as `sweep=random`, but kept in Optuna's storage.

    Args:
        seed: The sweep's.
        number: Of the trial that is drawn, from 0.

    Returns:
        The sampler.

    Example:
        >>> type(random(0, 0)).__name__
        'RandomSampler'
    """
    return RandomSampler(seed=_seed(seed, number))


def _seed(seed: int, number: int) -> int:
    """What NumPy takes."""
    return derive(seed, "sampler", number) % 2**32
