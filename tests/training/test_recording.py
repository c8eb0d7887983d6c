from collections.abc import Callable, Mapping

import pytest

from convgrid.config import Settings
from convgrid.errors import DiskError, TrainingError, cause_of, reason_of
from convgrid.training.recording import run_name

SettingsMaker = Callable[..., Settings]


@pytest.mark.parametrize(
    ("varying", "name"),
    [
        ({}, "n1 m2 k1 adam"),
        ({"seed": "3"}, "seed 3 n1 m2 k1 adam"),
        ({"seed": "3", "fold": "[2,5]"}, "seed 3 fold 2/5 n1 m2 k1 adam"),
        (
            {"seed": "3", "optimizer.lr": "0.01", "optimizer": "adam", "arch.m": "3", "arch.n": "2"},
            "seed 3 lr=0.01 adam m3 n2",
        ),
        ({"layer/norm": "batch", "arch.k": "0"}, "batch k0"),
        (
            {
                "optimizer.weight_decay": "0.1",
                "regularization.l2": "0",
                "layer.conv.stride": "1",
                "layer.pool.stride": "2",
            },
            "weight_decay=0.1 l2=0 layer.conv.stride=1 layer.pool.stride=2",
        ),
    ],
)
def test_a_runs_name_says_what_varies(settings: SettingsMaker, varying: Mapping[str, str], name: str) -> None:
    assert run_name(settings(), varying) == name


def test_a_run_of_another_architecture_is_named_by_it(settings: SettingsMaker) -> None:
    assert run_name(settings("arch=linear", "optimizer=sgd"), {}) == "linear sgd"


@pytest.mark.parametrize(
    ("error", "cause", "reason"),
    [
        (OSError(28, "No space left on device"), "disk", "OSError: [Errno 28] No space left on device"),
        (DiskError("runs/abc cannot be written."), "disk", "runs/abc cannot be written."),
        (RuntimeError("CUDA out of memory.\nTried"), "memory", "out of memory: CUDA out of memory. Tried"),
        (TrainingError("train/loss became nan."), "mistake", "train/loss became nan."),
        (KeyError("weights"), "", "KeyError: 'weights'"),
    ],
)
def test_what_went_wrong_is_one_line_of_a_kind(error: Exception, cause: str, reason: str) -> None:
    assert (cause_of(error), reason_of(error)) == (cause, reason)
