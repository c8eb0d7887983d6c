import dataclasses
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from convgrid.config import Settings
from convgrid.data import ImageData, Split
from convgrid.errors import DiskError, TrainingError
from convgrid.network.build import kernels
from convgrid.runs.trial import BEST, LAST, best_epoch
from convgrid.system.seeding import derive
from convgrid.training import learner as training
from convgrid.training.learner import Learner, train
from convgrid.training.setup import prepare, read

SettingsMaker = Callable[..., Settings]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def learner_for(settings: Settings, data: ImageData | None = None) -> Learner:
    data = data or read(settings)
    return prepare(settings, data)[0]


def fitted(settings: Settings, folder: Path, data: ImageData | None = None) -> tuple[Learner, dict[str, float]]:
    learner = learner_for(settings, data)
    return learner, train(learner, folder, device="cpu")


def last_weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / LAST, weights_only=True)["state_dict"]


SMALL = ("data.limit=100", "trainer.max_epochs=2", "arch.filters=4", "arch.hidden=8")


def test_training_equals_a_hand_written_loop_bit_for_bit(settings: SettingsMaker, tmp_path: Path) -> None:
    """The loop below knows nothing of Lightning, chunks, checkpoints or objectives."""
    chosen = settings(*SMALL, "optimizer=adam", "optimizer.lr=0.01")
    by_hand = learner_for(chosen)
    train_split = by_hand.data.train
    network, mean, std = by_hand.predictor.network, by_hand.predictor.mean, by_hand.predictor.std
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, eps=1e-7, foreach=True)
    images = train_split.to("cpu").images
    assert isinstance(images, Tensor)
    losses: list[list[float]] = []
    for epoch in range(2):
        order = torch.randperm(100, generator=torch.Generator().manual_seed(derive(0, "shuffle", epoch)))
        losses.append([])
        for rows in order.split(32):
            loss = functional.cross_entropy(network((images[rows] - mean) / std), train_split.targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item() * len(rows))
    learner, _ = fitted(chosen, tmp_path)
    for epoch, history in enumerate(learner.history):
        assert history["train/loss"] == pytest.approx(sum(losses[epoch]) / 100, rel=1e-6)
    weights = last_weights(tmp_path)
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(weights[f"predictor.network.{name}"], weight, rtol=1e-5, atol=1e-7)


def test_checkpoints_do_not_pass_through_the_folder_for_temporary_files(
    settings: SettingsMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "is not there"))
    fitted(settings(*SMALL), tmp_path)
    assert len(torch.load(tmp_path / LAST, weights_only=True)["history"]) == 2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_chunks_of_steps_equal_single_steps(
    settings: SettingsMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Under autocast this needs the cache of cast weights to be cleared between the steps of a chunk."""
    chosen = settings(*SMALL, f"trainer.precision={precision}", "layer/dropout=plain")
    weights = []
    for steps in (1, 64):
        monkeypatch.setattr(training, "STEPS_PER_CHUNK", steps)
        (tmp_path / str(steps)).mkdir()
        fitted(chosen, tmp_path / str(steps))
        weights.append(last_weights(tmp_path / str(steps)))
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_the_same_settings_give_the_same_bits_and_leave_global_draws_alone(
    settings: SettingsMaker, tmp_path: Path
) -> None:
    chosen = settings(*SMALL, "layer/dropout=spatial", "layer/norm=batch")
    histories = []
    for attempt in range(2):
        (tmp_path / str(attempt)).mkdir()
        torch.manual_seed(attempt)
        before = torch.random.get_rng_state()
        learner, tested = fitted(chosen, tmp_path / str(attempt))
        assert torch.random.get_rng_state().equal(before)
        histories.append((learner.history, tested))
    assert histories[0] == histories[1]
    (tmp_path / "other").mkdir()
    other, _ = fitted(settings(*SMALL, "layer/dropout=spatial", "layer/norm=batch", "seed=1"), tmp_path / "other")
    assert other.history != histories[0][0]


def test_the_learner_ends_with_the_best_epochs_weights(settings: SettingsMaker, tmp_path: Path) -> None:
    learner, _ = fitted(settings("data.limit=100", "trainer.max_epochs=6", "optimizer.lr=0.02"), tmp_path)
    best = best_epoch(learner.history, "val/accuracy", "max")
    validation = learner.data.validation
    assert isinstance(validation.images, Tensor)
    with torch.no_grad():
        predicted = learner.predictor.eval()(validation.images).argmax(1)
    accuracy = (predicted == validation.targets).float().mean().item()
    assert accuracy == pytest.approx(learner.history[best]["val/accuracy"], abs=1e-6)
    assert len(torch.load(tmp_path / BEST, weights_only=True)["history"]) == best + 1


def test_l1_and_l2_are_part_of_the_training_loss_only(settings: SettingsMaker, tmp_path: Path) -> None:
    """With a learning rate too small to move anything, the losses differ by the penalty of the initial kernels."""
    still = (*SMALL, "optimizer=sgd", "optimizer.lr=1e-30", "trainer.max_epochs=1")
    histories = {}
    for name, extra in {"plain": [], "l1": ["regularization.l1=0.01"], "l2": ["regularization.l2=0.01"]}.items():
        (tmp_path / name).mkdir()
        learner, _ = fitted(settings(*still, *extra), tmp_path / name)
        histories[name] = learner.history[0]
    network = learner_for(settings(*still)).predictor.network
    kernels = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for name, total in {
        "l1": sum(kernel.abs().sum().item() for kernel in kernels),
        "l2": sum(kernel.square().sum().item() for kernel in kernels),
    }.items():
        assert histories[name]["train/loss"] - histories["plain"]["train/loss"] == pytest.approx(0.01 * total, rel=1e-3)
        assert histories[name]["val/loss"] == histories["plain"]["val/loss"]


def test_weight_decay_shrinks_kernels_and_nothing_else(settings: SettingsMaker, tmp_path: Path) -> None:
    """A loss without gradient leaves decay alone: w * (1 - lr * decay) ** steps, 4 steps an epoch, 2 epochs."""
    flat = settings(*SMALL, "optimizer=sgd", "optimizer.lr=0.1", "optimizer.weight_decay=0.5", "layer/norm=batch")
    learner = learner_for(flat)
    learner.predictor.objective.loss = lambda scores, targets, **_: scores.sum(-1) * 0.0
    before = {name: value.clone() for name, value in learner.predictor.network.state_dict().items()}
    train(learner, tmp_path, device="cpu")
    kernels = {"conv1.weight", "conv2.weight", "fc1.1.weight", "output.1.weight"}
    assert kernels <= before.keys()
    for name, value in last_weights(tmp_path).items():
        short = name.removeprefix("predictor.network.")
        if short in kernels:
            torch.testing.assert_close(value, before[short] * (1 - 0.1 * 0.5) ** 8)
        elif short in before and "running" not in short and "num_batches" not in short:
            assert value.equal(before[short])


def test_the_gradient_is_clipped_by_its_global_norm(settings: SettingsMaker, tmp_path: Path) -> None:
    """Plain SGD with lr 1 moves by the gradient: one step moves all weights together by the norm at most."""
    one_step = (*SMALL, "data.batch_size=100", "optimizer=sgd", "optimizer.lr=1.0", "trainer.max_epochs=1")
    moved = {}
    for norm in (0.0, 0.125):
        chosen = settings(*one_step, f"trainer.gradient_clip_norm={norm}")
        before = learner_for(chosen).state_dict()
        (tmp_path / str(norm)).mkdir()
        fitted(chosen, tmp_path / str(norm))
        after = last_weights(tmp_path / str(norm))
        moved[norm] = sum((after[name] - before[name]).square().sum().item() for name in after) ** 0.5
    assert moved[0.0] > 0.2
    assert moved[0.125] == pytest.approx(0.125, rel=1e-3)


def test_the_schedule_sets_the_learning_rate_of_every_step(settings: SettingsMaker, tmp_path: Path) -> None:
    learner = learner_for(
        settings(*SMALL, "optimizer.lr=0.01", "schedule=step", "schedule.step_size=1", "schedule.gamma=0.5")
    )
    rates: list[float] = []
    make = learner.recipe.make_optimizer

    def recording(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        optimizer = make(groups)
        optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
        return optimizer

    learner.recipe = dataclasses.replace(learner.recipe, make_optimizer=recording)
    train(learner, tmp_path, device="cpu")
    assert rates == pytest.approx([0.01] * 4 + [0.005] * 4)


def test_training_stops_when_patience_is_over(settings: SettingsMaker, tmp_path: Path) -> None:
    """Nothing ever improves: the first epoch is the best, and two more make the patience."""
    chosen = settings(*SMALL, "optimizer=sgd", "optimizer.lr=1e-30", "trainer.max_epochs=9", "trainer.patience=2")
    learner, _ = fitted(chosen, tmp_path)
    assert len(learner.history) == 3
    (tmp_path / "patient").mkdir()
    learner, _ = fitted(settings(*SMALL, "trainer.patience=0"), tmp_path / "patient")
    assert len(learner.history) == 2


def test_a_loss_that_is_not_finite_names_the_way_out(settings: SettingsMaker, tmp_path: Path) -> None:
    chosen = settings(*SMALL, "optimizer=sgd", "optimizer.lr=1e30", "loss=mean_squared_error", "activation=linear")
    with pytest.raises(TrainingError, match=r"train/loss became nan in epoch \d: .* Lower optimizer.lr"):
        fitted(chosen, tmp_path)


def test_a_checkpoint_that_cannot_be_written_keeps_the_last_one(
    settings: SettingsMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = training.L.Trainer.save_checkpoint

    def full_disk(trainer: training.L.Trainer, path: Path) -> None:
        if (tmp_path / LAST).exists():
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(trainer, path)

    monkeypatch.setattr(training.L.Trainer, "save_checkpoint", full_disk)
    with pytest.raises(DiskError, match="cannot be written: No space left on device"):
        fitted(settings(*SMALL), tmp_path)
    assert len(torch.load(tmp_path / LAST, weights_only=True)["history"]) == 1


def test_a_regression_is_measured_in_the_datas_units(settings: SettingsMaker, tmp_path: Path) -> None:
    """The target is 1000 times an image's brightness plus 5000: a network of one layer can learn it."""
    images = torch.randint(0, 256, (300, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    targets = images.float().mean((1, 2, 3)).mul(1000).add(5000).unsqueeze(1)
    parts = [Split(images[rows], targets[rows]) for rows in (slice(200), slice(200, 250), slice(250, 300))]
    data = ImageData(parts[0], parts[1], parts[2], (), "digest")
    chosen = settings(
        "data=arrays", "data.shape=[1,4,4]", "data.task=regression", "loss=mean_squared_error", "arch=linear",
        "optimizer.lr=0.02", "trainer.max_epochs=40",
    )  # fmt: skip
    learner, tested = fitted(chosen, tmp_path, data)
    spread = (targets[250:] - targets[:200].mean()).abs().mean().item()
    assert tested["test/mae"] < 0.1 * spread
    assert learner.history[0]["val/mae"] > 0.1 * spread
    with torch.no_grad():
        predictions = learner.predictor.eval()(images[250:].float())
    assert (predictions - targets[250:]).abs().mean().item() == pytest.approx(tested["test/mae"], rel=1e-5)


def test_no_test_part_gives_no_test_metrics(settings: SettingsMaker, tmp_path: Path) -> None:
    _, tested = fitted(settings(*SMALL, "data.split=[0.8,0.2]"), tmp_path)
    assert tested == {}


def test_the_confusions_are_those_of_the_best_epoch(settings: SettingsMaker, tmp_path: Path) -> None:
    learner, tested = fitted(settings("data.limit=100", "trainer.max_epochs=6", "optimizer.lr=0.02"), tmp_path)
    best = best_epoch(learner.history, "val/accuracy", "max")
    assert best < 5
    assert set(learner.evaluation.confusions) == {"val", "test"}
    for part, split, metrics in (
        ("val", learner.data.validation, learner.history[best]), ("test", learner.data.test, tested)
    ):  # fmt: skip
        counts = learner.evaluation.confusions[part]
        assert split is not None
        assert counts.sum(1).tolist() == split.targets.bincount(minlength=10).tolist()
        assert counts.trace().item() / len(split) == pytest.approx(metrics[f"{part}/accuracy"])


def test_an_epoch_whose_objective_is_nan_is_never_the_best() -> None:
    history = [{"val/loss": math.nan}, {"val/loss": 3.0}, {"val/loss": math.nan}]
    assert best_epoch(history, "val/loss", "min") == best_epoch(history, "val/loss", "max") == 1


def test_the_first_of_equally_good_epochs_is_the_best() -> None:
    history = [{"val/accuracy": 0.5}, {"val/accuracy": 0.9}, {"val/accuracy": 0.9}]
    assert best_epoch(history, "val/accuracy", "max") == 1


def test_gradients_of_a_batchs_parts_add_up_to_the_wholes(settings: SettingsMaker, tmp_path: Path) -> None:
    whole, parts = (learner_for(settings(*SMALL, "optimizer=sgd", "regularization.l2=0.01")) for _ in range(2))
    parts.recipe = dataclasses.replace(parts.recipe, accumulate=3)  # 32 images: 11, 11 and 10
    for learner, name in ((whole, "whole"), (parts, "parts")):
        (tmp_path / name).mkdir()
        train(learner, tmp_path / name, device="cpu")
    for name, weights in last_weights(tmp_path / "whole").items():
        torch.testing.assert_close(last_weights(tmp_path / "parts")[name], weights)
    assert [e["train/loss"] for e in parts.history] == pytest.approx([e["train/loss"] for e in whole.history])


def test_weights_that_are_not_to_be_trained_stay_also_under_weight_decay(
    settings: SettingsMaker, tmp_path: Path
) -> None:
    learner = learner_for(settings(*SMALL, "optimizer.weight_decay=0.1"))
    learner.recipe = dataclasses.replace(learner.recipe, is_flat=False)
    before = {name: weight.clone() for name, weight in learner.predictor.network.named_parameters()}
    kernel = kernels(learner.predictor.network)[0].requires_grad_(False)
    train(learner, tmp_path, device="cpu")
    for name, weight in learner.predictor.network.named_parameters():
        assert torch.equal(weight, before[name]) == (weight is kernel)


@pytest.mark.parametrize(
    ("target", "lies_flat"), [("convgrid.optimizers.adam", True), ("torch.optim.AdamW", False)]
)  # fmt: skip
def test_weights_are_one_tensor_to_the_projects_own_optimizers_alone(
    settings: SettingsMaker, target: str, lies_flat: bool
) -> None:
    chosen = settings(*SMALL)
    values = {**chosen.values, "optimizer": {"_target_": target, "lr": 0.01}}
    learner = learner_for(dataclasses.replace(chosen, values=values))
    groups = learner.configure_optimizers().param_groups
    assert all(weight.dim() == 1 for group in groups for weight in group["params"]) == lies_flat
    assert bool(learner.steps.flat) == lies_flat
