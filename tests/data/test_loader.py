import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from convgrid.data import Split, batches, loader, random, statistics


def numbered(size: int, channels: int = 1) -> Split:
    """Images whose pixels, and whose targets, are their number."""
    numbers = torch.arange(size)
    images = numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, channels, 2, 3).contiguous()
    return Split(images, numbers)


def epoch(split: Split, seed: int | None = None, batch_size: int = 4, steps_per_chunk: int = 1) -> list[list[int]]:
    order = None if seed is None else lambda: seed
    chunks = batches(split, batch_size=batch_size, device="cpu", seed=order, steps_per_chunk=steps_per_chunk)
    taken = []
    for chunk in chunks:
        for images, targets, _ in chunk:
            assert images[:, 0, 0, 0].tolist() == targets.tolist()
            taken.append(targets.tolist())
    return taken


@pytest.mark.parametrize("channels", [1, 3])
def test_an_epoch_holds_every_image_once(channels: int) -> None:
    taken = epoch(numbered(11, channels).to("cpu"), seed=0)
    assert [len(targets) for targets in taken] == [4, 4, 3]
    order = [number for targets in taken for number in targets]
    assert sorted(order) == list(range(11))
    assert order != list(range(11))


def test_views_take_turns_epoch_by_epoch() -> None:
    views = [
        batches(Split(numbered(5).images, torch.arange(5) + 10 * view), batch_size=3, device="cpu") for view in (0, 1)
    ]
    done = iter([0, 1, 2])
    turns = loader.Turns(views, lambda: next(done))
    assert len(turns) == len(views[0])
    taken = [[int(targets[0]) for chunk in turns for _, targets, _ in chunk] for _ in range(3)]
    assert taken == [[0, 3], [10, 13], [0, 3]]


def test_without_a_seed_the_order_is_the_stored_one() -> None:
    assert epoch(numbered(6)) == [[0, 1, 2, 3], [4, 5]]


def test_the_seed_alone_decides_the_order() -> None:
    torch.manual_seed(0)
    first = epoch(numbered(50), seed=1)
    torch.manual_seed(1)
    assert epoch(numbered(50), seed=1) == first
    assert epoch(numbered(50), seed=2) != first


def test_every_epoch_asks_for_its_seed() -> None:
    seeds = iter([1, 2, 1])
    part = batches(numbered(20), batch_size=20, device="cpu", seed=lambda: next(seeds))
    first, second, third = ([targets.tolist() for chunk in part for _, targets, _ in chunk] for _ in range(3))
    assert first != second
    assert first == third


@pytest.mark.parametrize("steps_per_chunk", [1, 2, 3, 5, 100])
def test_chunks_hold_the_same_minibatches(steps_per_chunk: int) -> None:
    split = numbered(18)
    chunks = batches(split, batch_size=4, device="cpu", steps_per_chunk=steps_per_chunk)
    assert (chunks.num_steps, len(chunks)) == (5, -(-5 // steps_per_chunk))
    assert [len(chunk) for chunk in chunks] == [len(list(chunk)) for chunk in chunks]
    assert sum(len(chunk) for chunk in chunks) == 5
    assert epoch(split, 3, steps_per_chunk=steps_per_chunk) == epoch(split, 3)


def test_chunks_of_tensors_may_be_used_late_and_twice() -> None:
    chunks = list(batches(numbered(6), batch_size=2, device="cpu", steps_per_chunk=2))
    assert [targets.tolist() for _, targets, _ in chunks[1]] == [[4, 5]]
    assert [[targets.tolist() for _, targets, _ in chunks[0]] for _ in range(2)] == [[[0, 1], [2, 3]]] * 2


@pytest.mark.parametrize("seed", [None, 0])
def test_images_come_as_stored_in_channels_last_order(seed: int | None) -> None:
    order = None if seed is None else lambda: seed
    part = random(shape=[3, 5, 4], size=20).train
    for images, targets, _ in next(iter(batches(part.to("cpu"), batch_size=4, device="cpu", seed=order))):
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert targets.dtype == torch.int64
        assert isinstance(part.images, Tensor)
        assert all((part.images == image).all((1, 2, 3)).any() for image in images)


def test_contiguous_images_are_gathered_too() -> None:
    part = random(shape=[3, 5, 4], size=20).train
    orders = []
    for stored in (part, part.to("cpu")):
        chunks = batches(stored, batch_size=4, device="cpu", seed=lambda: 0)
        orders.append(torch.cat([images for chunk in chunks for images, _, _ in chunk]))
    assert orders[0].equal(orders[1])


@pytest.mark.parametrize("at_once", [1, 24, 10**6])
@pytest.mark.parametrize("seed", [None, 0])
def test_what_is_done_to_images_is_done_once_however_many_minibatches_are_gathered_together(
    monkeypatch: pytest.MonkeyPatch, seed: int | None, at_once: int
) -> None:
    """A minibatch has 4 * 6 numbers."""
    monkeypatch.setattr(loader, "NUMBERS_AT_ONCE", at_once)
    order = None if seed is None else lambda: seed
    weighted = dataclasses.replace(numbered(18), weights=torch.arange(18) / 2)
    chunks = batches(
        weighted.to("cpu"), batch_size=4, device="cpu", seed=order, steps_per_chunk=2, prepare=lambda images: images + 1
    )
    taken = [list(chunk) for chunk in chunks]
    assert [[len(batch.images) for batch in chunk] for chunk in taken] == [[4, 4], [4, 4], [2]]
    for images, targets, weights in itertools.chain(*taken):
        assert weights is not None
        assert torch.equal(images[:, 0, 1, 2], targets + 1)
        assert torch.equal(weights, targets / 2)
    numbers = [targets.tolist() for _, targets, _ in itertools.chain(*taken)]
    assert numbers == epoch(numbered(18), seed)


def test_moving_keeps_values_and_targets() -> None:
    part = random(shape=[3, 5, 4], size=20).train
    moved = part.to("cpu")
    assert isinstance(part.images, Tensor)
    assert isinstance(moved.images, Tensor)
    assert moved.images.equal(part.images)
    assert moved.targets.equal(part.targets)
    assert len(moved) == 14


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 20)])
def test_statistics_equal_numpys_in_double_precision(shape: tuple[int, ...]) -> None:
    part = random(shape=shape, size=3000).train
    assert isinstance(part.images, Tensor)
    for images, tolerance in ((part.images, 1e-12), (part.images.float() / 7 + 1000, 1e-9)):
        mean, std = statistics(Split(images, part.targets))
        twin = images.numpy().astype(np.float64)
        assert mean == pytest.approx(twin.mean((0, 2, 3)), rel=tolerance)
        assert std == pytest.approx(twin.std((0, 2, 3)), rel=tolerance)


def test_statistics_of_bytes_are_exact_sums() -> None:
    """Ten million pixels of 255 and one of 254: a float32 sum would lose the difference."""
    images = torch.full((1001, 1, 100, 100), 255, dtype=torch.uint8)
    images[500, 0, 3, 4] = 254
    mean, std = statistics(Split(images, torch.zeros(1001)))
    assert mean == [255 - 1 / 10_010_000]
    assert std == pytest.approx([(1 / 10_010_000 - 1 / 10_010_000**2) ** 0.5], rel=1e-12)


@pytest.mark.parametrize("value", [torch.tensor(7, dtype=torch.uint8), torch.tensor(0.1), torch.tensor(0.0)])
def test_a_constant_channel_has_deviation_1(value: Tensor) -> None:
    images = torch.stack([value.expand(50, 6, 6), torch.arange(1800).view(50, 6, 6).to(value.dtype)], 1)
    mean, std = statistics(Split(images, torch.zeros(50)))
    assert mean[0] == pytest.approx(value.item(), rel=1e-6)
    assert std[0] == 1.0
    assert std[1] > 1.0


def test_statistics_do_not_depend_on_the_storage_order() -> None:
    part = random(shape=[3, 9, 7], size=50).train
    assert statistics(part) == statistics(part.to("cpu"))
