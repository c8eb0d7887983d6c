"""Features go by all that can change them, and by nothing else."""

import pytest
import torch
from torch import nn

from conftest import compose_settings
from convgrid.config import architecture
from convgrid.features.extract import FeatureSource
from convgrid.losses import mean_squared_error
from convgrid.network.build import build
from convgrid.network.plan import plan
from convgrid.objective.fit import fit
from convgrid.objective.objective import Objective
from convgrid.objective.predictor import Predictor
from convgrid.training.trunk import source_of

MEAN, STD = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]


def source(*overrides: str, mean: list[float] = MEAN, std: list[float] = STD, seed: int = 0) -> FeatureSource:
    settings = compose_settings("data=random", "data.shape=[3,8,8]", "arch.freeze=features", *overrides)
    planned = plan(architecture(settings), (3, 8, 8), 10)
    objective = Objective(mean_squared_error, "regression", fit("mean_squared_error", "regression"), torch.ones(2, 1))
    network: nn.Module = build(planned, seed=seed)
    return source_of(Predictor(network, objective, mean, std, (8, 8)), planned, settings, "cpu")


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("name", ["mean", "std"])
def test_each_channels_pixels_count(name: str, channel: int) -> None:
    values = list(MEAN if name == "mean" else STD)
    values[channel] += 0.5
    other = source(mean=values) if name == "mean" else source(std=values)
    assert other.known["pixels"] != source().known["pixels"]


def test_weights_layers_and_precision_count_and_what_stands_behind_does_not() -> None:
    before = source().known
    assert source(seed=1).known["weights"] != before["weights"]
    assert source("arch.freeze=conv1").known["layers"] != before["layers"]
    assert source("activation=elu").known["layers"] != before["layers"]
    assert source("trainer.precision=bf16-mixed").known["precision"] != before["precision"]
    same = source("arch.hidden=7", "optimizer=sgd", "seed=4", "data.batch_size=9", "layer/dropout=plain")
    assert {**same.known, "weights": "", "layers": ""} == {**before, "weights": "", "layers": ""}
    pairs = zip(same.known["layers"], before["layers"], strict=True)
    assert all(ours["component"] == theirs["component"] for ours, theirs in pairs)


def test_multiply_adds_are_those_of_the_frozen_layers() -> None:
    conv1 = 3 * 3 * 3 * 32 * 8 * 8
    assert source("arch.freeze=relu1", "arch.filters=32").multiply_adds == conv1
