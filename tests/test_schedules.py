"""The schedules against torch's schedulers, Keras' callback, and what their docstrings say."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from convgrid import schedules
from convgrid.errors import ConfigError
from convgrid.schedules import Progress

STEPS_PER_EPOCH = 7
MAX_EPOCHS = 11
WITH_WARMUP = [schedules.constant, schedules.step, schedules.cosine, schedules.reduce_on_plateau]


def over_training(schedule: Callable[..., float], **options: Any) -> list[float]:
    """The factor at each step of a training whose objective falls by 1 an epoch."""
    return [
        schedule(
            Progress(step, STEPS_PER_EPOCH, MAX_EPOCHS, history=range(0, -(step // STEPS_PER_EPOCH), -1)), **options
        )
        for step in range(STEPS_PER_EPOCH * MAX_EPOCHS)
    ]


def torchs(make: Callable[..., Any], *, lr: float = 1.0, each_epoch: bool = False, **options: Any) -> list[float]:
    """The lr at each step under one of torch's schedulers."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, rates = make(optimizer, **options), []
    for step in range(1, STEPS_PER_EPOCH * MAX_EPOCHS + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < STEPS_PER_EPOCH * MAX_EPOCHS and (not each_epoch or step % STEPS_PER_EPOCH == 0):
            scheduler.step()
    return rates


@pytest.mark.reference("schedule", "constant")
def test_constant_is_one_throughout() -> None:
    assert over_training(schedules.constant) == [1.0] * 77


@pytest.mark.reference("schedule", "step")
@pytest.mark.parametrize(("step_size", "gamma"), [(10, 0.1), (1, 0.5), (3, 1.0), (40, 0.2)])
def test_step_is_torchs_step_lr(step_size: int, gamma: float) -> None:
    expected = torchs(lr_scheduler.StepLR, each_epoch=True, step_size=step_size, gamma=gamma)
    assert over_training(schedules.step, step_size=step_size, gamma=gamma) == pytest.approx(expected, rel=1e-12)


@pytest.mark.reference("schedule", "cosine")
@pytest.mark.parametrize("min_fraction", [0.0, 0.1, 1.0])
def test_cosine_is_torchs_cosine_annealing_by_the_step(min_fraction: float) -> None:
    expected = torchs(lr_scheduler.CosineAnnealingLR, T_max=STEPS_PER_EPOCH * MAX_EPOCHS, eta_min=min_fraction)
    assert over_training(schedules.cosine, min_fraction=min_fraction) == pytest.approx(expected, abs=1e-12)


@pytest.mark.reference("schedule", "one_cycle")
@pytest.mark.parametrize(
    ("pct_start", "div_factor", "final_div_factor"),
    [(0.3, 25.0, 1e4), (0.05, 10.0, 1.0), (0.99, 1.0, 100.0), (0.0, 2.0, 5.0)],
)
def test_one_cycle_is_torchs(pct_start: float, div_factor: float, final_div_factor: float) -> None:
    options: dict[str, Any] = {"pct_start": pct_start, "div_factor": div_factor, "final_div_factor": final_div_factor}
    expected = torchs(
        lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=77, anneal_strategy="cos", cycle_momentum=False, **options
    )
    assert over_training(schedules.one_cycle, **options) == pytest.approx(expected, rel=1e-9)


def test_one_cycle_starts_at_the_peak_where_torch_divides_by_zero() -> None:
    with pytest.raises(ZeroDivisionError):
        torchs(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=10, pct_start=0.1, cycle_momentum=False)
    assert schedules.one_cycle(Progress(0, 1, 10), pct_start=0.1) == 1.0
    assert schedules.one_cycle(Progress(9, 1, 10), pct_start=0.1) == pytest.approx(4e-6)


OBJECTIVES = [1.0, 0.9, 0.95, 0.89995, 0.91, 0.92, 0.8, 0.85, 0.86, 0.87, 0.88, 0.79995, 0.9]
OBJECTIVES += [0.91, 0.92, 0.5, 0.6, 0.61, 0.62, 0.63, 0.64, 0.65, 0.4, 0.4, 0.4, 0.4]

# keras 3.15.1, torch backend: keras.callbacks.ReduceLROnPlateau(mode="min", <options>) on an SGD of lr 1, fed
# OBJECTIVES; for how many epochs in a row the lr ended at each value. min_lr is our min_fraction.
PLATEAUS: list[tuple[dict[str, Any], list[tuple[float, int]]]] = [
    (
        {"patience": 2, "factor": 0.5},
        list(zip([2.0**-n for n in range(11)], [3, 2, 3, 2, 2, 2, 3, 2, 2, 3, 2], strict=True)),
    ),
    (
        {"patience": 2, "factor": 0.5, "cooldown": 2},
        [(1.0, 3), (0.5, 5), (0.25, 3), (0.125, 3), (0.0625, 3), (0.03125, 3), (0.015625, 4), (0.0078125, 2)],
    ),
    (
        {"patience": 1, "factor": 0.5, "min_delta": 0.0, "cooldown": 1},
        list(
            zip([2.0**-n for n in range(20)], [2, 2, 1, 2, 1, 1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1], strict=True)
        ),
    ),
    ({"patience": 3, "min_fraction": 0.005}, [(1.0, 4), (0.1, 5), (0.01, 3), (0.005, 14)]),
    (
        {"patience": 2, "factor": 0.5, "cooldown": 3, "min_delta": 0.2, "min_fraction": 0.2},
        [(1.0, 2), (0.5, 4), (0.25, 4), (0.2, 16)],
    ),
]


@pytest.mark.reference("schedule", "reduce_on_plateau")
@pytest.mark.parametrize(("options", "golden"), PLATEAUS)
def test_reduce_on_plateau_is_keras(options: dict[str, Any], golden: list[tuple[float, int]]) -> None:
    expected = [factor for factor, epochs in golden for _ in range(epochs)]
    assert len(expected) == len(OBJECTIVES) == 26
    ends = range(1, len(OBJECTIVES) + 1)
    factors = [schedules.reduce_on_plateau(Progress(7 * n, 7, 99, OBJECTIVES[:n]), **options) for n in ends]
    assert factors == pytest.approx(expected, rel=1e-12)


def test_reduce_on_plateau_takes_nan_for_no_improvement() -> None:
    history = [float("nan"), 1.0, float("nan"), 0.9, float("nan"), float("nan")]
    factors = [schedules.reduce_on_plateau(Progress(0, 1, 9, history[:n]), factor=0.5, patience=2) for n in range(7)]
    assert factors == [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]


def test_reduce_on_plateau_knows_nothing_but_its_argument() -> None:
    plateau = Progress(30, 7, 99, [1.0] * 12)
    before = schedules.reduce_on_plateau(plateau)
    schedules.reduce_on_plateau(Progress(30, 7, 99, [3.0, 2.0, 1.0]))
    assert before == schedules.reduce_on_plateau(plateau) == 0.1


@pytest.mark.parametrize("schedule", WITH_WARMUP)
@pytest.mark.parametrize(("warmup_epochs", "steps"), [(1, 7), (2.5, 18), (0.2, 1)])
def test_a_warmup_climbs_by_equal_steps_from_one_step_to_lr(
    schedule: Callable[..., float], warmup_epochs: float, steps: int
) -> None:
    factors = over_training(schedule, warmup_epochs=warmup_epochs)
    assert factors[:steps] == pytest.approx([(step + 1) / steps for step in range(steps)], rel=1e-12)
    assert factors[steps] == 1.0


@pytest.mark.parametrize("schedule", [*WITH_WARMUP, schedules.one_cycle])
def test_every_factor_is_above_zero_and_at_most_one(schedule: Callable[..., float]) -> None:
    factors = over_training(schedule)
    assert len(factors) == 77
    assert all(0 < factor <= 1 for factor in factors)


def test_a_schedule_starts_when_its_warmup_ends() -> None:
    warm = over_training(schedules.cosine, warmup_epochs=3)[3 * STEPS_PER_EPOCH :]
    assert warm == pytest.approx([schedules.cosine(Progress(n, STEPS_PER_EPOCH, MAX_EPOCHS - 3)) for n in range(56)])
    factors = over_training(schedules.step, step_size=4, warmup_epochs=2)
    drops = [step for step, (before, after) in enumerate(itertools.pairwise(factors), 1) if after < before]
    assert drops == [(2 + 4) * STEPS_PER_EPOCH, (2 + 8) * STEPS_PER_EPOCH]


def test_a_warmup_longer_than_the_training_just_goes_on() -> None:
    factors = over_training(schedules.cosine, warmup_epochs=22)
    assert factors == pytest.approx([(step + 1) / 154 for step in range(77)])
    assert schedules.cosine(Progress(77, 7, 11), warmup_epochs=11) == 1.0


@pytest.mark.parametrize(("schedule", "last"), [(schedules.cosine, 0.0), (schedules.one_cycle, 4e-6)])
def test_past_the_end_the_last_value_stays(schedule: Callable[..., float], last: float) -> None:
    assert schedule(Progress(77, 7, 11)) == pytest.approx(last, abs=1e-15)
    assert schedule(Progress(500, 7, 11)) == pytest.approx(last, abs=1e-15)


@pytest.mark.parametrize(
    ("schedule", "options", "message"),
    [
        *[(s, {"warmup_epochs": -1}, "schedule.warmup_epochs=-1 must be 0 or above.") for s in WITH_WARMUP],
        (schedules.constant, {"warmup_epochs": float("nan")}, "schedule.warmup_epochs=nan must be 0 or above."),
        (schedules.step, {"step_size": 0}, "schedule.step_size=0 must be at least 1."),
        (schedules.step, {"gamma": 0.0}, "schedule.gamma=0.0 must be above 0 and at most 1."),
        (schedules.step, {"gamma": 1.5}, "schedule.gamma=1.5 must be above 0 and at most 1."),
        (schedules.cosine, {"min_fraction": 1.1}, "schedule.min_fraction=1.1 must be between 0 and 1."),
        (schedules.one_cycle, {"pct_start": 1.0}, "schedule.pct_start=1.0 must be at least 0 and below 1."),
        (schedules.one_cycle, {"div_factor": 0.5}, "schedule.div_factor=0.5 must be at least 1."),
        (schedules.one_cycle, {"final_div_factor": 0.5}, "schedule.final_div_factor=0.5 must be at least 1."),
        (schedules.reduce_on_plateau, {"factor": 1.0}, "schedule.factor=1.0 must be above 0 and below 1."),
        (schedules.reduce_on_plateau, {"patience": 0}, "schedule.patience=0 must be at least 1."),
        (schedules.reduce_on_plateau, {"min_delta": -0.1}, "schedule.min_delta=-0.1 must be 0 or above."),
        (schedules.reduce_on_plateau, {"cooldown": -1}, "schedule.cooldown=-1 must be 0 or above."),
        (schedules.reduce_on_plateau, {"min_fraction": -0.1}, "schedule.min_fraction=-0.1 must be between 0 and 1."),
    ],
)
def test_a_value_out_of_range_is_named_as_typed(
    schedule: Callable[..., float], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        schedule(Progress(0, 7, 11), **options)
    assert str(caught.value) == message
