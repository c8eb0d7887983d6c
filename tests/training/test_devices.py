"""A training on a CPU, and on a GPU where there is one: it goes on exactly, or as exactly as the device computes."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convgrid.config import Settings, check
from convgrid.errors import ConfigError, cause_of, reason_of
from convgrid.runs.trial import LAST
from convgrid.system.device import find_device
from convgrid.training.attempt import Pruned
from convgrid.training.components import Components
from convgrid.training.learner import Learner, train
from convgrid.training.setup import prepare, read

SettingsMaker = Callable[..., Settings]
SMALL = ("data.limit=100", "trainer.max_epochs=2", "arch.filters=4", "arch.hidden=8", "layer/norm=batch")


def trained(settings: Settings, folder: Path, *, stopped: bool = False) -> tuple[Learner, dict[str, Tensor]]:
    """Train in a folder, from its checkpoint on; the last epoch's weights."""

    def stop(_: object) -> None:
        raise Pruned

    folder.mkdir(exist_ok=True)
    learner, _ = prepare(settings, read(settings))
    device = find_device(settings.trainer.accelerator)
    if stopped:
        with pytest.raises(Pruned):
            train(learner, folder, device=device, send=stop)
    else:
        train(learner, folder, device=device)
    return learner, torch.load(folder / LAST, weights_only=True, map_location="cpu")["state_dict"]


def test_a_training_that_was_stopped_goes_on_to_where_it_would_have_been_and_the_same_settings_lead_there_again(
    settings: SettingsMaker, tmp_path: Path, accelerator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(*SMALL, "augment=cifar", "layer/dropout=spatial", f"trainer.accelerator={accelerator}")
    _, undisturbed = trained(chosen, tmp_path / "undisturbed")
    trained(chosen, tmp_path / "stopped", stopped=True)
    _, resumed = trained(chosen, tmp_path / "stopped")
    _, again = trained(chosen, tmp_path / "again")
    for weights in (resumed, again):
        if accelerator == "cpu":
            assert all(weights[name].equal(undisturbed[name]) for name in undisturbed)
        else:  # whose additions come in any order
            torch.testing.assert_close(weights, undisturbed, rtol=1e-2, atol=1e-3)
    if accelerator == "gpu":
        apart = max((again[name].float() - undisturbed[name].float()).abs().max().item() for name in undisturbed)
        with capsys.disabled():
            print("two trainings alike:", f"weights up to {apart:.1e} apart" if apart else "the same bits")


@pytest.mark.parametrize(
    ("accelerator", "precision"),
    [
        ("cpu", "bf16-mixed"),
        *(pytest.param("gpu", precision, marks=pytest.mark.gpu) for precision in ("bf16-mixed", "16-mixed")),
    ],
)
def test_mixed_precision_trains_float32_weights_nearly_as_float32_does(
    settings: SettingsMaker, tmp_path: Path, accelerator: str, precision: str
) -> None:
    on = f"trainer.accelerator={accelerator}"
    mixed, weights = trained(settings(*SMALL, on, f"trainer.precision={precision}"), tmp_path / "mixed")
    whole, _ = trained(settings(*SMALL, on), tmp_path / "whole")
    assert {weight.dtype for name, weight in weights.items() if name.endswith("weight")} == {torch.float32}
    losses, expected = ([epoch["train/loss"] for epoch in each.history] for each in (mixed, whole))
    assert losses != expected
    assert losses == pytest.approx(expected, rel=0.05)
    assert all(map(math.isfinite, losses))


def test_halves_of_float16_are_refused_on_a_cpu_before_anything_is_read(
    settings: SettingsMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = "trainer.precision=16-mixed wants a GPU. Use trainer.precision=bf16-mixed on a CPU."
    with pytest.raises(ConfigError) as planned:
        check(["trainer=cpu", "trainer.precision=16-mixed"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as begun:
        Components(settings("trainer.precision=16-mixed")).check()
    assert str(planned.value) == str(begun.value) == expected


def test_what_a_device_cannot_hold_is_told_as_memory(accelerator: str) -> None:
    with pytest.raises((RuntimeError, torch.OutOfMemoryError)) as caught:
        torch.empty(2**50, device="cuda" if accelerator == "gpu" else "cpu")
    assert cause_of(caught.value) == "memory"
    assert reason_of(caught.value).startswith("out of memory: ")


def test_a_gpus_words_for_too_little_memory_are_told_as_memory() -> None:
    """As torch 2.13 words it in c10/cuda/CUDACachingAllocator.cpp, and CUDA itself."""
    for words in ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...", "CUDA error: out of memory"):
        assert cause_of(torch.OutOfMemoryError(words)) == "memory"
