"""Classes of which some have far more images: class weights, balanced sampling, and what they are good for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from convgrid.config import Settings
from convgrid.data import ImageData, Split, batches, digits
from convgrid.errors import ConfigError
from convgrid.objective.imbalance import check_imbalance, fit_class_weights
from convgrid.runs.trial import LAST
from convgrid.training.learner import Learner, train
from convgrid.training.setup import prepare, read

SettingsMaker = Callable[..., Settings]


def test_balanced_class_weights_are_scikit_learns() -> None:
    classes = np.random.default_rng(0).choice(4, 100, p=[0.7, 0.2, 0.06, 0.04])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=classes)
    found = fit_class_weights("balanced", np.bincount(classes).tolist())
    assert found == pytest.approx(expected)
    assert np.mean(np.array(found)[classes]) == pytest.approx(1)


def test_class_weights_of_ones_own_are_kept_and_absent_classes_count_nothing() -> None:
    assert fit_class_weights([1, 2.5, 0], [7, 7, 7]) == [1, 2.5, 0]
    assert fit_class_weights("balanced", [6, 0, 2]) == pytest.approx([8 / 2 / 6, 0, 8 / 2 / 2])


@pytest.mark.parametrize(
    ("class_weights", "sampling", "task", "messages"),
    [
        ([1, 2], "shuffle", "classification", ["imbalance.class_weights=[1,2] must be 3 numbers, one a class."]),
        (
            [1, -0.5, 1],
            "shuffle",
            "classification",
            ["imbalance.class_weights=[1,-0.5,1] must be numbers of 0 or above, not all 0."],
        ),
        ([0, 0, 0], "balanced", "classification", ["imbalance.class_weights=[0,0,0] must be numbers of 0 or above, "]),
        (
            "balanced",
            "shuffle",
            "regression",
            ["imbalance.class_weights=balanced does not fit a regression: it needs "],
        ),
        (
            [1, 1, 1, 1],
            "balanced",
            "multilabel",
            [
                "imbalance.class_weights=[1,1,1,1] does not fit a multilabel: it needs one class an image. Leave it ",
                "imbalance.sampling=balanced does not fit a multilabel: it needs one class an image. Leave it out.",
            ],
        ),
        ("balanced", "balanced", "classification", ["imbalance.class_weights=balanced makes up once more for what "]),
    ],
)
def test_what_cannot_be_made_up_for_is_refused(
    class_weights: str | Sequence[float], sampling: str, task: str, messages: list[str]
) -> None:
    with pytest.raises(ConfigError if len(messages) == 1 else Exception) as caught:
        check_imbalance(class_weights, sampling, task, 3)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(messages)
    for line, message in zip(lines, messages, strict=True):
        assert message in line


@pytest.mark.parametrize("class_weights", ["none", "balanced", [1, 0, 2.5]])
def test_what_can_be_is_let_pass(class_weights: str | Sequence[float]) -> None:
    check_imbalance(class_weights, "shuffle", "classification", 3)
    check_imbalance(class_weights, "shuffle", "classification", None)


# --- balanced epochs


def numbered(classes: Sequence[int]) -> Split:
    """Images whose pixels are their number."""
    pixels = torch.arange(len(classes), dtype=torch.uint8)
    return Split(pixels.view(-1, 1, 1, 1).repeat(1, 1, 2, 2), torch.tensor(classes))


def epoch(split: Split, seed: int, steps_per_chunk: int = 1) -> list[tuple[int, int]]:
    """Number and class of the images of a balanced epoch."""
    chunks = batches(
        split, batch_size=7, device="cpu", seed=lambda: seed, steps_per_chunk=steps_per_chunk, balanced=True
    )
    drawn = [(images[:, 0, 0, 0].tolist(), targets.tolist()) for chunk in chunks for images, targets, _ in chunk]
    assert [len(targets) for _, targets in drawn][:-1] == [7] * (chunks.num_steps - 1)
    return [pair for numbers, targets in drawn for pair in zip(numbers, targets, strict=True)]


def test_a_balanced_epoch_draws_as_many_images_as_there_are_and_every_class_equally_often() -> None:
    """Classes 0, 2 and 3 (there is no 1) in any order, 90, 8 and 2 of them."""
    classes = torch.tensor([0] * 90 + [2] * 8 + [3] * 2)[
        torch.randperm(100, generator=torch.Generator().manual_seed(0))
    ]
    drawn = [epoch(numbered(classes.tolist()), seed) for seed in range(60)]
    assert {len(pairs) for pairs in drawn} == {100}
    for number, label in drawn[0]:
        assert classes[number] == label
    counts = torch.tensor([number for pairs in drawn for number, _ in pairs]).bincount(minlength=100).float()
    for label, images in ((0, 90), (2, 8), (3, 2)):
        of_class = counts[classes == label]
        assert len(of_class) == images
        assert of_class.sum().item() == pytest.approx(2000, abs=4 * (6000 * 2 / 9) ** 0.5)  # binomial, 4 deviations
        assert (of_class - 2000 / images).abs().max() < 5 * (2000 / images) ** 0.5


def test_a_balanced_epoch_depends_on_its_seed_only() -> None:
    split = numbered([0] * 30 + [1] * 5)
    torch.manual_seed(0)
    first = epoch(split, 3)
    torch.manual_seed(1)
    assert epoch(split, 3, steps_per_chunk=3) == first
    assert epoch(split, 4) != first


# --- what they are good for


def thinned_digits() -> ImageData:
    """Is it an 8? Of 400 training images 20 are."""
    data = digits()
    parts = [part for part in (data.train, data.validation, data.test) if part is not None]
    images = torch.cat([part.images for part in parts if isinstance(part.images, Tensor)])
    is_eight = torch.cat([part.targets for part in parts]) == 8
    eights, others = is_eight.nonzero()[:, 0], (~is_eight).nonzero()[:, 0]
    rows = [
        torch.cat((others[:380], eights[:20])),
        torch.cat((others[380:570], eights[20:30])),
        torch.cat((others[570:], eights[30:])),
    ]
    train_part, validation, test = (Split(images[some], is_eight[some].long()) for some in rows)
    return ImageData(train_part, validation, test, ("other", "eight"), "thinned")


def macro_recall(settings: Settings, folder: Path) -> float:
    """Mean over the classes of the share that the last epoch's network finds, on the test part."""
    torch.set_num_threads(1)
    data = thinned_digits()
    assert data.test is not None
    learner = prepare(settings, data)[0]
    train(learner, folder, device="cpu")
    learner.load_state_dict(torch.load(folder / LAST, weights_only=True)["state_dict"])
    with torch.no_grad():
        hits = learner.predictor.eval()(data.test.images).argmax(1) == data.test.targets
    return np.mean([hits[data.test.targets == label].float().mean().item() for label in (0, 1)]).item()


@pytest.mark.parametrize("remedy", ["imbalance.class_weights=balanced", "imbalance.sampling=balanced"])
def test_where_19_of_20_images_are_of_one_class_the_other_is_found_more_often(
    settings: SettingsMaker, tmp_path: Path, remedy: str
) -> None:
    """0.5 is the recall of the network that never says "eight"."""
    small = ("data=arrays", "data.shape=[1,8,8]", "arch.m=1", "arch.filters=4", "arch.hidden=16")
    short = ("optimizer.lr=0.003", "trainer.max_epochs=6")
    found = {}
    for name, more in {"plain": [], "remedied": [remedy]}.items():
        (tmp_path / name).mkdir()
        found[name] = macro_recall(settings(*small, *short, *more), tmp_path / name)
    assert found["plain"] < 0.6
    assert found["remedied"] > found["plain"] + 0.15


# --- from the config's text


def learner_for(settings: Settings) -> Learner:
    data = read(settings)
    return prepare(settings, data)[0]


def write_classes(path: Path, classes: Sequence[int]) -> list[str]:
    images = np.random.default_rng(0).integers(0, 256, (len(classes), 8, 8), dtype=np.uint8)
    np.savez(path, x_train=images, y_train=classes, x_val=images[-5:], y_val=[1] * 5)
    return ["data=arrays", f"data.path={path}", "data.shape=[1,8,8]", "arch=linear"]


def test_class_weights_are_fitted_on_the_training_part_only(settings: SettingsMaker, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "own.npz", [0] * 9 + [1] * 3)
    found = learner_for(settings(*data, "imbalance.class_weights=balanced")).predictor.objective.class_weights
    assert found is not None
    assert found.tolist() == pytest.approx([12 / 2 / 9, 12 / 2 / 3])


def test_class_weights_are_no_part_of_checkpoints_and_models(settings: SettingsMaker, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "own.npz", [0] * 9 + [1] * 3)
    learner = learner_for(settings(*data, "imbalance.class_weights=[1,2]"))
    assert not [name for name in learner.state_dict() if "class_weights" in name]


def test_a_number_of_class_weights_that_only_the_file_shows_to_be_wrong_is_told(
    settings: SettingsMaker, tmp_path: Path
) -> None:
    data = write_classes(tmp_path / "own.npz", [0] * 9 + [1] * 3)
    with pytest.raises(ConfigError, match=r"^imbalance\.class_weights=\[1,2,3\] must be 2 numbers, one a class\.$"):
        learner_for(settings(*data, "imbalance.class_weights=[1,2,3]"))
