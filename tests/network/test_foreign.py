"""Weights under another program's names: the order of modules, what is refused, channels turned."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from convgrid.errors import ModelError
from convgrid.network.build import build
from convgrid.network.foreign import converted, count_output_units, is_sorted, modules_of, turn_channels, unwrapped
from convgrid.network.plan import Architecture, Plan, plan
from networks import groups

PATTERN = (
    "block(c, s) = SUM[CONV(c, stride=s, padding=1, bias=false) -> NORM -> RELU -> CONV(c, bias=false) -> NORM | SKIP] "
    "-> RELU; INPUT -> CONV(4, bias=false) -> NORM -> RELU -> block(4, 1) -> block(8, 2) -> GAP -> FC"
)
SHAPE = (3, 8, 8)


class Block(nn.Module):
    """As torchvision has it: what skips stands last."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False), nn.BatchNorm2d(filters)
        self.conv2, self.bn2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm2d(filters)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Net(nn.Module):
    """A residual network of another program."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.layer1, self.layer2 = Block(4, 4, 1), Block(4, 8, 2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())).mean((2, 3)))


@pytest.fixture
def theirs() -> Net:
    torch.manual_seed(0)
    made = Net()
    for module in made.modules():  # so that no two norms are alike
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data = torch.rand_like(tensor) + 0.5
    return made.eval()


@pytest.fixture
def planned() -> Plan:
    return plan(Architecture(PATTERN, groups(norm="batch", bias=False)), SHAPE, 5)


def scores(planned: Plan, tensors: Mapping[str, Tensor], *order: str) -> Tensor:
    network = build(planned, init="torch").eval()
    by_kind = bool(order) or is_sorted(tensors)
    converted(planned, network, modules_of(tensors, order), by_kind=by_kind)
    with torch.inference_mode():
        return network(images())


def images() -> Tensor:
    return torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))


def expected(theirs: Net) -> Tensor:
    with torch.inference_mode():
        return theirs(images())


def test_a_network_scores_what_it_scored_elsewhere(theirs: Net, planned: Plan) -> None:
    assert torch.allclose(scores(planned, theirs.state_dict()), expected(theirs), atol=1e-6)


def test_names_do_not_count_and_counters_may_be_missing(theirs: Net, planned: Plan) -> None:
    renamed = {f"x{name}": tensor for name, tensor in theirs.state_dict().items() if "num_batches" not in name}
    assert torch.allclose(scores(planned, renamed), expected(theirs), atol=1e-6)


def test_sorted_names_are_put_in_order(theirs: Net, planned: Plan) -> None:
    ordered = dict(sorted(theirs.state_dict().items()))
    assert next(iter(ordered)).startswith("bn1")
    assert torch.allclose(scores(planned, ordered), expected(theirs), atol=1e-6)


def test_ten_is_behind_nine_and_what_is_listed_comes_first() -> None:
    names = [f"{name}.weight" for name in ("b.10", "b.2", "b.9", "head", "stem")]
    tensors = {name: torch.zeros(1) for name in names}
    assert [module.name for module in modules_of(tensors)] == ["b.2", "b.9", "b.10", "head", "stem"]
    assert [module.name for module in modules_of(tensors, ["stem", "b"])] == ["stem", "b.2", "b.9", "b.10", "head"]
    assert [module.name for module in modules_of(tensors, leave_out=["b."])] == ["head", "stem"]


def test_shuffled_modules_are_refused_by_name_and_shapes(theirs: Net, planned: Plan) -> None:
    items = [*theirs.state_dict().items()]
    shuffled = dict([*items[6:12], *items[:6], *items[12:]])  # layer1's first convolution and norm come first
    with pytest.raises(ModelError) as refused:
        scores(planned, shuffled)
    assert str(refused.value).startswith(
        "layer1.conv1 is a convolution of 4x4x3x3, no bias, and conv1, where it would go, is 4x3x3x3, no bias. "
    )


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("fc", "the network has 13 layers with weights, and the file 12: only the network has output."),
        ("layer1.conv2", "layer1.bn2 is a norm of 4, and conv3, where it would go, is 4x4x3x3, no bias."),
        ("layer2.downsample.1.running_var", "layer2.downsample.1 has no running_var, which norm6 needs."),
    ],
)
def test_what_is_lost_is_named(theirs: Net, planned: Plan, lost: str, said: str) -> None:
    left = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith(lost)}
    with pytest.raises(ModelError) as refused:
        scores(planned, left)
    assert str(refused.value).startswith(said)


def test_what_is_too_much_is_named(theirs: Net, planned: Plan) -> None:
    more = {**theirs.state_dict(), "aux.fc.weight": torch.zeros(5, 8), "aux.fc.bias": torch.zeros(5)}
    with pytest.raises(ModelError, match=r"and the file 14: only the file has aux\.fc\. .* --leave-out"):
        scores(planned, more)
    network = build(planned, init="torch").eval()
    converted(planned, network, modules_of(more, leave_out=["aux."]), by_kind=False)
    with torch.inference_mode():
        assert torch.allclose(network(images()), expected(theirs), atol=1e-6)


def test_a_convolution_of_all_its_input_is_a_fully_connected_layer() -> None:
    """SqueezeNet ends in one of 1x1, others in one of 4x4 over what is left of the image."""
    for pattern, side in (("INPUT -> CONV(4) -> GAP -> FC", 1), ("INPUT -> CONV(4) -> POOL(2) -> FC", 4)):
        planned = plan(Architecture(pattern, groups()), SHAPE, 5)
        torch.manual_seed(0)
        theirs = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.AdaptiveAvgPool2d(1) if side == 1 else nn.MaxPool2d(2),
            nn.Conv2d(4, 5, side),
        )
        with torch.inference_mode():
            wanted = theirs(images()).flatten(1)
        assert torch.allclose(scores(planned, theirs.state_dict()), wanted, atol=1e-6)


def test_turned_channels_make_the_same_scores_of_turned_images(theirs: Net, planned: Plan) -> None:
    network = build(planned, init="torch").eval()
    converted(planned, network, modules_of(theirs.state_dict()), by_kind=False)
    turn_channels(planned, network)
    with torch.inference_mode():
        assert torch.allclose(network(images().flip(1)), expected(theirs), atol=1e-6)


def test_channels_that_cannot_be_turned_are_refused() -> None:
    planned = plan(Architecture("INPUT -> POOL(2) -> FC", groups()), SHAPE, 5)
    with pytest.raises(ModelError, match="pool1 takes the image"):
        turn_channels(planned, build(planned))


def test_wrappers_and_the_prefix_of_several_gpus_are_taken_off() -> None:
    tensor = torch.zeros(1)
    wrapped = {"epoch": 3, "best": 0.9, "state_dict": {"module.conv1.weight": tensor, "version": 1}}
    assert unwrapped(wrapped) == {"conv1.weight": tensor}
    assert unwrapped({"model": {"state_dict": {"a.weight": tensor}}}) == {"a.weight": tensor}
    for content, said in (
        ({"epoch": 3}, "it holds epoch, and no weights by name"),
        ([1], "it holds list, not weights"),
    ):
        with pytest.raises(ModelError, match=said):
            unwrapped(content)


def test_outputs_are_those_of_the_last_layer(theirs: Net) -> None:
    assert count_output_units(modules_of(theirs.state_dict())) == 5
    assert count_output_units(modules_of(dict(sorted(theirs.state_dict().items())))) == 5
