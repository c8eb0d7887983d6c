"""Targets that float32 would make one number: times in seconds are learned and predicted in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convgrid.data import arrays, digits_angle, table_images
from convgrid.errors import DataError
from convgrid.losses import mean_squared_error
from convgrid.objective.fit import fit
from convgrid.objective.objective import Objective
from convgrid.scales import Log, Mean, MinMax, Standardize, Unchanged, check_scaled

TIMES = 1.7e9 + np.arange(40.0)
SHAPES: dict[str, Any] = {"shape": [1, 4, 4], "task": "regression", "split": [0.5, 0.5]}


def npz(folder: Path, targets: np.ndarray) -> str:
    images = np.arange(len(targets) * 16).reshape(-1, 4, 4) % 256
    np.savez(folder / "a.npz", images=images, targets=targets)
    return str(folder / "a.npz")


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint32])
def test_times_in_seconds_keep_what_differs(tmp_path: Path, dtype: type) -> None:
    data = arrays(path=npz(tmp_path, TIMES.astype(dtype)), **SHAPES)
    both = torch.cat([data.train.targets, data.validation.targets])
    assert sorted(both[:, 0].tolist()) == TIMES.tolist()


def test_times_in_a_table_keep_what_differs(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("\n".join(["file,time", *(f"a.png,{time:.1f}" for time in TIMES)]))
    data = table_images(table=str(tmp_path / "t.csv"), targets=["time"], shape=[1, 4, 4], split=[0.5, 0.5])
    assert len(torch.cat([data.train.targets, data.validation.targets]).unique()) == 40


def test_angles_that_hardly_differ_keep_what_differs() -> None:
    data = digits_angle(min_angle=44.9999, max_angle=45.0)
    assert len(data.train.targets.unique()) == len(data.train)


def test_ordinary_targets_stay_in_float32(tmp_path: Path) -> None:
    for targets in (np.linspace(0, 1, 40), np.arange(1990.0, 2030), np.full(40, 1.7e9)):
        assert arrays(path=npz(tmp_path, targets), **SHAPES).train.targets.dtype == torch.float32


@pytest.mark.parametrize("scale", [Standardize, MinMax, Log])
def test_scales_take_times_to_float32_and_back_without_loss(scale: Any) -> None:
    targets = torch.from_numpy(TIMES)[:, None]
    objective = Objective(mean_squared_error, "regression", fit("mean_squared_error", "regression"), targets, scale)
    encoded = objective._encode(targets, torch.zeros(40, 1))
    assert encoded.dtype == torch.float32
    assert len(encoded.unique()) == 40
    np.testing.assert_allclose(objective.predictions(encoded)[:, 0].numpy(), TIMES, atol=1e-4, rtol=0)
    check_scaled(objective.scale, targets, "any", "training")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("scale", [Mean, Unchanged])
def test_a_scale_that_leaves_times_too_close_together_is_refused(scale: Any) -> None:
    targets = torch.from_numpy(TIMES)[:, None]
    with pytest.raises(DataError) as caught:
        check_scaled(scale(targets), targets, "none", "training")
    assert str(caught.value) == (
        "target=none leaves the training part's targets, 1700000000 to 1700000039, so close together that float32 "
        "rounds away how they differ. Use target=standardize."
    )


def test_numbers_closer_together_than_float64_can_tell_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the targets, about 1e\+17, differ by less than numbers of 64 bits can hold"):
        arrays(path=npz(tmp_path, 10**17 + np.arange(40)), **SHAPES)


@pytest.mark.parametrize("targets", [np.full(40, 1e39), np.linspace(0, 1e300, 40)])
def test_numbers_beyond_float32_are_refused(tmp_path: Path, targets: np.ndarray) -> None:
    with pytest.raises(DataError, match="must be finite numbers"):
        arrays(path=npz(tmp_path, targets), **SHAPES)
