"""A training that starts with the weights of another one, and leaves some of them as they are."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from convgrid.config import Settings, config_key
from convgrid.config.values import plan_from_config
from convgrid.errors import ConfigError, Interrupted, PlanError, TrainingError
from convgrid.runs.find import find_to_resume
from convgrid.runs.source import check_source, found, source_notes
from convgrid.runs.trial import BEST, LAST, EpochLog, read_record
from convgrid.system.seeding import derive
from convgrid.training import trial
from convgrid.training.learner import Learner
from convgrid.training.setup import prepare, read
from trained_models import train

SettingsMaker = Callable[..., Settings]
SILENT = Console(file=io.StringIO())
NET = "arch.pattern='INPUT -> CONV(4) -> NORM -> RELU -> POOL -> CONV(8) -> NORM -> RELU -> GAP -> FC'"
SMALL = ("tracking=none", "trainer.max_epochs=4", "data.limit=120", "layer/norm=batch", "trainer=cpu", NET)
OUTPUT = "predictor.network.output.1."  # behind a module that flattens
FEATURES = ("conv1", "norm1", "conv2", "norm2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained"), *SMALL)


def weights_of(folder: Path, file: str = LAST) -> dict[str, Tensor]:
    return torch.load(folder / file, weights_only=True)["state_dict"]


def learner_for(settings: Settings) -> Learner:
    settings = found(settings)
    return prepare(settings, read(settings))[0]


def run(settings: Settings, resume: bool = False) -> Path:
    return trial.run(found(settings), SILENT, find_to_resume("last") if resume else None)


def check(settings: Settings) -> None:
    settings = found(settings)
    check_source(settings, plan_from_config(settings))


def is_frozen(name: str) -> bool:
    return name.split(".")[2] in FEATURES if name.startswith("predictor.network.") else False


def test_a_network_starts_with_the_weights_of_a_run_and_its_preprocessing(
    settings: SettingsMaker, trained: Path
) -> None:
    learner, there = (
        learner_for(settings(*SMALL, "data.limit=60", f"arch.weights={trained}")),
        weights_of(trained, BEST),
    )
    here = {f"predictor.{name}": tensor for name, tensor in learner.predictor.state_dict().items()}
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in there)  # mean and std are those of 120 images, not 60
    assert learner.recipe.loaded == (*FEATURES, "output")


def test_other_classes_draw_the_output_layer_anew_though_they_are_as_many(
    settings: SettingsMaker, trained: Path, in_tmp: Path
) -> None:
    copied = Path(shutil.copytree(trained, in_tmp / "copied"))
    known = json.loads((copied / "data.json").read_text())
    (copied / "data.json").write_text(json.dumps({**known, "names": [*"abcdefghij"]}))
    learner, there = learner_for(settings(*SMALL, f"arch.weights={copied}")), weights_of(trained, BEST)
    here = learner.state_dict()
    assert learner.recipe.loaded == FEATURES
    assert torch.equal(here["predictor.network.conv2.weight"], there["predictor.network.conv2.weight"])
    assert not torch.equal(here[f"{OUTPUT}weight"], there[f"{OUTPUT}weight"])


def test_preprocessing_is_brought_to_the_scale_of_the_data(
    settings: SettingsMaker, trained: Path, in_tmp: Path
) -> None:
    """Digits' white is 16; in a set of bytes whose white is 255, mean and std are 255 / 16 times as large."""
    images = np.linspace(0, 255, 40 * 64).reshape(40, 1, 8, 8).astype(np.uint8)
    np.savez("own.npz", images=images, targets=np.arange(40) % 10)
    own = ("data=arrays", "data.path=own.npz", "data.shape=[1,8,8]", "data.num_classes=10")
    overrides = [each for each in SMALL if each != "data.limit=120"]
    predictor = learner_for(settings(*overrides, *own, f"arch.weights={trained}")).predictor
    there = weights_of(trained, BEST)
    for name in ("mean", "std"):
        assert torch.allclose(getattr(predictor, name), there[f"predictor.{name}"] * 255 / 16)


def test_a_frozen_part_stays_bit_for_bit_what_it_was(settings: SettingsMaker, trained: Path, in_tmp: Path) -> None:
    decaying = ("optimizer.weight_decay=0.1", "regularization.l2=0.1", "augment=cifar")
    said = io.StringIO()
    chosen = found(settings(*SMALL, *decaying, f"arch.weights={trained}", "arch.freeze=features", "seed=1"))
    folder = trial.run(chosen, Console(file=said))
    assert f"weights of {trained}/best.ckpt: 5 of 5 layers\n" in said.getvalue()
    there, here = weights_of(trained, BEST), weights_of(folder)
    assert all(torch.equal(here[name], there[name]) for name in there if is_frozen(name))
    assert not torch.equal(here[f"{OUTPUT}weight"], there[f"{OUTPUT}weight"])
    record = read_record(folder)
    assert record["params"]["plan.trainable"] == str(8 * 10 + 10)
    assert record["params"]["plan.parameters"] == str(4 * 9 + 4 + 8 + 8 * 4 * 9 + 8 + 16 + 90)


def test_the_head_trains_as_a_logistic_regression_on_the_features(
    settings: SettingsMaker, trained: Path, in_tmp: Path
) -> None:
    """The loop below knows the features as numbers, and nothing of the network that makes them."""
    chosen = settings(*SMALL, "trainer.max_epochs=2", "optimizer=sgd", "optimizer.lr=0.1", "regularization.l2=0.01",
                      f"arch.weights={trained}", "arch.freeze=features", "arch.head=FC")  # fmt: skip
    learner = learner_for(chosen)
    network, part = learner.predictor.network, learner.data.train
    output = network.get_submodule("output.1")
    weight, bias = (getattr(output, name).detach().clone().requires_grad_() for name in ("weight", "bias"))
    assert isinstance(part.images, Tensor)
    with torch.no_grad():
        features = network[:-1](learner.predictor.normalised(part.images))  # pyright: ignore[reportIndexIssue]
    for epoch in range(2):
        order = torch.randperm(len(part), generator=torch.Generator().manual_seed(derive(0, "shuffle", epoch)))
        for some in order.split(32):
            loss = torch.nn.functional.cross_entropy(features[some] @ weight.T + bias, part.targets[some])
            gradients = torch.autograd.grad(loss + 0.01 * weight.square().sum(), (weight, bias))
            with torch.no_grad():
                for each, gradient in zip((weight, bias), gradients, strict=True):
                    each -= 0.1 * gradient
    made = weights_of(run(chosen))
    assert torch.allclose(made[f"{OUTPUT}weight"], weight, atol=1e-5)
    assert torch.allclose(made[f"{OUTPUT}bias"], bias, atol=1e-5)


def test_loaded_layers_learn_at_their_own_rate(settings: SettingsMaker, trained: Path) -> None:
    learner = learner_for(settings(*SMALL, f"arch.weights={trained}", "arch.head='FC(3) -> FC'", "arch.loaded_lr=0.1"))
    learner.configure_optimizers()
    groups = learner.steps.optimizer.param_groups
    rates = {group["loaded"]: group["initial_lr"] for group in groups}
    assert rates == {False: pytest.approx(1e-3), True: pytest.approx(1e-4)}
    counts = {loaded: sum(w.numel() for group in groups if group["loaded"] == loaded for w in group["params"])
              for loaded in rates}  # fmt: skip
    assert counts[False] >= 3 * 8 + 3 + 10 * 3 + 10  # flat tensors end in padding
    assert counts[True] >= 4 * 9 + 4 + 8 + 8 * 4 * 9 + 8 + 16


def test_loaded_layers_rest_in_the_first_epochs(
    settings: SettingsMaker, trained: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    append = EpochLog.append

    def look(log: EpochLog, history: list[dict[str, float]]) -> None:
        (folder,) = Path("runs").iterdir()
        here, there = weights_of(folder), weights_of(trained, BEST)
        seen.append(all(torch.equal(here[name], there[name]) for name in there if is_frozen(name)))
        append(log, history)

    monkeypatch.setattr(EpochLog, "append", look)
    run(settings(*SMALL, f"arch.weights={trained}", "schedule.freeze_epochs=2", "arch.head='FC(3) -> FC'"))
    assert seen[:4] == [True, True, False, False]


@pytest.mark.parametrize("freeze", ["pool1", "none"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    settings: SettingsMaker, trained: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, freeze: str
) -> None:
    chosen = settings(*SMALL, f"arch.weights={trained}", f"arch.freeze={freeze}", "arch.loaded_lr=0.1",
                      "schedule.freeze_epochs=2", "optimizer.weight_decay=0.01", "arch.head='FC(3) -> RELU -> FC'",
                      "schedule=cosine")  # fmt: skip
    whole = torch.load(run(chosen) / LAST, weights_only=True)
    assert len(whole["history"]) == 4
    append = EpochLog.append
    for stopped_after in (1, 2):
        shutil.rmtree("runs")

        def stop(log: EpochLog, history: list[dict[str, float]], stopped_after: int = stopped_after) -> None:
            append(log, history)
            if len(history) == stopped_after:
                raise KeyboardInterrupt

        with monkeypatch.context() as here:
            here.setattr(EpochLog, "append", stop)
            with pytest.raises(Interrupted):
                run(chosen)
        gone_on = torch.load(run(chosen, resume=True) / LAST, weights_only=True)
        assert gone_on["history"] == whole["history"]
        assert all(torch.equal(gone_on["state_dict"][name], tensor) for name, tensor in whole["state_dict"].items())


def test_a_run_does_not_go_on_from_other_weights(
    settings: SettingsMaker, trained: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path(shutil.copytree(trained, in_tmp / "copied"))
    chosen = settings(*SMALL, f"arch.weights={copied}", "resume=last")
    append = EpochLog.append

    def stop(log: EpochLog, history: list[dict[str, float]]) -> None:
        append(log, history)
        raise KeyboardInterrupt

    with monkeypatch.context() as here, contextlib.suppress(Interrupted):
        here.setattr(EpochLog, "append", stop)
        run(chosen)
    state = torch.load(copied / BEST, weights_only=True)
    state["state_dict"]["predictor.network.conv1.weight"] += 1
    torch.save(state, copied / BEST)
    with pytest.raises(TrainingError, match=r"copied/best\.ckpt holds other weights than when runs/"):
        run(chosen, resume=True)


def test_identity_is_that_of_the_weights_wherever_they_lie(
    settings: SettingsMaker, trained: Path, in_tmp: Path
) -> None:
    def key(*overrides: str) -> str:
        return config_key(found(settings(*SMALL, *overrides)))

    copied = shutil.copytree(trained, in_tmp / "copied")
    assert key(f"arch.weights={trained}") == key(f"arch.weights={copied}") != key()
    assert key("arch.loaded_lr=1", "schedule.freeze_epochs=0", "arch.freeze=none") == key()
    assert len({key(f"arch.weights={trained}", each) for each in ("seed=0", "arch.loaded_lr=0.1", "arch.freeze=pool1",
                                                                  "schedule.freeze_epochs=1")}) == 4  # fmt: skip


def test_the_plan_tells_what_becomes_of_weights(settings: SettingsMaker, trained: Path) -> None:
    chosen = found(settings(*SMALL, f"arch.weights={trained}", "arch.head='FC(3) -> FC'"))
    assert source_notes(chosen, plan_from_config(chosen)) == [
        f"weights of {trained}/best.ckpt: 4 of 6 layers; drawn anew: fc1, output"
    ]
    larger = found(settings(*SMALL, f"arch.weights={trained}", "data=random", "data.shape=[1,12,12]"))
    assert source_notes(larger, plan_from_config(larger)) == [
        f"weights of {trained}/best.ckpt: 5 of 5 layers",
        "these are of 1x8x8 images, which here are 1x12x12: the head sees the average of 6x6 places instead of 4x4",
    ]


def test_the_plan_proposes_larger_images_where_weights_know_such(settings: SettingsMaker, trained: Path) -> None:
    smaller = found(settings(*SMALL, f"arch.weights={trained}", "data=random", "data.shape=[1,6,6]"))
    assert source_notes(smaller, plan_from_config(smaller))[2].startswith(
        "data.shape=[1,8,8] shows them what they know"
    )


def test_weights_that_cannot_be_found_or_do_not_fit_are_told_before_data_is_read(
    settings: SettingsMaker, trained: Path, in_tmp: Path
) -> None:
    Path("net.pth").touch()
    Path("net.safetensors").write_bytes(json.dumps({}).encode())
    for name, said in {
        "gone": "arch.weights=gone is not a run or sweep known in ",
        "gone.safetensors": "arch.weights=gone.safetensors: there is no such file.",
        "net.pth": "arch.weights=net.pth has no layers of convgrid's. Convert it: python -m convgrid adopt net.pth",
        "net.safetensors": "arch.weights=net.safetensors cannot be used: it is not a weights file of convgrid",
        "last": "arch.weights=last: there is no run in ",
    }.items():
        with pytest.raises(ConfigError) as refused:
            check(settings(*SMALL, f"arch.weights={name}"))
        assert str(refused.value).startswith(said)
    other = settings(*SMALL, NET.replace("8", "9"), f"arch.weights={trained}")
    with pytest.raises(PlanError, match="conv2 is 9x4x3x3, bias, and 8x4x3x3, bias there"):
        check(other)
