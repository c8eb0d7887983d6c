"""A network over larger images against the network on every window of them, cut out."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from convgrid.component import Component
from convgrid.errors import PlanError
from convgrid.network.build import build, measure
from convgrid.network.plan import Architecture, Plan, plan
from convgrid.network.planned import Groups
from convgrid.network.sliding import Sliding, map_size, step_of, window_differences
from networks import ACTIVATIONS, Random, groups, lay_out

VALID = "padding=valid"
RESIDUAL = f"""
    half(c) = SUM[CONV(c, stride=2, {VALID}) -> NORM -> RELU -> CONV(c, kernel=1) | CONV(c, stride=2, {VALID}) -> NORM];
    INPUT -> CONV(4, {VALID}) -> RELU -> half(6) -> RELU -> CONCAT[CONV(3, kernel=1) | SKIP] -> TANH
"""


def trained(planned: Plan) -> nn.Module:
    """A network none of whose weights and statistics is where it started."""
    network = build(planned, seed=1)
    draws = torch.Generator().manual_seed(2)
    for values in network.state_dict().values():
        if values.is_floating_point():
            values += torch.rand(values.shape, generator=draws) / 4
    return network.eval().requires_grad_(False)


def image(planned: Plan, height: int, width: int) -> Tensor:
    return torch.randn(2, planned.input_shape[0], height, width, generator=torch.Generator().manual_seed(0))


def crops(network: nn.Module, planned: Plan, images: Tensor) -> Tensor:
    """The scores of each window, cut out by itself: (B, U, R, Q)."""
    _, height, width = planned.input_shape
    down, right = step_of(planned)
    rows = [
        [
            network(images[:, :, top : top + height, left : left + width])
            for left in range(0, images.shape[3] - width + 1, right)
        ]
        for top in range(0, images.shape[2] - height + 1, down)
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


@pytest.mark.parametrize(
    ("pattern", "norm", "step"),
    [
        (f"INPUT -> CONV(4, {VALID}) -> RELU -> POOL -> CONV(5, {VALID}) -> POOL -> FC(7) -> RELU -> FC", None, (4, 4)),
        (f"INPUT -> CONV(4, stride=(3, 2), {VALID}) -> RELU -> GAP -> FC(7) -> NORM -> softmax -> FC", "batch", (3, 2)),
        (f"INPUT -> CONV(4, {VALID}) -> NORM -> POOL(3, stride=2, type=l2) -> FC", "local_response", (2, 2)),
        (f"INPUT -> CONV(6, stride=4, {VALID}) -> SUM[FC(8) -> RELU -> FC(8) | GAP -> FC(8)] -> NORM -> FC",
         "group", (4, 4)),
        ("INPUT -> POOL(3) -> CONCAT[GAP | FC(4) -> NORM] -> FC", "local_response", (3, 3)),
        (f"{RESIDUAL} -> FC(5) -> NORM -> RELU -> FC", "batch", (2, 2)),
        (f"{RESIDUAL} -> POOL -> GAP -> DROPOUT(0.5) -> FC", "batch", (4, 4)),
        ("INPUT -> FC(6) -> RELU -> FC", None, (1, 1)),
    ],
)  # fmt: skip
def test_without_padding_a_map_is_the_scores_of_all_windows(pattern: str, norm: str | None, step: tuple[int, int]):
    planned = plan(Architecture(pattern, _with_softmax(norm)), (3, 17, 14), 5)
    network, images = trained(planned), image(planned, 30, 25)
    assert step_of(planned) == step
    assert window_differences(planned) == []
    expected = crops(network, planned, images)
    found = Sliding(network, planned)(images)
    assert found.shape == (2, 5, (30 - 17) // step[0] + 1, (25 - 14) // step[1] + 1)
    assert expected.std((2, 3)).min() > 1e-3  # the places differ: their order counts
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def _with_softmax(norm: str | None) -> Groups:
    one = groups(norm=norm)
    more = ACTIVATIONS | {"softmax": Component("softmax", "convgrid.activations.softmax")}
    norms = {**one.norms, "group": replace(one.norms["group"], options={"num_groups": 2, "eps": 1e-5})}
    return replace(one, activations=more, norm=norms[norm] if norm else None)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_network_it_scores_an_image_of_its_own_size_as_before_and_a_larger_one_at_each_place(seed: int):
    pattern = Random(random.Random(seed)).pattern()
    planned = plan(Architecture(pattern, groups(norm="batch")), (3, 16, 16), 4)
    network = trained(planned).double()  # scores reach 60,000, and in single precision the order of a sum shows
    sliding = Sliding(network, planned)
    own = image(planned, 16, 16).double()
    torch.testing.assert_close(sliding(own)[:, :, 0, 0], network(own), rtol=1e-6, atol=1e-6)
    assert sliding(image(planned, 23, 40).double()).shape[1:] == (4, *map_size(planned, 23, 40))


def test_an_image_of_384_gives_a_224_network_of_five_halvings_36_places():
    planned = lay_out("INPUT -> [CONV(4) -> RELU -> POOL]*5 -> FC(16) -> RELU -> FC", (3, 224, 224))
    assert planned.layers[-4].output_shape == (4, 7, 7)
    assert Sliding(build(planned).eval(), planned)(torch.zeros(1, 3, 384, 384)).shape == (1, 10, 6, 6)


def test_what_tells_a_map_from_crops_is_named():
    assert window_differences(lay_out("INPUT -> CONV(4) -> FC")) == ["it pads"]
    assert window_differences(lay_out(f"INPUT -> CONV(8, {VALID}) -> NORM -> FC", norm="group")) == [
        "its norms look at the whole image"
    ]
    assert window_differences(lay_out(f"INPUT -> CONV(8, {VALID}) -> FC(8) -> NORM -> FC", norm="group")) == []
    assert window_differences(lay_out("INPUT -> POOL(3, ceil_mode=true) -> FC")) == ["its pools reach over the edge"]
    assert window_differences(lay_out("INPUT -> MUL[GAP -> FC(3) -> SIGMOID | SKIP] -> FC")) == [
        "it scales channels by what a window holds"
    ]


def test_a_pixel_is_scaled_by_the_nearest_window():
    """MUL[SKIP | GAP] of a 2-pixel window over 4 pixels: windows 0-1, 1-2, 2-3; pixel 3 has the last one's."""
    planned = lay_out("INPUT -> MUL[SKIP | GAP] -> CONV(1, kernel=1, bias=false) -> FC", (1, 1, 2), outputs=2)
    network = build(planned, init="torch").eval().requires_grad_(False)
    weights = network.state_dict()
    weights["conv1.weight"].fill_(1.0)
    weights["output.1.weight"].copy_(torch.eye(2))
    weights["output.1.bias"].zero_()
    found = Sliding(network, planned)(torch.tensor([[[[1.0, 3.0, 5.0, 9.0]]]]))
    scaled = [1 * 2.0, 3 * 4.0, 5 * 7.0, 9 * 7.0]
    assert found[0, :, 0].tolist() == [scaled[:-1], scaled[1:]]


def test_paths_that_move_at_different_steps_are_refused():
    planned = lay_out(f"INPUT -> SUM[CONV(4, stride=2) | CONV(4, kernel=9, {VALID})] -> FC")
    with pytest.raises(PlanError, match=r"sum1 joins paths that move by 2x2 and 1x1 pixels, .* images of 16x16 only"):
        Sliding(build(planned), planned)


def test_a_layer_of_ones_own_that_holds_on_to_its_size_is_named():
    norm = Component("own", "torch.nn.LayerNorm", group="layer/norm")
    architecture = Architecture(f"INPUT -> CONV(4, {VALID}) -> NORM -> FC", replace(groups(), norm=norm))
    planned = plan(architecture, (3, 8, 8), 2, measure=measure)
    with pytest.raises(PlanError, match="layer/norm=own: norm1 takes no larger input than 6x6"):
        Sliding(build(planned), planned)
