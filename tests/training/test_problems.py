"""Each loss on a problem that suits it, from the command line's settings to predictions in the data's units."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console
from torch import Tensor

from convgrid.config import Settings
from convgrid.data import Split, digits
from convgrid.errors import ConfigError, DataError
from convgrid.model import mlflow_model
from convgrid.model.answers import answers_of
from convgrid.model.mlflow_parts import META, PROGRAM, make
from convgrid.model.trained_model import load
from convgrid.objective.fit import FITS
from convgrid.runs.trial import read_record
from convgrid.scales import Log, MinMax, Standardize, Unchanged
from convgrid.tracking.sync_all import sync_everything
from convgrid.training.learner import Learner
from convgrid.training.setup import prepare, read
from convgrid.training.trial import run
from trained_models import serve

SettingsMaker = Callable[..., Settings]
SMALL = ("arch.m=1", "arch.filters=8", "arch.hidden=32", "optimizer.lr=0.01", "tracking=none")
CLASSES = [loss for loss, tasks in FITS.items() if "classification" in tasks]
LABELS = [loss for loss, tasks in FITS.items() if "multilabel" in tasks]
NUMBERS = [loss for loss, tasks in FITS.items() if "regression" in tasks]


def pictures(count: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Digits below a class, and which they are."""
    train = digits().train
    assert isinstance(train.images, Tensor)
    images, targets = train.images.numpy(), train.targets.numpy()
    kept = np.flatnonzero(targets < classes)[:count]
    return images[kept], targets[kept]


def write_brightness(path: Path, shift: float = 0.0) -> list[str]:
    """The ink in a digit's upper and lower half; in units of the data, which are thousands of something."""
    images, _ = pictures(400)
    halves = images.astype(float).reshape(len(images), 2, 32).mean(2)
    np.savez(path, images=images, targets=1000 * halves + shift)
    return ["data=arrays", f"data.path={path}", "data.shape=[1,8,8]", "data.task=regression", "data.split=[0.8,0.2]"]


def write_binary(path: Path) -> list[str]:
    images, targets = pictures(240, classes=2)
    np.savez(path, images=images, targets=targets)
    return ["data=arrays", f"data.path={path}", "data.shape=[1,8,8]", "data.split=[0.7,0.15,0.15]"]


def write_labels(path: Path) -> list[str]:
    """Whether a digit is even, above 4, and divisible by 3: several labels may hold, or none."""
    images, digit = pictures(600)
    np.savez(path, images=images, targets=np.stack((digit % 2 == 0, digit > 4, digit % 3 == 0), 1))
    data = ["data=arrays", f"data.path={path}", "data.shape=[1,8,8]", "data.task=multilabel"]
    return [*data, "data.split=[0.6,0.2,0.2]"]


def trained(settings: Settings) -> dict[str, float]:
    """The metrics of the best epoch."""
    run(settings, Console(file=io.StringIO()))
    (folder,) = Path("runs").iterdir()
    return torch.load(folder / "best.ckpt", weights_only=True)["history"][-1]


def untrained(settings: Settings) -> Learner:
    data = read(settings)
    return prepare(settings, data)[0]


def constant(learner: Learner) -> dict[str, float]:
    """What the same scores for every image reach at best: the validation part's own best constant."""
    objective, targets = learner.predictor.objective, learner.data.validation.targets
    units = learner.predictor.scores(torch.zeros(1, *learner.data.train.images.shape[1:])).shape[-1]  # pyright: ignore
    scores = torch.zeros(units).add_(0.01 * torch.arange(units)).requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.05)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = objective.losses(scores.expand(len(targets), -1), targets).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if objective.task == "multilabel":
        return {"val/loss": min(losses), "val/accuracy": (targets == targets.mode(0).values).float().mean().item()}
    if objective.task == "classification":
        return {"val/loss": min(losses), "val/accuracy": targets.bincount().max().item() / len(targets)}
    return {"val/loss": min(losses), "val/mae": (targets - targets.median(0).values).abs().mean().item()}


@pytest.mark.parametrize("loss", CLASSES)
def test_a_loss_of_classes_learns_digits(settings: SettingsMaker, in_tmp: Path, loss: str) -> None:
    chosen = settings(*SMALL, f"loss={loss}", "data.limit=400", "trainer.max_epochs=6")
    found, worst = trained(chosen), constant(untrained(chosen))
    assert found["val/accuracy"] > 0.6 > 5 * worst["val/accuracy"]
    assert found["val/loss"] < worst["val/loss"] - 0.3 * abs(worst["val/loss"])


@pytest.mark.parametrize("loss", NUMBERS)
def test_a_loss_of_numbers_learns_where_the_ink_is(settings: SettingsMaker, in_tmp: Path, loss: str) -> None:
    chosen = settings(*SMALL, *write_brightness(in_tmp / "ink.npz"), f"loss={loss}", "trainer.max_epochs=10")
    found, worst = trained(chosen), constant(untrained(chosen))
    assert found["val/loss"] < worst["val/loss"]
    if loss == "cosine_proximity":  # of directions from the mean; how far, it does not say
        assert found["val/loss"] < worst["val/loss"] - 0.5
    else:
        assert found["val/mae"] < 0.4 * worst["val/mae"]


def test_all_fourteen_have_been_trained() -> None:
    assert len(set(CLASSES) | set(NUMBERS)) == 14
    assert (len(CLASSES), len(NUMBERS)) == (11, 7)


@pytest.mark.parametrize(
    ("target", "scale"),
    [("auto", Standardize), ("standardize", Standardize), ("minmax", MinMax), ("log", Log), ("none", Unchanged)],
)
def test_the_scale_asked_for_is_fitted_on_the_training_part_only(
    settings: SettingsMaker, in_tmp: Path, target: str, scale: type[Standardize]
) -> None:
    data = write_brightness(in_tmp / "ink.npz")
    learner = untrained(settings(*SMALL, *data, "loss=mean_absolute_error", f"target={target}"))
    objective, targets = learner.predictor.objective, learner.data.validation.targets
    fitted = scale(learner.data.train.targets)
    assert type(objective.scale) is scale
    torch.testing.assert_close(objective.scale.encode(targets), fitted.encode(targets))
    errors = objective.predictions(fitted.encode(targets + 100)) - targets  # in the data's units
    torch.testing.assert_close(errors, torch.full_like(errors, 100), rtol=1e-3, atol=0)


# --- two classes, one unit


@pytest.mark.parametrize("loss", ["binary_crossentropy", "hinge", "squared_hinge"])
def test_two_classes_are_told_apart_by_one_unit(settings: SettingsMaker, in_tmp: Path, loss: str) -> None:
    chosen = settings(*SMALL, *write_binary(in_tmp / "bits.npz"), f"loss={loss}", "trainer.max_epochs=4")
    assert trained(chosen)["val/accuracy"] > 0.95
    (folder,) = Path("runs").iterdir()
    assert json.loads((folder / "plan.json").read_text())["num_outputs"] == 1
    predictions, test = served(chosen)
    assert predictions.shape == (len(test.targets), 2)
    assert (predictions.argmax(1) == test.targets.numpy()).mean() > 0.95
    sums = predictions.sum(1)
    np.testing.assert_allclose(sums, 1 if loss == "binary_crossentropy" else 0, atol=1e-5)


def test_an_exported_model_of_numbers_predicts_in_the_datas_units(
    settings: SettingsMaker, store: str, in_tmp: Path
) -> None:
    data = [*write_brightness(in_tmp / "ink.npz")[:-1], "data.split=[0.7,0.15,0.15]"]
    chosen = settings(
        *SMALL[:-1], *data, "loss=mean_squared_error", "target=log", "trainer.max_epochs=12", f"tracking.uri={store}"
    )
    trained(chosen)
    predictions, test = predicted(chosen, store)
    client = MlflowClient(store)
    (seen,) = client.search_runs([client.get_experiment_by_name("convgrid").experiment_id])  # pyright: ignore
    truth, found = test.targets.numpy(), seen.data.metrics
    assert predictions.shape == (len(truth), 2)
    mae = sk.mean_absolute_error(truth, predictions)
    assert found["test/mae"] == pytest.approx(mae, rel=1e-3)
    assert found["test/rmse"] == pytest.approx(sk.root_mean_squared_error(truth, predictions), rel=1e-3)
    assert found["test/r2"] == pytest.approx(sk.r2_score(truth, predictions), abs=1e-3)
    assert mae < 0.4 * np.abs(test.targets.numpy() - np.median(test.targets.numpy(), 0)).mean()


def predicted(settings: Settings, store: str) -> tuple[np.ndarray, Split]:
    """What the logged model says of the raw images of the test part."""
    test = read(settings).test
    assert test is not None
    assert sync_everything(Console(file=io.StringIO())) == 0
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("convgrid")
    (logged,) = client.search_logged_models([experiment.experiment_id])  # pyright: ignore
    mlflow.set_tracking_uri(store)
    model = mlflow.pyfunc.load_model(logged.model_uri)
    table = model.predict(test.images.numpy())  # pyright: ignore
    assert model.metadata.signature.outputs.input_names() == [*table] == ["target 1", "target 2"]
    return table.select_dtypes("number").to_numpy(), test


def served(settings: Settings) -> tuple[np.ndarray, Split]:
    """The same of what is logged, without MLflow."""
    test = read(settings).test
    assert test is not None
    (folder,) = Path("runs").iterdir()
    (parts := Path("parts")).mkdir()
    make(folder, parts)
    table = serve(parts / PROGRAM, test.images.numpy())  # pyright: ignore
    assert mlflow_model._signature(json.loads((parts / META).read_text())).outputs.input_names() == [*table]
    predictions, meta = table.select_dtypes("number").to_numpy(), load(folder).meta
    answers = answers_of(torch.tensor(predictions), meta)
    if meta.answer == "labels":
        assert [text.split(", ") if text else [] for text in table["labels"]] == answers
    else:
        assert table["class"].tolist() == answers
    return predictions, test


# --- several labels


@pytest.mark.parametrize("loss", ["binary_crossentropy", "hinge", "squared_hinge"])
def test_several_labels_are_learnt_at_once(settings: SettingsMaker, in_tmp: Path, loss: str) -> None:
    chosen = settings(
        *SMALL, *write_labels(in_tmp / "labels.npz"), f"loss={loss}", "trainer.max_epochs=12",
        "objective.metric=val/exact_match",
    )  # fmt: skip
    found, worst = trained(chosen), constant(untrained(chosen))
    assert worst["val/accuracy"] < 0.65 < 0.85 < found["val/accuracy"]
    assert found["val/loss"] < 0.6 * worst["val/loss"]
    predictions, test = served(chosen)
    has, told = test.targets.numpy(), predictions > (0.5 if loss == "binary_crossentropy" else 0)
    assert predictions.shape == (len(has), 3)
    found = read_record(next(Path("runs").iterdir()))["metrics"]
    expected = {
        "accuracy": 1 - sk.hamming_loss(has, told),
        "exact_match": sk.accuracy_score(has, told),
        "f1": sk.f1_score(has, told, average="macro"),
        "auroc": sk.roc_auc_score(has, predictions, average="macro"),
    }
    assert {name: found[f"test/{name}"] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert "test/calibration_error" not in found
    assert not list((in_tmp / "runs").glob("*/confusion*"))
    if loss == "binary_crossentropy":
        assert predictions.min() >= 0
        assert predictions.max() <= 1
    else:
        assert predictions.min() < 0
    assert set(LABELS) == {"binary_crossentropy", "hinge", "squared_hinge"}


def test_labels_of_mixed_images_are_learnt(settings: SettingsMaker, in_tmp: Path) -> None:
    chosen = settings(
        *SMALL, *write_labels(in_tmp / "labels.npz"), "loss=binary_crossentropy", "trainer.max_epochs=12",
        "augment=custom", "augment.mixup=0.2", "augment.cutmix=1.0",
    )  # fmt: skip
    found, worst = trained(chosen), constant(untrained(chosen))
    assert found["val/accuracy"] > 0.8 > worst["val/accuracy"]
    assert found["train/loss"] > found["val/loss"]  # of mixed images, against both of their labels


# --- what the data shows to be wrong


@pytest.mark.parametrize(
    ("shift", "overrides", "error", "said"),
    [
        (
            -5000.0,
            ["loss=poisson"],
            DataError,
            r"^loss=poisson needs targets of 0 or above; the least of the training part is -\d+\.?\d*\. "
            r"Use one of mean_squared_error, mean_absolute_error, logcosh\.$",
        ),
        (-5000.0, ["loss=poisson", "target=none"], DataError, "^loss=poisson needs targets of 0 or above"),
        (
            -5000.0,
            ["loss=mean_squared_error", "target=log"],
            DataError,
            r"^target=log needs targets above 0; the least of the training part is -\d+\.?\d*\. "
            r"Use target=standardize\.$",
        ),
    ],
)
def test_numbers_out_of_a_domain_are_told_before_a_run_exists(
    settings: SettingsMaker, in_tmp: Path, shift: float, overrides: list[str], error: type[Exception], said: str
) -> None:
    chosen = settings(*SMALL, *write_brightness(in_tmp / "ink.npz", shift), *overrides)
    with pytest.raises(error, match=said):
        run(chosen, Console(file=io.StringIO()))
    assert not (in_tmp / "runs").exists()


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["loss=poisson"],
            "^loss=poisson needs targets of 0 or above; the least of the {part} part is -3. Use one of ",
        ),
        (
            ["loss=mean_squared_error", "target=log"],
            "^target=log makes no finite numbers of the {part} part's targets, which reach from -3 to 11. Use target=",
        ),
    ],
)
def test_numbers_of_another_part_out_of_a_domain_are_told_before_a_run_exists(
    settings: SettingsMaker, in_tmp: Path, part: str, overrides: list[str], said: str
) -> None:
    images, _ = pictures(12)
    numbers = {"train": np.arange(12) + 1.0, "validation": np.arange(12) + 1.0, "test": np.arange(12) + 1.0}
    numbers[part] = np.r_[-3.0, numbers[part][:11]]
    content: dict[str, Any] = {f"y_{name[:5].replace('valid', 'val')}": found for name, found in numbers.items()}
    np.savez(in_tmp / "own.npz", x_train=images, x_val=images, x_test=images, **content)
    data = ["data=arrays", f"data.path={in_tmp / 'own.npz'}", "data.shape=[1,8,8]", "data.task=regression"]
    with pytest.raises(DataError, match=said.format(part=part)):
        run(settings(*SMALL, *data, *overrides), Console(file=io.StringIO()))
    assert not (in_tmp / "runs").exists()


def test_a_single_column_that_only_the_file_shows_is_told_before_a_run_exists(
    settings: SettingsMaker, in_tmp: Path
) -> None:
    data = write_brightness(in_tmp / "ink.npz")
    stored = np.load(in_tmp / "ink.npz")
    np.savez(in_tmp / "ink.npz", images=stored["images"], targets=stored["targets"][:, 0])
    with pytest.raises(
        ConfigError, match=r"^loss=cosine_proximity needs 2 target columns or more, and the data has 1\."
    ):
        run(settings(*SMALL, *data, "loss=cosine_proximity"), Console(file=io.StringIO()))
    assert not (in_tmp / "runs").exists()
