"""Rows of one tensor stand for images, whatever order of memory they have."""

import pytest
import torch

from convgrid.data.loader import batches
from convgrid.data.stored import Stored, pick


@pytest.mark.parametrize("shape", [(9, 5), (9, 2, 3, 4)])
def test_minibatches_are_those_of_the_rows_themselves(shape: tuple[int, ...]) -> None:
    numbers = torch.arange(float(torch.Size(shape).numel())).view(shape)
    if len(shape) == 4:
        numbers = numbers.to(memory_format=torch.channels_last)
    places, targets = torch.tensor([8, 0, 3, 3, 7]), torch.tensor([5, 6, 7, 8, 9])
    part = Stored(numbers, places, targets, targets.float())
    for seed in (None, 3):
        taken = batches(part.to("cpu"), batch_size=2, device="cpu", seed=None if seed is None else lambda: 3)
        steps = [batch for chunk in taken for batch in chunk]
        assert [len(batch.targets) for batch in steps] == [2, 2, 1]
        rows = torch.cat([batch.images for batch in steps])
        order = [targets.tolist().index(target) for batch in steps for target in batch.targets.tolist()]
        assert sorted(order) == list(range(5))
        assert (order == list(range(5))) == (seed is None)
        assert torch.equal(rows, numbers[places[order]])
        assert torch.equal(torch.cat([batch.weights for batch in steps]), targets[order].float())  # pyright: ignore
    assert part.nbytes == 5 * numbers[0].nbytes


def test_rows_in_channels_last_order_stay_so() -> None:
    images = torch.rand(6, 3, 4, 5).to(memory_format=torch.channels_last)
    found = pick(images, torch.tensor([4, 1]))
    assert torch.equal(found, images[[4, 1]])
    assert found.is_contiguous(memory_format=torch.channels_last)
