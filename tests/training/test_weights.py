"""Weights of examples and classes: what Keras means by them, where they are read, how they travel."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from convgrid import losses
from convgrid.augment import Mixed
from convgrid.config import Settings
from convgrid.data import ImageData, Split, arrays, batches
from convgrid.data.dataset import check_weights
from convgrid.data.splits import divide
from convgrid.errors import DataError
from convgrid.objective.fit import FITS, fit
from convgrid.objective.objective import Objective
from convgrid.scales import Unchanged
from convgrid.training.learner import Learner, train
from convgrid.training.setup import prepare

SettingsMaker = Callable[..., Settings]
RNG = np.random.default_rng(0)

# --- Keras

SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.3, 0.1, -0.2], [-1.5, 0.4, 1.2], [0.0, 2.5, -0.7], [1.1, 0.9, 0.8]])
CLASSES, CLASS_WEIGHTS = torch.tensor([0, 2, 1, 1, 0]), [0.5, 2.0, 3.0]
TWO_CLASSES, TWO_WEIGHTS = torch.tensor([0, 1, 1, 0, 1]), [0.5, 3.0]
NUMBERS = torch.tensor([[1.0, 0.5, 2.0], [0.2, 3.0, 1.0], [4.0, 0.1, 0.3], [0.7, 0.9, 1.5], [2.0, 2.5, 0.4]])
WEIGHTS = torch.tensor([1.0, 0.0, 2.5, 0.5, 3.0])

# keras 3.15.1, torch backend: a Dense layer with the identity as its kernel and the loss's link gives SCORES; the loss
# that fit reports with class_weight=CLASS_WEIGHTS and no learning rate, and evaluate with sample_weight=WEIGHTS, both
# in batches of 2, so that the last one is smaller.
OF_CLASSES = {
    "mean_squared_error": (0.3172029, 0.2726353),
    "mean_absolute_error": (0.5717105, 0.5141744),
    "logcosh": (0.1486322, 0.1285522),
    "hinge": (1.44, 1.35),
    "squared_hinge": (2.01, 2.423),
    "categorical_hinge": (1.7, 1.38),
    "categorical_crossentropy": (1.482596, 1.231961),
    "sparse_categorical_crossentropy": (1.482596, 1.231961),
    "kullback_leibler_divergence": (1.482591, 1.231958),
    "binary_crossentropy": (1.063565, 1.036328),
    "cosine_proximity": (-0.3007482, -0.7774721),
}
OF_ONE_UNIT = {  # the first column of SCORES, TWO_CLASSES and TWO_WEIGHTS
    "hinge": (2.32, 1.95),
    "squared_hinge": (5.044, 5.025),
    "binary_crossentropy": (1.80787, 1.517808),
}
OF_NUMBERS = {  # fit and evaluate report the same
    "mean_squared_error": 6.527333,
    "mean_absolute_error": 2.113333,
    "logcosh": 1.378173,
    "mean_absolute_percentage_error": 292.8198,
    "poisson": 2.356227,
    "mean_squared_logarithmic_error": 0.5973371,
    "cosine_proximity": -0.3080074,
}


def of_classes(name: str, classes: Tensor, class_weights: list[float] | None) -> Objective:
    row = fit(name, "classification")
    return Objective(getattr(losses, name), "classification", row, classes, class_weights=class_weights)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_weighted_mean_over_classes_is_that_of_keras(name: str) -> None:
    of_fit, of_evaluate = OF_CLASSES[name]
    objective = of_classes(name, CLASSES, CLASS_WEIGHTS)
    assert objective.losses(SCORES, CLASSES).mean().item() == pytest.approx(of_fit, rel=1e-5)
    assert objective.eval().losses(SCORES, CLASSES, WEIGHTS).mean().item() == pytest.approx(of_evaluate, rel=1e-5)
    assert set(OF_CLASSES) == {loss for loss, tasks in FITS.items() if "classification" in tasks}


@pytest.mark.parametrize("name", OF_ONE_UNIT)
def test_a_weighted_mean_over_two_classes_of_one_unit_is_that_of_keras(name: str) -> None:
    of_fit, of_evaluate = OF_ONE_UNIT[name]
    objective, scores = of_classes(name, TWO_CLASSES, TWO_WEIGHTS), SCORES[:, :1]
    assert objective.losses(scores, TWO_CLASSES).mean().item() == pytest.approx(of_fit, rel=1e-5)
    assert objective.eval().losses(scores, TWO_CLASSES, WEIGHTS).mean().item() == pytest.approx(of_evaluate, rel=1e-5)


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_weighted_mean_over_numbers_is_that_of_keras(name: str) -> None:
    row = fit(name, "regression")
    make = Unchanged
    if row.in_units:  # whose softplus is otherwise multiplied by the training part's mean
        row = dataclasses.replace(row, in_units=False)
    objective = Objective(getattr(losses, name), "regression", row, NUMBERS, make)
    assert objective.losses(SCORES, NUMBERS, WEIGHTS).mean().item() == pytest.approx(OF_NUMBERS[name], rel=1e-5)
    assert set(OF_NUMBERS) == {loss for loss, tasks in FITS.items() if "regression" in tasks}


def test_weights_of_an_example_and_of_its_class_multiply_in_training_mode_only() -> None:
    objective = of_classes("categorical_crossentropy", CLASSES, CLASS_WEIGHTS)
    plain = of_classes("categorical_crossentropy", CLASSES, None).losses(SCORES, CLASSES)
    both = WEIGHTS * torch.tensor(CLASS_WEIGHTS)[CLASSES]
    torch.testing.assert_close(objective.losses(SCORES, CLASSES, WEIGHTS), plain * both)
    assert torch.equal(objective.eval().losses(SCORES, CLASSES), plain)


# --- a whole epoch, nothing of which moves: what is reported


def weighted_digits(count: int = 40) -> ImageData:
    images = torch.from_numpy(RNG.integers(0, 256, (3 * count, 1, 8, 8), dtype=np.uint8))
    targets = torch.from_numpy(RNG.integers(0, 3, 3 * count))
    weights = torch.from_numpy(RNG.random(3 * count).astype(np.float32))
    parts = [Split(images[start::3], targets[start::3], weights[start::3]) for start in range(3)]
    return ImageData(parts[0], parts[1], parts[2], ("a", "b", "c"), "")


STILL = ("data=arrays", "data.shape=[1,8,8]", "arch=linear", "optimizer=sgd", "optimizer.lr=1e-30")


def still(settings: Settings, data: ImageData) -> tuple[Learner, dict[str, np.ndarray]]:
    """A learner, and the unweighted losses that it starts, and stays, with."""
    torch.set_num_threads(1)
    learner = prepare(settings, data)[0]
    objective, found = learner.predictor.eval().objective, {}
    for name, part in {"train": data.train, "val": data.validation, "test": data.test}.items():
        assert part is not None
        assert isinstance(part.images, Tensor)
        with torch.no_grad():
            found[name] = objective.losses(learner.predictor.scores(part.images), part.targets).numpy()
    learner.train()
    return learner, found


def test_weights_count_in_every_loss_and_class_weights_in_training_only(
    settings: SettingsMaker, tmp_path: Path
) -> None:
    data = weighted_digits()
    chosen = settings(*STILL, "imbalance.class_weights=[1,0.5,4]", "trainer.max_epochs=1", "data.batch_size=16")
    learner, losses = still(chosen, data)
    tested = train(learner, tmp_path, device="cpu")
    of_class = np.array([1, 0.5, 4])[data.train.targets.numpy()]
    found = learner.history[0]
    assert data.train.weights is not None
    assert data.validation.weights is not None
    assert data.test is not None
    assert data.test.weights is not None
    expected = (losses["train"] * of_class * data.train.weights.numpy()).mean()
    assert found["train/loss"] == pytest.approx(expected, rel=1e-5)
    assert found["val/loss"] == pytest.approx((losses["val"] * data.validation.weights.numpy()).mean(), rel=1e-5)
    assert tested["test/loss"] == pytest.approx((losses["test"] * data.test.weights.numpy()).mean(), rel=1e-5)


def test_each_of_two_mixed_images_keeps_the_weights_of_its_class_and_its_own(
    settings: SettingsMaker, tmp_path: Path
) -> None:
    """The images stay as they are, and every one has a quarter of its own target and three of another's."""
    data = weighted_digits()
    assert data.train.weights is not None
    chosen = settings(*STILL, "imbalance.class_weights=[1,0.5,4]", "trainer.max_epochs=1", "data.batch_size=40")
    learner, _ = still(chosen, data)
    seen: list[Tensor] = []

    def keep(images: Tensor, targets: Tensor, _: torch.Generator) -> tuple[Tensor, Mixed]:
        seen.append(images)
        return images, Mixed(targets, torch.arange(len(images)).flip(0), torch.full((len(images),), 0.25))

    learner.recipe = dataclasses.replace(learner.recipe, augment=keep)  # pyright: ignore[reportArgumentType]
    assert isinstance(data.train.images, Tensor)
    places = {image.numpy().tobytes(): row for row, image in enumerate(data.train.images)}
    with torch.no_grad():
        scores = learner.predictor.scores(data.train.images).double().numpy()
    train(learner, tmp_path, device="cpu")
    rows = np.array([places[image.contiguous().numpy().tobytes()] for image in seen[0]])
    others = rows[::-1]
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))

    def weighted(of: np.ndarray) -> np.ndarray:
        classes = data.train.targets.numpy()[of]
        assert data.train.weights is not None
        return -np.array([1, 0.5, 4])[classes] * data.train.weights.numpy()[of] * logs[rows, classes]

    expected = (0.25 * weighted(rows) + 0.75 * weighted(others)).mean()
    assert learner.history[0]["train/loss"] == pytest.approx(expected, rel=1e-5)


# --- how they travel


def test_weights_stay_beside_their_images_through_division_limit_head_and_chunks() -> None:
    numbers = np.arange(40, dtype=np.float32)
    pool = (np.repeat(numbers, 4).reshape(-1, 1, 2, 2), (numbers % 2).astype(np.int64), numbers / 8)
    data = divide(pool, class_names=("a", "b"), digest="", split=[0.5, 0.25, 0.25], split_seed=0, limit=12)
    parts = [data.train, data.validation, data.test, data.train.head(5)]
    assert [len(part) for part in parts if part is not None] == [12, 10, 10, 5]
    for part in parts:
        assert part is not None
        for seed in (None, lambda: 3):
            for chunk in batches(part.to("cpu"), batch_size=3, device="cpu", seed=seed, steps_per_chunk=2):
                for images, _, weights in chunk:
                    assert weights is not None
                    assert torch.equal(weights, images[:, 0, 0, 0] / 8)


def test_a_part_without_weights_has_none_in_its_batches() -> None:
    pool = (np.zeros((8, 1, 2, 2), np.uint8), np.arange(8) % 2)
    own = (np.zeros((4, 1, 2, 2), np.uint8), np.arange(4) % 2, np.ones(4, np.float32))
    data = divide(pool, class_names=("a", "b"), digest="", split=[1.0], split_seed=0, limit=0, validation=own)
    for part, has in ((data.train, False), (data.validation, True)):
        ((batch,),) = batches(part.to("cpu"), batch_size=9, device="cpu")
        assert (batch.weights is not None) == has


# --- how they are read from an .npz


def saved(path: Path, **content: Any) -> str:
    np.savez(path, **content)
    return str(path)


IMAGES = RNG.integers(0, 256, (12, 4, 4), dtype=np.uint8)


def test_an_npzs_weights_stay_beside_their_images_and_count_in_its_digest(tmp_path: Path) -> None:
    content = {"images": IMAGES, "targets": np.arange(12) % 2}
    path, weights = tmp_path / "own.npz", np.arange(12) / 4
    read = lambda **more: arrays(path=saved(path, **content, **more), shape=[1, 4, 4], split=(0.5, 0.5))  # noqa: E731
    plain, weighted = read(), read(weights=weights)
    for part in (weighted.train, weighted.validation):
        assert isinstance(part.images, Tensor)
        assert part.weights is not None
        for image, weight in zip(part.images, part.weights, strict=True):
            assert weight == weights[(image.numpy()[0] == IMAGES).all((1, 2))].item()
    assert plain.train.weights is None
    assert len({plain.digest, weighted.digest, read(weights=weights * 2).digest}) == 3
    assert plain.digest == read().digest


def test_parts_have_weights_of_their_own(tmp_path: Path) -> None:
    targets, column = np.arange(12) % 2, np.ones((12, 1), np.int32)
    content = {"x_train": IMAGES, "y_train": targets, "w_train": column, "x_val": IMAGES, "y_val": targets}
    path = saved(tmp_path / "own.npz", **content, x_test=IMAGES, y_test=targets, w_test=np.arange(12))
    data = arrays(path=path, shape=[1, 4, 4])
    assert data.train.weights is not None
    assert data.train.weights.tolist() == [1.0] * 12
    assert data.validation.weights is None
    assert data.test is not None
    assert data.test.weights is not None
    assert data.test.weights.tolist() == list(range(12))


def test_weights_without_images_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "own.npz", x_train=IMAGES, y_train=np.arange(12) % 2, w_val=np.ones(3))
    with pytest.raises(DataError, match=r"own\.npz has w_val, but no x_val that they could weigh\.$"):
        arrays(path=path, shape=[1, 4, 4])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"^data\.path: w must be one number for each of 4 images; it is \[3\]\.$"),
        (np.ones((2, 2)), r"must be one number for each of 4 images; it is \[2, 2\]"),
        (np.array(["1"] * 4), "must be one number for each of 4 images"),
        (np.array([1, -2, 3, 4]), r"must be finite and 0 or above, but that of image 1 is -2\."),
        (np.array([1, 2, np.nan, 4]), r"must be finite and 0 or above, but that of image 2 is nan\."),
        (np.array([1, 2, 3, 1e39]), r"must be finite and 0 or above, but that of image 3 is inf\."),
        (np.zeros(4), r"are all 0: no image would count\. Leave them out, or give some above 0\."),
    ],
)
def test_what_cannot_be_weights_is_told(weights: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_weights(weights, 4, "data.path: w")
