"""Which layers a plan freezes, where a network may be cut, and what a head of one's own replaces."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from convgrid.component import Component
from convgrid.config import Settings
from convgrid.errors import PatternError, PlanError
from convgrid.network.build import build
from convgrid.network.cut import cut, freeze
from convgrid.network.frozen import cuts
from convgrid.network.memory import training_bytes
from convgrid.network.plan import Architecture, Plan, plan
from networks import Random, groups

SettingsMaker = Callable[..., Settings]
BLOCK = "block = SUM[CONV(8) -> NORM -> RELU -> CONV(8) -> NORM | SKIP] -> RELU; "
RESIDUAL = f"{BLOCK}INPUT -> CONV(8) -> NORM -> RELU -> [block]*2 -> GAP -> DROPOUT(0.2) -> FC"
GATED = "INPUT -> CONV(4) -> MUL[SKIP | GAP -> FC(2) -> RELU -> FC(4) -> SIGMOID] -> GAP -> FC"
VGG = "INPUT -> CONV(4) -> RELU -> POOL(2) -> [FC(8) -> RELU -> DROPOUT(0.5)]*K -> FC"


def laid_out(pattern: str, *, freeze: str = "none", head: str | None = None, **counts: int) -> Plan:
    return plan(Architecture(pattern, groups(norm="batch"), head=head, freeze=freeze, **counts), (3, 8, 8), 10)


@pytest.mark.parametrize(
    ("pattern", "last"),
    [(RESIDUAL, "gap1"), (GATED, "gap2"), (VGG, "pool1"), ("INPUT -> CONV(4) -> DROPOUT(0.5) -> GAP -> FC", "gap1")],
)
def test_features_are_all_before_the_head(pattern: str, last: str) -> None:
    planned = laid_out(pattern, freeze="features", k=2)
    assert planned.frozen[-1] == last
    assert planned.frozen == tuple(layer.name for layer in planned.layers)[: len(planned.frozen)]
    assert planned.frozen + planned.head == tuple(layer.name for layer in planned.layers)


def test_trainable_parameters_are_counted_apart() -> None:
    planned = laid_out(RESIDUAL, freeze="sum1")
    # one block of two 3x3 convolutions from 8 to 8 with norms of 16, and FC 8 -> 10
    assert planned.trainable == 2 * (8 * 8 * 9 + 8 + 16) + 10 * 9
    assert planned.parameters == planned.trainable + (8 * 3 * 9 + 8 + 16) + 2 * (8 * 8 * 9 + 8 + 16)
    assert laid_out(RESIDUAL).trainable == planned.parameters


@pytest.mark.parametrize(
    ("freeze", "said"),
    [
        ("sum9", "arch.freeze=sum9 is not a layer of the network. Did you mean sum2 or sum1?"),
        ("sun1", "arch.freeze=sun1 is not a layer of the network. Did you mean sum1"),
        ("xyz", "arch.freeze=xyz is not a layer of the network. dry_run=true shows their names."),
        ("conv2", "arch.freeze=conv2 lies on one of the paths that sum1 joins. Use arch.freeze=relu1 or sum1."),
        ("output", "arch.freeze=output leaves nothing to train. Use a layer before the last one with weights."),
    ],
)
def test_a_layer_that_cannot_be_the_last_frozen_one_is_refused(freeze: str, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        laid_out(RESIDUAL, freeze=freeze)
    assert str(refused.value).startswith(said)


def test_features_without_weights_are_refused() -> None:
    with pytest.raises(PlanError, match="no layer before the head has weights"):
        laid_out("INPUT -> POOL(2) -> FC", freeze="features")


@pytest.mark.parametrize("seed", range(15))
def test_a_network_cut_anywhere_scores_what_it_scored(seed: int) -> None:
    drawn = Random(random.Random(seed)).pattern()
    planned = plan(Architecture(drawn, groups(norm="batch")), (3, 8, 8), 4)
    network = build(planned, seed=seed).eval()
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        whole = network(images)
        places = [place + 1 for place, is_cut in enumerate(cuts(planned.layers)[:-1]) if is_cut]
        for place in places:
            trunk, rest = cut(replace(planned, num_frozen=place), network)
            assert torch.equal(rest(trunk(images)), whole)
    assert places


def test_the_parts_share_layers_under_their_names() -> None:
    planned = laid_out(RESIDUAL, freeze="sum1")
    network = build(planned)
    trunk, rest = cut(planned, network)
    assert {**trunk.state_dict(), **rest.state_dict()}.keys() == network.state_dict().keys()
    assert rest.get_submodule("output") is network.get_submodule("output")


def test_frozen_layers_ask_for_no_gradients_and_norms_do_not_learn() -> None:
    planned = laid_out(RESIDUAL, freeze="sum1")
    network = build(planned).train()
    layers = freeze(planned, network)
    assert [*map(id, layers)] == [id(network.get_submodule(name)) for name in planned.frozen]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(torch.rand(4, 3, 8, 8)).sum().backward()
    changed = {name.split(".")[0] for name, tensor in network.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {"norm4", "norm5"}
    trained = {name.split(".")[0] for name, weight in network.named_parameters() if weight.grad is not None}
    assert trained == {"conv4", "norm4", "conv5", "norm5", "output"}


def test_frozen_layers_need_no_memory_for_gradients() -> None:
    sgd = Component("sgd", "convgrid.optimizers.sgd", {"momentum": 0.0})
    whole, frozen = (laid_out("INPUT -> [CONV(64)]*9 -> GAP -> FC", freeze=freeze) for freeze in ("none", "features"))
    # at least the gradients of all weights but FC's are left out, and of 9 outputs that are kept all but 2 at a time
    weights = 4 * (64 * 27 + 8 * 64 * 64 * 9 + 9 * 64)
    assert training_bytes(whole, 1, sgd) - training_bytes(frozen, 1, sgd) >= weights + 7 * 4 * 64 * 64


@pytest.mark.parametrize(
    ("pattern", "head", "expanded"),
    [
        (VGG, "FC", "CONV(4) -> RELU -> POOL(2) -> FC"),
        (VGG, "GAP -> FC", "CONV(4) -> RELU -> POOL(2) -> GAP -> FC"),
        (VGG, "[FC -> ACT -> DROPOUT]*K -> FC", "CONV(4) -> RELU -> POOL(2) -> FC(128) -> ACT -> DROPOUT -> FC"),
        ("INPUT -> CONV(4) -> GAP -> DROPOUT(0.2) -> FC", "[FC(5) -> TANH]*2 -> FC",
         "CONV(4) -> GAP -> FC(5) -> TANH -> FC(5) -> TANH -> FC"),
        ("INPUT -> CONV(4) -> FC", "SUM[FC(3) | FC(3)] -> FC", "CONV(4) -> SUM[FC(3) | FC(3)] -> FC"),
        ("INPUT -> [CONV]*N -> FC", "CONV -> FC", "CONV(32) -> CONV(64) -> FC"),
    ],
)  # fmt: skip
def test_a_head_of_ones_own_stands_behind_the_features(pattern: str, head: str, expanded: str) -> None:
    planned = laid_out(pattern, head=head)
    assert planned.pattern == f"INPUT -> {expanded}"
    trunk = pattern.partition("INPUT -> ")[2].split(" -> GAP -> DROPOUT")[0].split(" -> [FC")[0].split(" -> FC")[0]
    assert planned.num_features == len(trunk.split(" -> ")) + ("GAP -> DROPOUT" in pattern)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("[FC -> ACT]*M -> FC", "arch.head: M repeats layers before the head already. Write a number instead of it.\n"
         "  [FC -> ACT]*M -> FC\n  ^"),
        ("FCC -> FC", "arch.head: unknown layer FCC. Did you mean FC?\n  FCC -> FC\n  ^"),
        ("FC  -> RELU", "arch.head: no activation follows the last FC: the loss supplies the link. Remove RELU, or add "
         "-> FC.\n  FC -> RELU\n        ^"),
        ("FC -> CONV -> FC", "arch.head: CONV needs a volume, but an earlier FC leaves a vector. After FC or GAP come "
         "only FC, ACT, NORM and DROPOUT.\n  FC -> CONV -> FC\n        ^"),
        ("", "arch.head: a layer is missing"),
        ("INPUT -> FC", "arch.head: INPUT stands only at the start."),
    ],
)  # fmt: skip
def test_a_head_that_cannot_be_is_told_under_its_own_name(head: str, said: str) -> None:
    with pytest.raises(PatternError) as refused:
        laid_out("INPUT -> [CONV -> POOL]*M -> FC", head=head)
    assert str(refused.value).startswith(said)


def test_a_plan_of_an_older_version_tells_its_features_by_its_layers() -> None:
    import dataclasses
    import json

    planned = laid_out(RESIDUAL)
    known = json.loads(json.dumps(dataclasses.asdict(planned)))
    assert Plan.load(known) == planned
    del known["num_features"], known["num_frozen"]
    assert Plan.load(known) == planned
