import numpy as np
import torch
from PIL import Image

from convgrid.data import Split
from convgrid.objective.fit import fit
from convgrid.training.worst import Worst, draw_worst, find_worst


def test_labels_that_are_furthest_on_the_wrong_side_come_first() -> None:
    told = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.05, 0.2], [0.9, 0.9]])
    has = torch.tensor([[1, 0], [1, 0], [1, 0], [1, 1]], dtype=torch.uint8)
    assert find_worst(told, has, "multilabel", fit("binary_crossentropy", "multilabel")).places.tolist() == [2, 1]
    scores = find_worst(4 * told - 2, has, "multilabel", fit("hinge", "multilabel"))
    assert scores.places.tolist() == [2, 1]


def test_numbers_are_furthest_off_in_their_columns_own_spread() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(50, 2)) * [1.0, 1000.0]
    told = truth + rng.normal(size=(50, 2)) * [0.5, 100.0]
    errors = (np.abs(told - truth) / truth.std(0)).mean(1)
    row = fit("mean_squared_error", "regression")
    worst = find_worst(torch.tensor(told), torch.tensor(truth), "regression", row)
    assert worst.places.tolist() == np.argsort(-errors)[:24].tolist()


def test_the_sheet_shows_each_image_above_what_it_is_and_what_is_told() -> None:
    images = torch.zeros(30, 1, 8, 8, dtype=torch.uint8)
    images[7] = 255
    worst = Worst(torch.tensor([3, 7]), torch.tensor([[0.1, 0.9], [0.8, 0.2]]), 0.5)
    picture = draw_worst(worst, Split(images, torch.arange(30) % 2), ("cat", "a name that is far too long to fit"))
    pixels = np.asarray(picture)
    assert picture.mode == "RGB"
    assert pixels[4:100, 4:100].max() == 0  # the fourth image, enlarged to 96 pixels
    assert pixels[4:100, 104:200].min() == 255  # the eighth
    assert (pixels[102:, 4:100] < 128).any()
    assert (pixels[102:, 104:200] < 128).any()
    assert (pixels[102:, 100:104] > 200).all()  # a caption that is too long is cut
    assert isinstance(picture, Image.Image)
