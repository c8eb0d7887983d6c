"""Test-time augmentation: predictions averaged over views of an image, in probabilities or the data's units."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from convgrid.augment import Augment
from convgrid.config import Settings
from convgrid.data import ImageData, digits_angle
from convgrid.errors import ConfigError
from convgrid.system.seeding import derive
from convgrid.training.components import Components
from convgrid.training.learner import Learner, train
from convgrid.training.setup import prepare, read

SettingsMaker = Callable[..., Settings]
SMALL = ("arch.m=1", "arch.filters=4", "arch.hidden=16", "trainer.max_epochs=2", "data.limit=200")
TURNED = ("augment=custom", "augment.rotation_range=40", "augment.horizontal_flip=true")
NO_VIEWS = ("augment.cutout=3", "augment.mixup=1.0")


def trained(settings: Settings, folder: Path, data: ImageData | None = None) -> tuple[Learner, dict[str, float]]:
    torch.set_num_threads(1)
    data = data or read(settings)
    learner = prepare(settings, data)[0]
    folder.mkdir()
    return learner, train(learner, folder, device="cpu")


def by_hand(learner: Learner, views: int) -> np.ndarray:
    """Mean predictions of the test images and of their turned and mirrored views."""
    assert learner.data.test is not None
    images = learner.data.test.images
    assert isinstance(images, Tensor)
    turn, seen = Augment(rotation_range=40.0, horizontal_flip=True), [images.float()]
    for view in range(1, views):
        draws = torch.Generator().manual_seed(derive(0, "test views", view))
        chunks = [turn(some, None, draws)[0] for some in images.split(512)]
        seen.append(torch.cat(chunks))
    with torch.no_grad():
        return np.mean([learner.predictor.eval()(some).double().numpy() for some in seen], 0)


def test_probabilities_of_classes_are_averaged(settings: SettingsMaker, tmp_path: Path) -> None:
    learner, tested = trained(settings(*SMALL, *TURNED, *NO_VIEWS, "trainer.test_views=5"), tmp_path / "views")
    assert learner.data.test is not None
    targets = learner.data.test.targets.numpy()
    accuracy = (by_hand(learner, 5).argmax(1) == targets).mean()
    assert tested["test/accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert (by_hand(learner, 1).argmax(1) == targets).mean() != accuracy  # so the views count


def test_numbers_are_averaged_in_the_datas_units(settings: SettingsMaker, tmp_path: Path) -> None:
    """On the scale, whose unit is a logarithm, their mean would be another number."""
    data = digits_angle(limit=200)
    for part in (data.train, data.validation, data.test):
        assert part is not None
        part.targets.add_(200)
    chosen = settings(
        *SMALL, *TURNED, "data=digits_angle", "loss=mean_squared_error", "target=log", "trainer.test_views=3"
    )
    learner, tested = trained(chosen, tmp_path / "views", data)
    assert data.test is not None
    mae = np.abs(by_hand(learner, 3) - data.test.targets.numpy()).mean()
    assert tested["test/mae"] == pytest.approx(mae, rel=1e-5)


def test_the_loss_and_the_validation_are_of_the_images_as_they_are(settings: SettingsMaker, tmp_path: Path) -> None:
    plain, views = (
        trained(settings(*SMALL, *TURNED, f"trainer.test_views={count}"), tmp_path / str(count)) for count in (1, 4)
    )
    assert plain[0].history == views[0].history
    assert plain[1]["test/loss"] == views[1]["test/loss"]
    assert plain[1]["test/accuracy"] != views[1]["test/accuracy"]


def test_the_same_views_are_drawn_again(settings: SettingsMaker, tmp_path: Path) -> None:
    chosen = settings(*SMALL, *TURNED, "trainer.test_views=3")
    found = []
    for attempt in range(2):
        torch.manual_seed(attempt)
        found.append(trained(chosen, tmp_path / str(attempt))[1])
    assert found[0] == found[1]


def test_an_augment_that_makes_no_views_is_told_before_data_is_read(settings: SettingsMaker) -> None:
    chosen = settings("augment=custom", *NO_VIEWS, "trainer.test_views=2")
    with pytest.raises(
        ConfigError, match=r"^trainer\.test_views above 1 needs an augment that shows an image in other"
    ):
        Components(chosen).check()
    Components(settings("augment=custom", *NO_VIEWS)).check()


def test_views_without_a_test_part_are_told(settings: SettingsMaker, tmp_path: Path) -> None:
    chosen = settings(*SMALL, *TURNED, "trainer.test_views=2", "data.split=[0.8,0.2]")
    with pytest.raises(
        ConfigError, match=r"^trainer\.test_views=2 has no effect: there is no test part\. Leave it out"
    ):
        trained(chosen, tmp_path / "none")
