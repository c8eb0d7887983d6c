"""Which layers weights are loaded into, and what does not fit."""

import pytest

from convgrid.errors import PlanError
from convgrid.network.plan import Architecture, Plan, plan
from convgrid.network.weights import differing_layers, matching
from networks import groups

NORMED = "INPUT -> CONV(4) -> NORM -> RELU -> CONV(8, stride=2) -> NORM -> RELU -> GAP -> [FC(16) -> RELU]*K -> FC"
WHOLE = ("conv1", "norm1", "conv2", "norm2")
PLACE = "arch.weights=mine.safetensors"
FIX = "Use the arch of mine.safetensors, or other weights."


def laid_out(
    pattern: str = NORMED, *, head: str | None = None, side: int = 8, outputs: int = 10, k: int = 0, bias: bool = True
) -> Plan:
    return plan(Architecture(pattern, groups(norm="batch", bias=bias), head=head, k=k), (3, side, side), outputs)


def found(here: Plan, there: Plan, *, free_head: bool = False) -> tuple[str, ...]:
    return matching(here, there, PLACE, free_head=free_head)


def test_all_layers_of_the_same_network_are_loaded() -> None:
    assert found(laid_out(), laid_out()) == (*WHOLE, "output")
    assert found(laid_out(k=2), laid_out(k=2)) == (*WHOLE, "fc1", "fc2", "output")


def test_another_number_of_outputs_draws_the_output_layer_anew() -> None:
    assert found(laid_out(), laid_out(outputs=1000)) == WHOLE
    assert found(laid_out(k=1), laid_out(k=1, outputs=1000)) == (*WHOLE, "fc1")


def test_another_size_of_images_fits_a_network_that_averages() -> None:
    assert found(laid_out(side=9), laid_out(side=8)) == (*WHOLE, "output")


@pytest.mark.parametrize(
    ("head", "k", "loaded"),
    [
        ("[FC(16) -> RELU]*K -> FC", 1, (*WHOLE, "fc1", "output")),  # what was trained as the head is the head again
        ("[FC(16) -> RELU]*K -> FC", 2, WHOLE),
        ("[FC(17) -> RELU]*K -> FC", 1, WHOLE),
        ("FC", 0, WHOLE),
    ],
)
def test_a_head_of_ones_own_is_loaded_as_a_whole_or_not_at_all(head: str, k: int, loaded: tuple[str, ...]) -> None:
    assert found(laid_out(head=head, k=k), laid_out(k=1), free_head=True) == loaded


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        (laid_out(NORMED.replace("CONV(8", "CONV(9")), laid_out(),
         f"conv2 is 9x4x3x3, bias, and 8x4x3x3, bias there. {FIX}"),
        (laid_out(bias=False), laid_out(), f"conv1 is 4x3x3x3, no bias, and 4x3x3x3, bias there. {FIX}"),
        (laid_out(NORMED.replace("CONV(8", "CONV(8, groups=2")), laid_out(),
         f"conv2 is 8x2x3x3, bias, and 8x4x3x3, bias there. {FIX}"),
        (laid_out(k=1), laid_out(),
         f"fc1 has no weights there, whose pattern is {laid_out().pattern}. {FIX}"),
        (laid_out(), laid_out(k=1), f"it has weights of fc1, and {laid_out().pattern} has no such layer. {FIX}"),
        (laid_out("INPUT -> CONV(4) -> FC(5) -> FC", side=9), laid_out("INPUT -> CONV(4) -> FC(5) -> FC"),
         "fc1 is 5x324, bias, and 5x256, bias there, where images are 8x8. Use images of 8x8, or a head that takes any "
         "size: arch.head='GAP -> FC'."),
        (laid_out(NORMED.replace("NORM -> RELU -> CONV", "NORM(group, num_groups=2) -> RELU -> CONV")), laid_out(),
         f"norm1 is 4 channels, group_norm, and 4 channels, batch_norm there. {FIX}"),
    ],
)  # fmt: skip
def test_the_first_layer_that_differs_is_named_with_both_shapes(here: Plan, there: Plan, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        found(here, there)
    assert str(refused.value) == f"{PLACE}: {said}"


def test_layers_that_compute_otherwise_are_told_though_their_weights_fit() -> None:
    """As with ResNet-20's stride of 2, which is padded evenly or at the end: both load, one scores less."""
    there = laid_out(NORMED.replace("stride=2", "stride=2, padding=1"))
    assert differing_layers(laid_out(), there, WHOLE) == ["conv2"]
    assert differing_layers(laid_out(side=9), there, WHOLE) == []  # an odd side is padded evenly anyway
    assert differing_layers(laid_out(NORMED.replace("NORM", "NORM(eps=0.001)")), laid_out(), WHOLE) == [
        "norm1",
        "norm2",
    ]
    assert differing_layers(laid_out(), laid_out(), WHOLE) == []
