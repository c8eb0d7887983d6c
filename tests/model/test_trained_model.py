"""A trial's folder becomes its model again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import compose_settings
from convgrid.errors import ModelError
from convgrid.model import trained_model
from convgrid.model.metadata import Metadata
from convgrid.model.trained_model import load
from convgrid.training.setup import read
from trained_models import SMALL, train, write_arrays


@pytest.fixture
def copied(trained_digits: Path, in_tmp: Path) -> Path:
    return Path(shutil.copytree(trained_digits, in_tmp / "runs" / trained_digits.name))


def test_the_folder_alone_makes_the_model_that_was_tested(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_model, "_with_data", lambda *_: pytest.fail("it read the data"))
    model = load(copied)
    test = read(compose_settings(*SMALL)).test
    assert test is not None
    hits = model.predictor(test.images).argmax(1) == test.targets
    metrics = json.loads((copied / "run.json").read_text())["metrics"]
    assert hits.double().mean().item() == pytest.approx(metrics["test/accuracy"])
    assert len(model.images) == 64
    assert not any(weight.requires_grad for weight in model.predictor.parameters())
    assert Metadata.loads(model.meta.dumps()) == model.meta


def test_weights_of_another_network_are_not_taken_for_the_trained_ones(copied: Path) -> None:
    best = torch.load(copied / "best.ckpt", weights_only=True)
    (bias,) = (name for name in best["state_dict"] if "output" in name and name.endswith("bias"))
    best["state_dict"][bias] += torch.arange(10.0)
    torch.save(best, copied / "best.ckpt")
    with pytest.raises(
        ModelError, match=r"the predictions differ from those of its training by up to 0\.\d+. Has the code"
    ):
        load(copied)


def test_a_checkpoint_that_is_broken_or_hostile_is_named(copied: Path) -> None:
    for content in (b"PK\x03\x04 half", b"\x80\x02cos\nsystem\n(S'touch owned'\ntR."):
        (copied / "best.ckpt").write_bytes(content)
        with pytest.raises(ModelError, match=r"best\.ckpt cannot be read: .* Train it again, or take another run\.$"):
            load(copied)
    assert not Path("owned").exists()


def test_numbers_come_back_in_their_units_without_the_data(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_model, "_with_data", lambda *_: pytest.fail("it read the data"))
    prices = np.random.default_rng(1).uniform(1e5, 9e5, (80, 2))
    overrides = [*write_arrays(in_tmp / "prices.npz", prices), "data.task=regression", "data.limit=0"]
    for loss, target in (("mean_squared_error", "log"), ("mean_squared_error", "minmax"), ("poisson", "auto")):
        folder = train(in_tmp, *overrides, f"loss={loss}", f"target={target}")
        (in_tmp / "prices.npz").rename(in_tmp / "away.npz")
        model = load(folder)
        (in_tmp / "away.npz").rename(in_tmp / "prices.npz")
        best = torch.load(folder / "best.ckpt", weights_only=True)["examples"]
        torch.testing.assert_close(model.predictor(best["images"]), best["predictions"])
        assert model.predictor(best["images"]).mean() > 5e4
        assert model.meta.columns == ["target 1", "target 2"]
