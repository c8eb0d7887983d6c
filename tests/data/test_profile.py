import json
from pathlib import Path

import numpy as np
import pytest
import torch

from convgrid.data import Files, ImageData, Profile, Split, pick_examples


def data_of(images: torch.Tensor | Files, targets: torch.Tensor, names: tuple[str, ...] = ()) -> ImageData:
    part = Split(images, targets)
    return ImageData(part, part, None, names, "d1g3")


def test_classes_labels_and_numbers_are_told_apart_and_counted() -> None:
    images = torch.tensor([3, 200, 9], dtype=torch.uint8).view(3, 1, 1, 1)
    classes = Profile.of(data_of(images, torch.tensor([2, 0, 2]), ("a", "b", "c")), "own")
    assert (classes.task, classes.names, classes.counts) == ("classification", ("a", "b", "c"), (1, 0, 2))
    assert (classes.shape, classes.dtype, classes.pixels) == ((1, 1, 1), "uint8", (3, 200))
    assert classes.images == {"train": 3, "validation": 3}
    labels = Profile.of(data_of(images, torch.tensor([[1, 0], [1, 1], [0, 0]], dtype=torch.uint8), ("a", "b")), "own")
    assert (labels.task, labels.counts) == ("multilabel", (2, 1))
    numbers = Profile.of(data_of(images, torch.tensor([[1.0, 5.0], [-2.0, 6.0], [0.0, 7.0]])), "own", ["x", "y"])
    assert (numbers.task, numbers.names, numbers.ranges) == ("regression", ("x", "y"), ((-2, 1), (5, 7)))
    for profile in (classes, labels, numbers):
        assert Profile.load(json.loads(json.dumps(profile.dump()))) == profile


@pytest.mark.parametrize(
    ("images", "from_files", "scale"),
    [
        (torch.tensor([0, 16], dtype=torch.uint8), False, (0, 16)),  # digits
        (torch.tensor([0, 16], dtype=torch.uint8), True, (0, 255)),  # dark photos
        (torch.tensor([10, 250], dtype=torch.uint8), False, (0, 255)),  # bytes as files have them
        (torch.tensor([-1.0, 1.0]), False, (-1, 1)),
    ],
)
def test_black_and_white_of_a_file_are_what_they_were_in_the_training(
    images: torch.Tensor, from_files: bool, scale: tuple[float, float]
) -> None:
    data = data_of(images.view(2, 1, 1, 1), torch.tensor([0, 1]), ("a", "b"))
    assert Profile.of(data, "own", from_files=from_files).scale == scale


def test_examples_are_few_and_from_all_over_the_part() -> None:
    images = torch.arange(1000, dtype=torch.uint8).view(1000, 1, 1, 1).expand(-1, 3, 64, 64)
    places, picked = pick_examples(Split(images, torch.zeros(1000)))
    assert len(places) == 2**18 // (3 * 64 * 64)
    np.testing.assert_array_equal(places, [row * 1000 // len(places) for row in range(len(places))])
    torch.testing.assert_close(picked, images[places])
    assert len(pick_examples(Split(torch.zeros(9, 3, 999, 999), torch.zeros(9)))[0]) == 2
    assert len(pick_examples(Split(torch.zeros(1, 1, 2, 2), torch.zeros(1)))[0]) == 1


def test_examples_of_a_streamed_folder_are_decoded(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(3):
        Image.new("L", (4, 4), 50 * number).save(tmp_path / f"{number}.png")
    files = Files(tuple(str(tmp_path / f"{number}.png") for number in range(3)), (1, 2, 2))
    _, picked = pick_examples(Split(files, torch.zeros(3)))
    assert picked.shape == (3, 1, 2, 2)
    assert picked[:, 0, 0, 0].tolist() == [0, 50, 100]
    assert Profile.of(data_of(files, torch.tensor([0, 1, 1]), ("a", "b")), "folder").pixels == (0, 255)
