"""Schedules: from where training stands to the factor on `optimizer.lr` for the step about to be taken.

Each is a pure function without state, so a resumed run needs nothing but the step and the history. Where there is a
warm-up it comes first, on a straight line from lr / warm-up steps to lr, and the schedule itself starts when it ends.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from convgrid.errors import ConfigError

__all__ = ["Progress", "constant", "cosine", "one_cycle", "reduce_on_plateau", "step"]


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Args:
        step: Optimizer steps done so far, which is the 0-based number of the step about to be taken.
        steps_per_epoch: Optimizer steps in an epoch.
        max_epochs: Epochs that the training is planned for.
        history: The objective of each finished epoch, signed so that lower is better.
    """

    step: int
    steps_per_epoch: int
    max_epochs: int
    history: Sequence[float] = ()

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.steps_per_epoch * self.max_epochs


def constant(progress: Progress, *, warmup_epochs: float = 0.0) -> float:
    """The same lr throughout.

    1, after a warm-up of (step + 1) / warm-up steps.

    Args:
        progress: Where training stands.
        warmup_epochs: Length of the warm-up in epochs; fractions of an epoch are fine, 0 is none.

    Returns:
        Factor on optimizer.lr, in (0, 1].

    Raises:
        ConfigError: If warmup_epochs is below 0 or not finite.

    Example:
        >>> constant(Progress(step=1, steps_per_epoch=4, max_epochs=3), warmup_epochs=1)
        0.5

    Source: Goyal et al., Accurate, Large Minibatch SGD, 2017, for the warm-up.
    """
    ramp, _ = _warmup(progress, warmup_epochs)
    return ramp


def step(progress: Progress, *, step_size: int = 10, gamma: float = 0.1, warmup_epochs: float = 0.0) -> float:
    """Drops by one factor every few epochs.

    gamma ** floor(epoch / step_size), with the epoch counted from the end of the warm-up.

    Args:
        progress: Where training stands.
        step_size: Epochs between two drops.
        gamma: Factor of each drop, in (0, 1].
        warmup_epochs: Length of the warm-up in epochs; 0 is none.

    Returns:
        Factor on optimizer.lr, in (0, 1].

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> step(Progress(step=8, steps_per_epoch=4, max_epochs=3), step_size=2)
        0.1

    Source: `torch.optim.lr_scheduler.StepLR`, which it equals without warm-up.
    """
    _require(step_size >= 1, "step_size", step_size, "at least 1")
    _require(0 < gamma <= 1, "gamma", gamma, "above 0 and at most 1")
    ramp, steps = _warmup(progress, warmup_epochs)
    return ramp * gamma ** (steps // (step_size * progress.steps_per_epoch))


def cosine(progress: Progress, *, min_fraction: float = 0.0, warmup_epochs: float = 0.0) -> float:
    """Falls along half a cosine, a little each step, to min_fraction at the end of training.

    min_fraction + (1 - min_fraction) * (1 + cos(pi * t / T)) / 2, with t and T the steps done and planned after the
    warm-up.

    Args:
        progress: Where training stands.
        min_fraction: What it falls to, as a fraction of optimizer.lr, in [0, 1].
        warmup_epochs: Length of the warm-up in epochs; 0 is none.

    Returns:
        Factor on optimizer.lr, in [0, 1]; min_fraction itself only once training is over.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> cosine(Progress(step=6, steps_per_epoch=4, max_epochs=3), min_fraction=0.2)
        0.6

    Source: Loshchilov and Hutter, SGDR, ICLR 2017, without restarts; `CosineAnnealingLR` with T_max in steps.
    """
    _require(0 <= min_fraction <= 1, "min_fraction", min_fraction, "between 0 and 1")
    ramp, steps = _warmup(progress, warmup_epochs)
    planned = progress.total_steps - _warmup_steps(progress, warmup_epochs)
    # A training that is all warm-up (planned <= 0) has no steps here, a finished one no more than planned.
    return ramp * _half_cosine(1.0, min_fraction, min(steps / max(planned, 1), 1.0))


def one_cycle(
    progress: Progress, *, pct_start: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4
) -> float:
    """Up to lr and down again, both along half a cosine; optimizer.lr is the peak.

    From 1 / div_factor to 1 at step pct_start * T - 1, then to 1 / (div_factor * final_div_factor) at the last step,
    T - 1. The momentum stays as it is; torch's OneCycleLR moves it too unless cycle_momentum=False.

    Args:
        progress: Where training stands.
        pct_start: Share of the training that goes up, in [0, 1).
        div_factor: lr over the first step's lr, at least 1.
        final_div_factor: The first step's lr over the last step's, at least 1.

    Returns:
        Factor on optimizer.lr, in (0, 1].

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> one_cycle(Progress(step=0, steps_per_epoch=4, max_epochs=3))
        0.04

    Source: Smith and Topin, Super-Convergence, 2018; `torch.optim.lr_scheduler.OneCycleLR`, anneal_strategy="cos".
    """
    _require(0 <= pct_start < 1, "pct_start", pct_start, "at least 0 and below 1")
    _require(1 <= div_factor < math.inf, "div_factor", div_factor, "at least 1")
    _require(1 <= final_div_factor < math.inf, "final_div_factor", final_div_factor, "at least 1")
    first, last = 1 / div_factor, 1 / (div_factor * final_div_factor)
    end = progress.total_steps - 1
    peak = pct_start * progress.total_steps - 1
    if progress.step < peak:
        return _half_cosine(first, 1.0, progress.step / peak)
    return _half_cosine(1.0, last, min((progress.step - peak) / (end - peak), 1.0))


def reduce_on_plateau(
    progress: Progress,
    *,
    factor: float = 0.1,
    patience: int = 10,
    min_delta: float = 1e-4,
    cooldown: int = 0,
    min_fraction: float = 0.0,
    warmup_epochs: float = 0.0,
) -> float:
    """Drops by one factor whenever the objective has not improved for `patience` epochs.

    max(factor ** drops, min_fraction). An epoch improves if it is more than min_delta below the best so far; NaN never
    does. Epochs of the warm-up count. Keras' mode is not needed, since the history is signed.

    Args:
        progress: Where training stands.
        factor: Factor of each drop, in (0, 1).
        patience: Epochs in a row without improvement that make a drop, at least 1.
        min_delta: Smallest improvement that counts, in the objective's unit.
        cooldown: Epochs after a drop that are not counted against the patience; the last of them counts again.
        min_fraction: The lowest it goes, as a fraction of optimizer.lr, in [0, 1].
        warmup_epochs: Length of the warm-up in epochs; 0 is none.

    Returns:
        Factor on optimizer.lr, in [0, 1].

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> reduce_on_plateau(Progress(12, 4, 9, history=[0.7, 0.8, 0.9]), factor=0.5, patience=2)
        0.5

    Source: Keras 3 `callbacks.ReduceLROnPlateau`.
    """
    _require(0 < factor < 1, "factor", factor, "above 0 and below 1")
    _require(patience >= 1, "patience", patience, "at least 1")
    _require(0 <= min_delta < math.inf, "min_delta", min_delta, "0 or above")
    _require(cooldown >= 0, "cooldown", cooldown, "0 or above")
    _require(0 <= min_fraction <= 1, "min_fraction", min_fraction, "between 0 and 1")
    ramp, _ = _warmup(progress, warmup_epochs)
    return ramp * max(factor ** _drops(tuple(progress.history), patience, min_delta, cooldown), min_fraction)


@lru_cache(maxsize=64)  # asked every step, while the history changes once an epoch
def _drops(history: tuple[float, ...], patience: int, min_delta: float, cooldown: int) -> int:
    """How often Keras' callback would have reduced the lr; its `wait` and `cooldown_counter`, in its order."""
    best, wait, resting, drops = math.inf, 0, 0, 0
    for value in history:
        if resting:
            resting -= 1
        if value + min_delta < best:
            best, wait = value, 0
        elif not resting:
            wait += 1
            if wait >= patience:
                drops, wait, resting = drops + 1, 0, cooldown
    return drops


def _warmup(progress: Progress, warmup_epochs: float) -> tuple[float, int]:
    """The warm-up's factor (1 once it is over), and the steps done since it ended."""
    length = _warmup_steps(progress, warmup_epochs)
    if progress.step < length:
        return (progress.step + 1) / length, 0
    return 1.0, progress.step - length


def _warmup_steps(progress: Progress, warmup_epochs: float) -> int:
    _require(0 <= warmup_epochs < math.inf, "warmup_epochs", warmup_epochs, "0 or above")
    return round(warmup_epochs * progress.steps_per_epoch)


def _half_cosine(start: float, end: float, share: float) -> float:
    weight = (1 + math.cos(math.pi * share)) / 2
    return weight * start + (1 - weight) * end


def _require(holds: bool, key: str, value: float, rule: str) -> None:
    if not holds:
        raise ConfigError(f"schedule.{key}={value} must be {rule}.")
