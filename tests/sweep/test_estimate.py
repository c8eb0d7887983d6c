"""The time of a sweep before it starts: from what earlier trials of the same data took."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convgrid.config import Settings, architecture, flatten
from convgrid.network.plan import plan
from convgrid.sweep.estimate import estimate_seconds
from convgrid.sweep.interfaces import Trial
from sweep_folders import finish, make_trial

SettingsMaker = Callable[..., Settings]


@pytest.fixture
def trial(settings: SettingsMaker) -> Callable[..., Trial]:
    def make(multiply_adds: int, *overrides: str) -> Trial:
        made = settings(*overrides)
        planned = plan(architecture(made), (1, 8, 8), 10)
        layer, *others = planned.layers
        short = multiply_adds - sum(each.multiply_adds for each in others)
        return Trial((), made, replace(planned, layers=(replace(layer, multiply_adds=short), *others)), "", "", {})

    return make


def remember(
    runs: Path, name: str, like: Trial, multiply_adds: int, seconds: float, epochs: int, **record: Any
) -> None:
    """A finished trial of the same config as another, of any size and time."""
    values = {**dict(flatten(like.settings.values)), **like.settings.choices, "plan.multiply_adds": multiply_adds}
    folder = make_trial(runs, name, params={key: str(value) for key, value in values.items()})
    finish(folder, epochs=epochs, **{"seconds": seconds, **record})


def test_an_epoch_takes_a_share_of_its_own_and_one_of_its_multiply_adds(
    trial: Callable[..., Trial], settings: SettingsMaker, tmp_path: Path
) -> None:
    """0.1 s and 2 us a multiply-add: 1,000 take 0.102 s, 50,000 take 0.2 s."""
    todo = [trial(1_000, "trainer.max_epochs=10"), trial(50_000, "trainer.max_epochs=10")]
    remember(tmp_path, "a", todo[0], 10_000, 0.12 * 3, epochs=3)
    remember(tmp_path, "b", todo[0], 100_000, 0.30 * 20, epochs=20)
    remember(tmp_path, "failed", todo[0], 100_000, 9.0, epochs=1, status="failed")
    two, one = settings("sweep.workers=2"), settings("sweep.workers=1")
    assert estimate_seconds(todo, one, tmp_path) == pytest.approx(10 * (0.102 + 0.2))
    assert estimate_seconds(todo, two, tmp_path) == pytest.approx(5 * (0.102 + 0.2))
    assert estimate_seconds(todo[:1], two, tmp_path) == pytest.approx(10 * 0.102)  # one trial is not divided


@pytest.mark.parametrize(
    ("points", "seconds"),
    [
        ([(10_000, 0.2), (10_000, 0.4)], 20 * 0.6),  # one size: in proportion
        (
            [(10_000, 0.1), (20_000, 0.4)],
            20 * (0.1 * 1 + 0.4 * 2) / (1 + 4) * 2,
        ),  # less than nothing at 0: in proportion
        ([(10_000, 0.4), (20_000, 0.2)], 20 * 0.3),  # the larger were faster: the mean
    ],
)
def test_neither_share_is_less_than_nothing(
    trial: Callable[..., Trial],
    settings: SettingsMaker,
    tmp_path: Path,
    points: list[tuple[int, float]],
    seconds: float,
) -> None:
    todo = [trial(20_000, "trainer.max_epochs=20")]
    for number, (multiply_adds, took) in enumerate(points):
        remember(tmp_path, str(number), todo[0], multiply_adds, took, epochs=1)
    assert estimate_seconds(todo, settings("sweep.workers=1"), tmp_path) == pytest.approx(seconds)


def test_other_data_tell_nothing(trial: Callable[..., Trial], settings: SettingsMaker, tmp_path: Path) -> None:
    todo = [trial(1_000), trial(1_000, "data.batch_size=64")]
    remember(tmp_path, "a", todo[0], 1_000, 1.0, epochs=1)
    assert estimate_seconds(todo[:1], settings(), tmp_path) is not None
    assert estimate_seconds(todo, settings(), tmp_path) is None
    assert estimate_seconds([], settings(), tmp_path) is None
    assert estimate_seconds(todo, settings(), tmp_path / "nothing") is None
