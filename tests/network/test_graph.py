"""A network that branches as a module: joins against torch's own words, the order of steps, what is let go of when."""

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convgrid.network.build import build, kernels
from convgrid.network.graph import Branching, Concat, Mul, PadSkip, Sum
from networks import lay_out

RESIDUAL = """
    block(c, s) = SUM[CONV(c, stride=s, padding=1) -> NORM -> RELU -> CONV(c) -> NORM | SKIP] -> RELU;
    INPUT -> CONV(8) -> NORM -> RELU -> block(8, 1) -> block(16, 2) -> DROPOUT(0.5) -> GAP -> FC
"""


class ByHand(nn.Module):
    """RESIDUAL as one writes it in torch."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 8, 3, 1), (8, 8, 3, 1), (8, 8, 3, 1), (8, 16, 3, 2), (16, 16, 3, 1), (8, 16, 1, 2)]
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, filters, side, stride, side // 2) for channels, filters, side, stride in sizes
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(filters) for _, filters, _, _ in sizes)
        self.output = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        units = [lambda x, c=conv, n=norm: n(c(x)) for conv, norm in zip(self.convs, self.norms, strict=True)]
        x = units[0](x).relu()
        x = (units[2](units[1](x).relu()) + x).relu()
        x = (units[4](units[3](x).relu()) + units[5](x)).relu()
        return self.output(x.mean((2, 3)))


def test_a_residual_network_is_bit_for_bit_the_one_written_by_hand():
    network = build(lay_out(RESIDUAL, norm="batch"), seed=3).eval()
    hand = ByHand().eval()
    assert [weights.shape for weights in network.parameters()] != []
    convs, norms = ([m for m in network.modules() if isinstance(m, kind)] for kind in (nn.Conv2d, nn.BatchNorm2d))
    for mine, other in zip([*convs, *norms], [*hand.convs, *hand.norms], strict=True):
        other.load_state_dict(mine.state_dict())
    (linear,) = (module for module in network.modules() if isinstance(module, nn.Linear))
    hand.output.load_state_dict(linear.state_dict())
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(images), hand(images))


def test_a_branching_network_has_the_layers_of_the_plan_by_name_and_in_order():
    planned = lay_out(RESIDUAL, norm="batch")
    network = build(planned)
    assert isinstance(network, Branching)
    assert [name for name, _ in network.named_children()] == [layer.name for layer in planned.layers]
    assert "conv6.weight" in network.state_dict()  # of the shortcut


def test_a_chain_stays_a_sequence():
    assert type(build(lay_out("two = CONV -> RELU; INPUT -> [two]*2 -> FC"))) is nn.Sequential


def test_the_same_seed_makes_the_same_bits_of_a_network_with_joins():
    first, again, other = (build(lay_out(RESIDUAL, norm="batch"), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(weights, again[name]) for name, weights in first.items())
    assert not all(torch.equal(weights, other[name]) for name, weights in first.items())
    assert not torch.equal(first["conv2.weight"], first["conv3.weight"])


def test_a_copy_of_a_network_runs_its_own_layers():
    network = build(lay_out(RESIDUAL, norm="batch")).eval()
    copied = copy.deepcopy(network)
    images = torch.rand(2, 3, 16, 16)
    before = copied(images)
    for weights in network.parameters():
        nn.init.zeros_(weights)
    assert torch.equal(copied(images), before)
    assert not torch.equal(network(images), before)


def test_an_output_is_let_go_of_once_no_later_layer_takes_it():
    planned = lay_out("INPUT -> CONV(4) -> SUM[RELU -> CONV(4) | SKIP] -> TANH -> FC")
    network = build(planned).eval()
    alive: dict[str, list[str]] = {}
    made: dict[str, weakref.ref[Tensor]] = {}

    def note(name: str, out: Any) -> None:
        gc.collect()
        alive[name] = [other for other, kept in made.items() if kept() is not None]
        made[name] = weakref.ref(out)

    for name, layer in network.named_children():
        layer.register_forward_hook(lambda *run, name=name: note(name, run[2]))
    with torch.no_grad():
        network(torch.zeros(1, 3, 16, 16))
    # conv1 lives until the SUM has added it, relu1 until conv2 has read it; a layer's own inputs live while it runs
    assert alive["conv2"] == ["conv1", "relu1"]
    assert alive["sum1"] == ["conv1", "conv2"]
    assert alive["tanh1"] == ["sum1"]
    assert alive["output"] == ["tanh1"]


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_zero_residual_starts_the_last_norm_of_each_path_beside_a_skip_at_zero(norm: str):
    planned = lay_out(RESIDUAL, norm=norm)
    one, zero = (build(planned, init_residual=way).state_dict() for way in ("one", "zero"))
    changed = {name for name in one if not torch.equal(one[name], zero[name])}
    assert changed == {"norm3.weight", "norm5.weight"}  # not norm6, the shortcut's
    assert not any(zero[name].any() for name in changed)


def test_a_network_with_zero_residuals_starts_as_one_of_its_skips_and_learns_all_the_same():
    planned = lay_out("INPUT -> SUM[CONV(3) -> NORM | SKIP] -> GAP -> FC", norm="batch")
    network = build(planned, init_residual="zero").train()
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scores = network(images)
    modules = dict(network.named_children())
    assert torch.equal(scores, modules["output"](images.mean((2, 3))))
    scores.square().sum().backward()
    gradient = modules["norm1"].weight.grad
    assert isinstance(gradient, Tensor)
    assert gradient.abs().min() > 0


def test_a_norm_without_weights_has_nothing_to_start_at_zero():
    planned = lay_out("INPUT -> SUM[CONV(3) -> NORM | SKIP] -> FC", norm="local_response")
    assert planned.layers[1].ends_residual
    assert len(kernels(build(planned, init_residual="zero"))) == 2


def test_joins_do_what_torch_says_in_other_words():
    draws = torch.Generator().manual_seed(0)
    one, two, three = (torch.randn(2, 4, 3, 5, generator=draws) for _ in range(3))
    vector = torch.randn(2, 4, generator=draws)
    assert torch.equal(Sum()(one, two, three), (one + two) + three)
    assert torch.equal(Concat()(one, two[:, :2]), torch.cat([one, two[:, :2]], dim=1))
    assert torch.equal(Mul()(one, two), one * two)
    assert torch.equal(Mul()(one, vector), torch.einsum("bchw,bc->bchw", one, vector))
    assert torch.equal(Mul()(vector, one), torch.einsum("bchw,bc->bchw", one, vector))
    assert torch.equal(Mul()(vector, vector), vector.square())


def test_a_padded_skip_takes_every_second_pixel_and_puts_zeros_around_its_channels():
    image = torch.arange(2 * 5 * 4.0).reshape(1, 2, 5, 4) + 1
    made = PadSkip(channels=5, stride=(2, 3))(image)
    assert made.shape == (1, 5, 3, 2)
    assert torch.equal(made[:, 1:3], image[:, :, ::2, ::3])
    assert not made[:, [0, 3, 4]].any()


def test_a_network_with_all_joins_exports_with_a_dynamic_batch():
    text = (
        "INPUT -> SUM[CONV(4, stride=2, padding=1) -> NORM | SKIP(pad)] -> SUM[CONV(8) -> NORM | SKIP] -> RELU6"
        " -> MUL[SKIP | GAP -> FC(2) -> SILU -> FC(8) -> SIGMOID] -> CONCAT[SKIP | POOL(3, stride=1, padding=1)] -> FC"
    )
    network = build(lay_out(text, norm="batch")).eval()
    images = torch.rand(3, 3, 16, 16)
    batch = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (images[:2],), dynamic_shapes=batch).module()
    torch.testing.assert_close(program(images), network(images))
