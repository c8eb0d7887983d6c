"""A network's tape, against autograd on the same network: not close to it, but the same in every bit."""

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convgrid.activations import relu
from convgrid.config import check
from convgrid.layers import Flatten, conv, fully_connected, max_pool
from convgrid.losses import categorical_crossentropy, categorical_hinge, sparse_categorical_crossentropy
from convgrid.network.build import Activation
from convgrid.objective.fit import fit
from convgrid.objective.objective import Objective
from convgrid.training.components import Components
from convgrid.training.learner import Learner, train
from convgrid.training.setup import prepare, read
from convgrid.training.tape import Tape, crossentropy

EVEN = (0, 0, 0, 0)


def act() -> Activation:
    return Activation(partial(relu))


NETWORKS = {
    "N and M": lambda: [
        *(conv(2, 16, (1, 1, 1, 1)), act(), conv(16, 16, (1, 1, 1, 1)), act(), max_pool(EVEN)),
        *(conv(16, 32, (1, 1, 1, 1)), act(), max_pool(EVEN), fully_connected(32 * 9, 7)),
    ],
    "K": lambda: [conv(2, 4, EVEN), act(), fully_connected(400, 9), act(), fully_connected(9, 7)],
    "no convolution": lambda: [fully_connected(2 * 144, 7)],
    "only fully connected": lambda: [fully_connected(2 * 144, 9), act(), fully_connected(9, 7)],
    "no activation": lambda: [conv(2, 4, EVEN), max_pool(EVEN), conv(4, 4, EVEN), fully_connected(36, 7)],
    "overlapping windows": lambda: [
        *(conv(2, 4, EVEN), act(), max_pool(EVEN, kernel_size=3, stride=2), act()),
        *(conv(4, 4, EVEN), act(), max_pool(EVEN, kernel_size=2, stride=1), fully_connected(4, 7)),
    ],
    "windows over the edge": lambda: [
        *(conv(2, 4, EVEN), act(), max_pool((1, 1, 1, 1), kernel_size=3, ceil_mode=True), fully_connected(64, 7)),
    ],
    "strides, dilation, groups, no bias": lambda: [
        *(conv(2, 6, EVEN, stride=2, bias=False), act(), conv(6, 6, EVEN, dilation=2, groups=6), act()),
        *(conv(6, 4, EVEN, kernel_size=1, groups=2), act(), fully_connected(4, 7)),
    ],
    "twice the same": lambda: [conv(2, 4, EVEN), act(), act(), max_pool(EVEN), max_pool(EVEN), fully_connected(16, 7)],
}


class Halved(nn.Linear):
    """The user's own layer that extends torch's."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x) / 2


def made(layers: Sequence[nn.Module], *, coarse: bool) -> nn.Sequential:
    network = nn.Sequential(*layers)
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_(0, 0.2, generator=draws)
            if coarse:  # many equal values, and zeros, so that windows have several largest ones
                weights.copy_((2 * weights).round())
            weights.grad = torch.full_like(weights, 7.0)  # of the step before
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (a keyword that the stubs lack)


def images_of(order: torch.memory_format, *, coarse: bool) -> Tensor:
    images = torch.randn(5, 2, 12, 12, generator=torch.Generator().manual_seed(2))
    return (images.round() if coarse else images).contiguous(memory_format=order)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", NETWORKS)
def test_scores_and_gradients_are_autograds_in_every_bit(name: str, order: torch.memory_format, coarse: bool) -> None:
    network, images = made(NETWORKS[name](), coarse=coarse), images_of(order, coarse=coarse)
    before, share = images.clone(), torch.randn(5, 7, generator=torch.Generator().manual_seed(3))
    tape = Tape.record(network)
    assert tape is not None
    for _ in range(2):  # the second time over what the first has left
        scores = tape.forward(images)
        tape.backward(share.clone())
        found = [weights.grad.clone() for weights in network.parameters() if weights.grad is not None]
        expected = network(images)
        wanted = torch.autograd.grad(expected, list(network.parameters()), share)
        assert torch.equal(scores, expected)
        assert len(found) == len(wanted)
        assert all(map(torch.equal, found, wanted))
        assert any(gradient.any() for gradient in wanted)
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"no convolution", "only fully connected"}))
def test_nothing_that_the_way_there_kept_is_left_after_the_way_back(name: str) -> None:
    network = made(NETWORKS[name](), coarse=False)
    tape = Tape.record(network)
    assert tape is not None
    images = images_of(torch.channels_last, coarse=False)
    kept = weakref.ref(images)
    gradient = torch.zeros_like(tape.forward(images))
    del images
    assert kept() is not None
    tape.backward(gradient)
    assert kept() is None


@pytest.mark.parametrize(
    "layers",
    [
        [conv(2, 4, EVEN), nn.BatchNorm2d(4), fully_connected(400, 7)],
        [conv(2, 4, EVEN), Activation(partial(torch.tanh)), fully_connected(400, 7)],
        [conv(2, 4, EVEN), nn.AvgPool2d(2), fully_connected(100, 7)],
        [conv(2, 4, EVEN), nn.Dropout(), fully_connected(400, 7)],
        [conv(2, 4, (1, 0, 0, 0)), fully_connected(440, 7)],
        [nn.Conv2d(2, 4, 3, padding_mode="circular"), fully_connected(400, 7)],
        [nn.Conv2d(2, 4, 3, padding="same"), fully_connected(576, 7)],
        [act(), fully_connected(288, 7)],
        [max_pool(EVEN), conv(2, 4, EVEN), act(), fully_connected(64, 7)],
        [conv(2, 1, EVEN), act(), conv(1, 16, EVEN, kernel_size=1), act(), fully_connected(1600, 7)],
        [nn.Conv2d(2, 4, 3), *[nn.Conv2d(4, 4, 3, padding=1)] * 2, fully_connected(400, 7)],
        [conv(2, 4, EVEN), Flatten(), Halved(400, 7)],
        [conv(2, 4, EVEN), Flatten(), nn.Linear(400, 7, bias=False)],
        [conv(2, 4, EVEN).requires_grad_(requires_grad=False), fully_connected(400, 7)],
    ],
    ids=[
        *("norm", "tanh", "average", "dropout", "uneven", "circular", "same", "activation first", "pooling first"),
        *("kernels of one number", "twice the same layer", "a kind of layer of one's own", "no bias", "frozen"),
    ],
)
def test_of_other_networks_there_is_no_tape(layers: Sequence[nn.Module]) -> None:
    network = nn.Sequential(*layers)
    assert network(torch.zeros(1, 2, 12, 12)).shape == (1, 7)
    assert Tape.record(network) is None


def test_crossentropy_is_torchs_in_every_bit() -> None:
    draws = torch.Generator().manual_seed(0)
    scores, targets = 5 * torch.randn(6, 4, generator=draws), torch.tensor([0, 3, 1, 1, 2, 0])
    share = torch.rand(6, generator=draws)
    losses, gradient = crossentropy(scores, targets, share)
    leaf = scores.clone().requires_grad_()
    expected = functional.cross_entropy(leaf, targets, reduction="none")
    expected.backward(share)
    assert torch.equal(losses, expected)
    assert leaf.grad is not None
    assert torch.equal(gradient, leaf.grad)


PLAIN = fit("categorical_crossentropy", "classification")
OF_PROBABILITIES = dataclasses.replace(PLAIN, from_scores=False)
CLASSES = torch.tensor([0, 1, 2])


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Objective(partial(categorical_crossentropy), "classification", PLAIN, CLASSES), True),
        (Objective(partial(sparse_categorical_crossentropy), "classification", PLAIN, CLASSES), True),
        (Objective(partial(categorical_crossentropy, label_smoothing=0.1), "classification", PLAIN, CLASSES), False),
        (Objective(partial(categorical_crossentropy), "classification", OF_PROBABILITIES, CLASSES), False),
        (
            Objective(partial(categorical_crossentropy, from_logits=True), "classification", OF_PROBABILITIES, CLASSES),
            False,
        ),
        (Objective(partial(categorical_crossentropy), "classification", PLAIN, CLASSES, None, [1.0, 2.0, 3.0]), False),
        (
            Objective(
                partial(categorical_hinge), "classification", fit("categorical_hinge", "classification"), CLASSES
            ),
            False,
        ),
    ],
    ids=["dense", "sparse", "smoothed", "of probabilities", "of probabilities twice", "weighted", "hinge"],
)
def test_an_objective_knows_whether_it_is_plain_crossentropy(objective: Objective, expected: bool) -> None:
    assert objective.is_crossentropy is expected


def test_components_that_were_tried_train_by_plain_crossentropy() -> None:
    settings = check(["trainer=cpu", "trainer.limit=160"]).settings
    assert settings is not None
    components = Components(settings)
    components.check()  # as each trial's are
    learner, _ = prepare(settings, read(settings), components)
    assert learner.predictor.objective.is_crossentropy


def trained(
    folder: Path, *typed: str, by_autograd: bool, change: Callable[[Learner], object] = lambda learner: None
) -> Learner:
    folder.mkdir(parents=True)
    line = ["trainer=cpu", "trainer.limit=160", "trainer.max_epochs=2", "arch.filters=16", *typed]
    settings = check(line).settings
    assert settings is not None
    learner, _ = prepare(settings, read(settings))
    change(learner)
    with pytest.MonkeyPatch.context() as patch:
        if by_autograd:
            patch.setattr(Tape, "record", lambda network: None)
        train(learner, folder, device="cpu")
    return learner


@pytest.mark.parametrize(
    "typed",
    [
        (),
        ("arch.n=2", "arch.m=2", "arch.k=1", "optimizer=sgd", "optimizer.momentum=0.9"),
        ("optimizer=adamax", "optimizer.weight_decay=0.1", "schedule=cosine"),
        ("loss=categorical_hinge", "trainer.gradient_clip_norm=0.1"),
        ("loss=categorical_crossentropy", "loss.label_smoothing=0.1", "data.batch_size=13"),
        ("augment=custom", "augment.mixup=0.4", "augment.rotation_range=10"),
        ("imbalance.class_weights=balanced",),
        ("data=digits_angle", "loss=mean_squared_error", "optimizer=nadam"),
    ],
    ids=lambda typed: " ".join(typed) or "default",
)
def test_a_training_on_tape_is_the_one_by_autograd_in_every_bit(tmp_path: Path, typed: tuple[str, ...]) -> None:
    compare(tmp_path, *typed)


def weigh(learner: Learner) -> None:
    part = learner.data.train
    weights = torch.linspace(0.0, 2.0, len(part))
    learner.data = dataclasses.replace(learner.data, train=dataclasses.replace(part, weights=weights))


def in_place(scores: Tensor, classes: Tensor) -> Tensor:
    scores -= scores.amax(1, keepdim=True).detach()
    return functional.cross_entropy(scores, classes, reduction="none")


def in_double(scores: Tensor, classes: Tensor) -> Tensor:
    return functional.cross_entropy(scores.double(), classes, reduction="none")


@pytest.mark.parametrize("loss", [in_place, in_double])
def test_a_loss_of_ones_own_may_do_to_scores_what_it_likes(tmp_path: Path, loss: Callable[..., Tensor]) -> None:
    def give(learner: Learner) -> None:
        learner.predictor.objective.loss = loss

    compare(tmp_path, "data.batch_size=13", change=give)


def test_examples_have_their_weights_on_tape_too(tmp_path: Path) -> None:
    compare(tmp_path, change=weigh)
    assert (
        trained(tmp_path / "plain", by_autograd=False).history
        != trained(tmp_path / "weighted", by_autograd=False, change=weigh).history
    )


def compare(tmp_path: Path, *typed: str, change: Callable[[Learner], object] = lambda learner: None) -> None:
    taped, plain = (trained(tmp_path / str(way), *typed, by_autograd=way, change=change) for way in (False, True))
    assert taped.steps.tape is not None
    assert plain.steps.tape is None
    assert taped.history == plain.history
    assert taped.tested == plain.tested
    for name, weights in taped.state_dict().items():
        assert torch.equal(weights, plain.state_dict()[name]), name


@pytest.mark.parametrize(
    "typed",
    [
        ("regularization.l2=0.01",),
        ("trainer.precision=bf16-mixed",),
        ("trainer.detect_anomaly=true",),
        ("activation=tanh",),
    ],
    ids=" ".join,
)
def test_what_a_tape_cannot_do_is_left_to_autograd(tmp_path: Path, typed: tuple[str, ...]) -> None:
    assert trained(tmp_path / "run", *typed, by_autograd=False).steps.tape is None


def in_parts(learner: Learner) -> None:
    learner.recipe = dataclasses.replace(learner.recipe, accumulate=2)


def with_weights_of_its_own(learner: Learner) -> None:
    learner.predictor.objective.shift = nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize("change", [in_parts, with_weights_of_its_own])
def test_what_goes_beyond_the_network_is_left_to_autograd(tmp_path: Path, change: Callable[[Learner], object]) -> None:
    assert trained(tmp_path / "run", by_autograd=False, change=change).steps.tape is None
