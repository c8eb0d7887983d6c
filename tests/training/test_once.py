"""Frozen layers run once: no result, checkpoint or prediction differs from those of running them in every step."""

import errno
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from rich.console import Console

from conftest import compose_settings
from convgrid.config import check_values
from convgrid.errors import ConvgridError, Interrupted
from convgrid.features import extract
from convgrid.features.cache import Cache
from convgrid.features.extract import FeatureSource
from convgrid.model.trained_model import load
from convgrid.runs.find import find_to_resume
from convgrid.runs.trial import EpochLog, read_epochs, read_record
from convgrid.training import attempt, trial
from convgrid.training.components import Components

SMALL = ("tracking=none", "trainer=cpu", "data.limit=60", "arch.filters=3", "layer/norm=batch", "layer/dropout=plain")
JOINED = "INPUT -> CONV -> NORM -> RELU -> SUM[CONV -> NORM | SKIP] -> RELU -> CONV(6) -> RELU -> FC(8) -> RELU -> FC"
IMAGES = 60 + 270 + 269  # of digits: the training's, limited, the validation's and the test's


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """Trains a network for an epoch, once for each; gives what starts another one with it."""
    place, made = tmp_path_factory.mktemp("weights"), {}

    def train(pattern: str) -> list[str]:
        arch = [f"arch.pattern='{pattern}'"] if pattern else []
        if pattern not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(place)
                made[pattern] = place / trial.run(
                    compose_settings(*SMALL, "trainer.max_epochs=1", *arch), Console(file=io.StringIO())
                )
        return [*arch, f"arch.weights={made[pattern]}/best.ckpt"]

    return train


@pytest.fixture
def runs(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the frozen layers have seen outside of the training's steps, each time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_tmp / "cache"))
    seen: list[int] = []
    features = FeatureSource.features

    def count(source: FeatureSource, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return features(source, images)

    monkeypatch.setattr(FeatureSource, "features", count)
    return seen


def train(*overrides: str, epochs: int = 2) -> tuple[Path, str]:
    screen = Console(file=io.StringIO(), width=200)
    folder = trial.run(compose_settings(*SMALL, f"trainer.max_epochs={epochs}", *overrides), screen)
    assert isinstance(screen.file, io.StringIO)
    return folder, screen.file.getvalue()


def result(folder: Path) -> tuple[list[Any], Any, dict[str, Any], list[bytes]]:
    """All that a training leaves."""
    state = torch.load(folder / "best.ckpt", weights_only=True)
    metrics = [epoch["metrics"] for epoch in read_epochs(folder)]
    weights = {name: weight.tolist() for name, weight in state["state_dict"].items()}
    worst = [file.read_bytes() for file in folder.glob("misclassified.png")]
    return metrics, read_record(folder)["metrics"], weights, worst


def in_every_step(*overrides: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "look_at_features", lambda *_: None)
        return train(*overrides)[0]


@pytest.fixture(scope="module")
def frozen(weights: Callable[[str], list[str]]) -> list[str]:
    """The most usual case."""
    return [*weights(""), "arch.freeze=features"]


@pytest.fixture(scope="module")
def expected(frozen: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The metrics of its epochs where the frozen layers run in every step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("every_step"))
        return result(in_every_step(*frozen))[0]


@pytest.mark.parametrize(
    ("pattern", "overrides"),
    [
        ("", ["arch.freeze=features"]),
        ("", ["arch.freeze=conv1", "optimizer=sgd", "optimizer.weight_decay=0.1", "trainer.gradient_clip_norm=0.1"]),
        ("", ["arch.freeze=features", "trainer.precision=bf16-mixed", "imbalance.sampling=balanced"]),
        (JOINED, ["arch.freeze=sum1", "arch.loaded_lr=0.1", "schedule.freeze_epochs=1", "regularization.l2=1e-3"]),
    ],
)
def test_nothing_differs_from_frozen_layers_in_every_step(
    weights: Callable[[str], list[str]], runs: list[int], pattern: str, overrides: list[str]
) -> None:
    """Bit for bit here: these layers round the images of a batch alike, however many there are."""
    chosen = [*weights(pattern), *overrides]
    folder, said = train(*chosen)
    assert sum(runs) == IMAGES
    assert f"features of {IMAGES} images: " in said
    whole = in_every_step(*chosen)
    for ours, theirs in zip(result(folder), result(whole), strict=True):
        assert ours == theirs
    assert load(folder).predictor(torch.zeros(1, 1, 8, 8)).shape == (1, 10)  # from raw images


def test_another_head_seed_fold_or_length_finds_the_features(
    weights: Callable[[str], list[str]], runs: list[int]
) -> None:
    chosen = ["data.limit=0", *weights(""), "arch.freeze=features"]
    train(*chosen, epochs=1)
    assert sum(runs) == 1797
    runs.clear()
    for other in (["arch.head='FC(5) -> RELU -> FC'"], ["seed=3"], ["fold=[2,5]"], ["data.split_seed=7"],
                  ["optimizer=sgd", "data.batch_size=50"]):  # fmt: skip
        _, said = train(*chosen, *other, epochs=1)
        assert "features of 1,797 images: from the cache" in said
    assert runs == []


def test_other_weights_layers_precisions_or_pixels_are_computed_anew(
    weights: Callable[[str], list[str]], runs: list[int], in_tmp: Path
) -> None:
    draws = np.random.default_rng(0)
    images, targets = draws.integers(0, 256, (20, 1, 8, 8), dtype=np.uint8), np.arange(20) % 10
    np.savez("some.npz", images=images, targets=targets)
    own = ["data=arrays", "data.path=some.npz", "data.shape=[1,8,8]", "+data.limit=0"][:3]
    chosen = [word for word in SMALL if not word.startswith("data.")]

    def go(*overrides: str) -> int:
        runs.clear()
        trial.run(compose_settings(*chosen, *own, "trainer.max_epochs=1", *overrides), Console(file=io.StringIO()))
        return sum(runs)

    first = [*weights(""), "arch.freeze=features"]
    assert go(*first) == 20
    assert go(*first) == 0
    assert go(*first[:-1], "arch.freeze=conv1") == 20
    assert go(*first, "trainer.precision=bf16-mixed") == 20
    (in_tmp / "some.npz").rename("moved.npz")
    own[1] = "data.path=moved.npz"
    assert go(*first) == 0
    images[3, 0, 2, 2] ^= 1
    np.savez("moved.npz", images=images, targets=targets)
    assert go(*first) == 20
    assert len(Cache().entries()) == 4


def test_a_streamed_folder_is_decoded_once_and_a_changed_photo_is_seen(
    weights: Callable[[str], list[str]], runs: list[int], in_tmp: Path
) -> None:
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (in_tmp / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = draws.integers(0, 256, (9, 9), dtype=np.uint8)
            Image.fromarray(pixels).save(in_tmp / "photos" / name / f"{number}.png")
    photos = ["data=image_folder", "data.root=photos", "data.shape=[1,8,8]", "data.workers=1", "arch.freeze=features"]
    chosen = [*(word for word in SMALL if not word.startswith("data.")), *photos, "trainer.max_epochs=1", *weights("")]

    def go(*overrides: str) -> Path:
        runs.clear()
        return trial.run(compose_settings(*chosen, *overrides), Console(file=io.StringIO()))

    streamed = go("data.memory_gib=0.0")
    assert sum(runs) == 20
    held = go()
    assert result(streamed)[0] == result(held)[0]
    go("data.memory_gib=0.0")
    assert sum(runs) == 0
    Image.fromarray(draws.integers(0, 256, (9, 9), dtype=np.uint8)).save(in_tmp / "photos" / "cat" / "3.png")
    go("data.memory_gib=0.0")
    assert sum(runs) == 20


@pytest.mark.parametrize("memory", [True, False])
def test_a_full_disk_costs_the_cache_alone(
    frozen: list[str], expected: list[Any], runs: list[int], monkeypatch: pytest.MonkeyPatch, *, memory: bool
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(extract, "write", full)
    if not memory:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100})())
    folder, said = train(*frozen)
    instead = "The features stay in memory" if memory else "The frozen layers run in every step"
    assert f"The cache of features cannot be used: No space left on device. {instead}." in said
    assert result(folder)[0] == expected
    assert Cache().entries() == []


def test_without_memory_features_go_to_the_disk_as_they_are_made(
    frozen: list[str], expected: list[Any], runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100})())
    folder, _ = train(*frozen)
    assert len(Cache().entries()) == 1
    assert result(folder)[0] == expected


def test_a_run_that_was_stopped_goes_on_over_features_with_the_same_bits(
    weights: Callable[[str], list[str]], runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [*weights(""), "arch.freeze=features"]
    undisturbed, _ = train(*chosen)
    append = EpochLog.append

    def stop(log: EpochLog, history: list[dict[str, float]]) -> None:
        append(log, history)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "append", stop)
        patch.setattr(attempt, "complete_best", lambda *_: None)  # as where it was killed
        with pytest.raises(Interrupted):
            train(*chosen)
    stopped = find_to_resume("last")
    settings = compose_settings(*SMALL, "trainer.max_epochs=2", *chosen)
    resumed = trial.run(settings, Console(file=io.StringIO()), stopped)
    assert result(resumed) == result(undisturbed)
    assert sum(runs) == IMAGES  # once


def test_checkpoints_leave_out_what_does_not_change_until_the_end(
    weights: Callable[[str], list[str]], runs: list[int]
) -> None:
    folder, _ = train(*weights(""), "arch.freeze=features")
    last, best = (torch.load(folder / name, weights_only=True) for name in ("last.ckpt", "best.ckpt"))
    assert list(last["state_dict"]) == [
        f"predictor.network.{layer}.{part}" for layer in ("fc1.1", "output.1") for part in ("weight", "bias")
    ]
    assert "predictor.network.conv1.weight" in best["state_dict"]
    killed = {name: best["state_dict"][name] for name in last["state_dict"]}
    torch.save({**best, "state_dict": killed}, folder / "best.ckpt")
    found = load(folder).predictor.state_dict()  # as where a training was killed
    assert {f"predictor.{name}" for name in found} == set(best["state_dict"])
    assert all(torch.equal(weight, best["state_dict"][f"predictor.{name}"]) for name, weight in found.items())


def test_views_are_computed_once_and_take_turns(
    weights: Callable[[str], list[str]], runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [*weights(""), "arch.freeze=features", "augment=keras_blog", "data.views=2"]
    folder, _ = train(*chosen, epochs=3)
    assert sum(runs) == IMAGES - 60 + 2 * 60
    runs.clear()
    again, _ = train(*chosen, epochs=3)
    assert runs == []
    assert result(folder) == result(again)
    one, _ = train(*chosen[:-1], "data.views=1", "seed=1", epochs=3)
    assert runs == []  # the first view is the same, whatever the seed
    assert result(one)[0] != result(folder)[0]
    assert load(folder).predictor(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    more, _ = train(*chosen[:-1], "data.views=3", epochs=3)
    assert sum(runs) == 60
    histories = [result(each)[0] for each in (folder, more)]
    assert histories[0][:2] == histories[1][:2]  # whose third epoch sees a third view
    assert histories[0][2] != histories[1][2]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["augment=keras_blog"], "data.views=2 keeps what frozen layers make of images. Add arch.freeze=features"),
        (["arch.freeze=features", "arch.weights=last"], "data.views=2 needs an augment"),
        (
            ["arch.freeze=features", "arch.weights=last", "augment=keras_blog", "trainer.test_views=3"],
            "trainer.test_views=3 looks at images, and data.views=2 leaves only features to see.",
        ),
    ],
)
def test_views_that_cannot_be_are_refused_before_data_is_read(overrides: list[str], told: str) -> None:
    with pytest.raises(ConvgridError, match=re.escape(told)):
        check_values(compose_settings("data.views=2", *overrides), {})


def test_views_of_mixed_images_are_refused() -> None:
    chosen = compose_settings("data.views=2", "augment=custom", "augment.mixup=0.2", "augment.horizontal_flip=true")
    with pytest.raises(ConvgridError, match=r"data\.views=2 keeps each image by itself, and augment=custom hides"):
        Components(chosen).check()


def test_augmentation_runs_all_layers_in_every_step(weights: Callable[[str], list[str]], runs: list[int]) -> None:
    train(*weights(""), "arch.freeze=features", "augment=keras_blog", epochs=1)
    assert runs == []
