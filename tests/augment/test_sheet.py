"""The sheet of augmented images, pixel by pixel."""

import numpy as np
import torch

from convgrid.augment.sheet import IMAGE_GAP, MIN_IMAGE_SIDE, augmentation_sheet, gallery


def test_a_sheet_has_a_row_an_image_and_a_column_a_round() -> None:
    images = torch.arange(3 * 3 * 120 * 100).reshape(3, 3, 120, 100) % 251
    rounds = [images.flip(0).float(), images.float() * 2 - 100]
    picture = np.asarray(augmentation_sheet(images, rounds))
    assert picture.shape == (3 * 124 + IMAGE_GAP, 3 * 104 + 3 * IMAGE_GAP, 3)
    for row in range(3):
        for column, some in enumerate((images, *rounds)):
            left, top = IMAGE_GAP + column * 104 + (2 * IMAGE_GAP if column else 0), IMAGE_GAP + row * 124
            seen = picture[top : top + 120, left : left + 100].astype(float)
            expected = np.clip(some[row].permute(1, 2, 0).numpy() * 255 / 250, 0, 255)
            assert np.abs(seen - expected).max() <= 0.51
    assert (picture[:IMAGE_GAP] == 255).all()


def test_a_small_grey_image_is_enlarged_and_stretched_from_black_to_white() -> None:
    image = torch.tensor([[[[3.0, 19.0], [11.0, 3.0]]]])
    picture = np.asarray(augmentation_sheet(image, [image]))[
        IMAGE_GAP : IMAGE_GAP + MIN_IMAGE_SIDE, IMAGE_GAP : IMAGE_GAP + MIN_IMAGE_SIDE
    ]
    half = MIN_IMAGE_SIDE // 2
    assert [int(picture[i * half, j * half, 0]) for i in (0, 1) for j in (0, 1)] == [0, 255, 128, 0]
    assert (picture[:half, half:] == 255).all()


def test_an_even_image_is_black() -> None:
    even = torch.full((1, 2, 96, 96), 7.0)
    assert (np.asarray(augmentation_sheet(even, [even]))[IMAGE_GAP:-IMAGE_GAP, IMAGE_GAP : IMAGE_GAP + 96] == 0).all()


def test_captions_of_others_stay_in_their_line() -> None:
    image = torch.zeros(1, 1, 96, 96)
    odd, plain = "a\nb\x1b[2J", "a\\nb\\x1b[2J"
    assert (
        np.asarray(augmentation_sheet(image, [image], [odd])) == np.asarray(augmentation_sheet(image, [image], [plain]))
    ).all()
    assert (np.asarray(gallery(image, [[odd]])) == np.asarray(gallery(image, [[plain]]))).all()
