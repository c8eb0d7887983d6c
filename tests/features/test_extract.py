"""Features of a data set: each image once, by one process at a time, and as the network itself makes them."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convgrid.augment import Augment
from convgrid.data import Split
from convgrid.features.cache import Cache
from convgrid.features.extract import (
    FeatureSource,
    ProgressWatch,
    digest_of_weights,
    ids,
    images_at,
    stored,
    stored_view,
)
from convgrid.system.seeding import derive


def noise(count: int, seed: int = 0) -> Split:
    draws = torch.Generator().manual_seed(seed)
    return Split(torch.randint(0, 256, (count, 3, 5, 4), dtype=torch.uint8, generator=draws), torch.arange(count))


def source(network: nn.Module, **known: object) -> FeatureSource:
    return FeatureSource(network, lambda images: images / 255, torch.device("cpu"), "32-true", known, "noise", 1000)


WAITING = "Another process computes the same features: waiting for them."


class Watched(nn.Module):
    """Counts the images that it has seen.

    Args:
        wait: What it does before it is done.
    """

    def __init__(self, wait: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.wait = wait

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        self.wait()
        return images.mean((2, 3))


@pytest.fixture
def cache(tmp_path: object) -> Cache:
    return Cache(tmp_path / "features", limit=2**20)  # pyright: ignore[reportOperatorIssue]


def quiet(_: str) -> None:
    pass


@pytest.mark.parametrize("network", [nn.Flatten(), nn.Conv2d(3, 2, 3)])
def test_every_image_has_its_own_features_whatever_part_it_stands_in(cache: Cache, network: nn.Module) -> None:
    train, test = noise(7), noise(4, seed=1)
    again = Split(torch.cat([test.images[2:3], train.images[5:6]]), torch.tensor([8, 9]))  # pyright: ignore
    parts = [train, again, test]
    for _ in range(2):  # computed, and found
        found = stored(parts, source(network), ProgressWatch(quiet), cache)
        assert found is not None
        for part, made in zip(parts, found, strict=True):
            assert torch.equal(made.targets, part.targets)
            rows = made.numbers[made.places]
            with torch.inference_mode():
                assert torch.allclose(rows, network(part.images / 255), atol=1e-6)  # pyright: ignore
            if rows.dim() == 4:
                assert made.numbers.is_contiguous(memory_format=torch.channels_last)
    (entry,) = cache.entries()
    assert {"images": "11", "network": "noise"}.items() <= entry.about.items()
    assert int(entry.about["multiply-adds a second"]) > 0


def test_the_same_images_in_another_order_are_found(cache: Cache) -> None:
    network, train = Watched(), noise(6)
    stored([train], source(network), ProgressWatch(quiet), cache)
    turned = Split(train.images.flip(0), train.targets.flip(0))  # pyright: ignore[reportAttributeAccessIssue]
    told: list[str] = []
    parts = [turned.head(4), train.head(2)]
    found = stored(parts, source(network), ProgressWatch(told.append), cache)
    assert told == ["features of 6 images: from the cache"]
    assert network.seen == [6]
    assert found is not None
    assert torch.allclose(found[0].numbers[found[0].places], turned.images[:4].float().mean((2, 3)) / 255)  # pyright: ignore
    stored([train], source(network, weights="others"), ProgressWatch(quiet), cache)
    stored([train.head(5)], source(network), ProgressWatch(quiet), cache)
    assert network.seen == [6, 6, 5]


def test_who_comes_while_features_are_made_waits_for_them(cache: Cache) -> None:
    told: list[str] = []

    def wait() -> None:
        """Until both others have come."""
        end = time.monotonic() + 60
        while told.count(WAITING) < 2 and time.monotonic() < end:
            time.sleep(0.005)

    network = Watched(wait)
    threads = [
        threading.Thread(target=stored, args=([noise(5)], source(network), ProgressWatch(told.append), cache))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert network.seen == [5]
    assert told.count(WAITING) == 2


def test_views_are_the_networks_features_of_augmented_images(cache: Cache) -> None:
    network, part = nn.Flatten(), noise(6)
    augment = Augment(horizontal_flip=True, brightness=0.3)
    views = [
        stored_view(part, number, augment, {"brightness": 0.3}, source(network), ProgressWatch(quiet), cache)
        for number in (0, 1, 0)
    ]
    rows = [view.numbers[view.places] for view in views if view is not None]
    order = np.arange(6)
    (images,) = images_at([part], order, torch.device("cpu"))
    draws = torch.Generator().manual_seed(derive(0, "views", 1))
    assert torch.equal(rows[1], (augment(images, None, draws)[0] / 255).flatten(1))
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])
    assert len(cache.entries()) == 2
    stored_view(part, 0, augment, {"brightness": 0.4}, source(network), ProgressWatch(quiet), cache)
    assert len(cache.entries()) == 3


def test_torn_features_are_made_again(cache: Cache) -> None:
    network = Watched()
    stored([noise(5)], source(network), ProgressWatch(quiet), cache)
    (entry,) = cache.entries()
    entry.path.write_bytes(entry.path.read_bytes()[:-4])
    stored([noise(5)], source(network), ProgressWatch(quiet), cache)
    assert network.seen == [5, 5]
    assert cache.entries()[0].size == entry.size


def test_a_folder_that_cannot_be_made_costs_the_cache_alone(cache: Cache) -> None:
    cache.folder.write_text("a file")
    told: list[str] = []
    found = stored([noise(5)], source(Watched()), ProgressWatch(told.append), cache)
    assert found is not None
    assert told[-1].startswith("The cache of features cannot be used: ")
    assert told[-1].endswith(". The features stay in memory.")


def test_images_are_told_apart_by_pixels_size_and_type() -> None:
    one = torch.arange(12, dtype=torch.uint8).view(1, 1, 3, 4)
    others = [one, one.view(1, 1, 4, 3), one.float(), one + 1]
    digests = [ids(Split(images, torch.zeros(1)))[0] for images in others]
    assert len(set(digests)) == 4
    assert ids(Split(one.clone(), torch.zeros(1)))[0] == digests[0]


def test_weights_are_told_apart_by_value_and_name() -> None:
    torch.manual_seed(0)
    layer = nn.BatchNorm1d(3)
    before = digest_of_weights(nn.Sequential(layer))
    assert digest_of_weights(nn.Sequential(layer)) == before
    assert digest_of_weights(nn.ModuleDict({"other": layer})) != before
    layer.running_mean[1] = 1e-7  # pyright: ignore[reportOptionalSubscript]
    assert digest_of_weights(nn.Sequential(layer)) != before


def test_images_at_places_keep_their_order() -> None:
    parts = [noise(3), noise(4, seed=1)]
    (found,) = images_at(parts, np.array([5, 0, 6, 2]), torch.device("cpu"))
    every = torch.cat([part.images for part in parts])  # pyright: ignore[reportArgumentType]
    assert torch.equal(found, every[[5, 0, 6, 2]])
