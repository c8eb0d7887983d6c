import pytest
import yaml

from convgrid.config import CONF
from convgrid.errors import ConfigError
from convgrid.targets import FITS, METRICS, Fit, Task, fit, objective_of


def test_every_loss_of_the_config_has_a_fit() -> None:
    files = {path.stem: yaml.safe_load(path.read_text())["_target_"] for path in (CONF / "loss").glob("*.yaml")}
    assert set(files) == set(FITS)
    assert len(files) == 3
    assert all(target == f"convgrid.losses.{name}" for name, target in files.items())


@pytest.mark.parametrize(
    ("loss", "task", "expected"),
    [
        ("mean_squared_error", "regression", Fit("standardize", "identity")),
        ("mean_squared_error", "classification", Fit("one_hot", "softmax")),
        ("categorical_crossentropy", "classification", Fit("index", "softmax", from_scores=True)),
        ("sparse_categorical_crossentropy", "classification", Fit("index", "softmax", from_scores=True)),
    ],
)
def test_a_pair_of_loss_and_task_is_fitted_as_the_designs_table_says(loss: str, task: Task, expected: Fit) -> None:
    assert fit(loss, task) == expected


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_a_loss_for_classes_does_not_fit_numbers(loss: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(loss, "regression")
    assert str(caught.value) == (
        f"loss={loss} does not fit: the data is a regression, it needs a classification. Use loss=mean_squared_error."
    )


def test_a_persons_own_loss_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError) as caught:
        fit("poly1", "classification")
    assert str(caught.value) == (
        "loss=poly1: convgrid does not know which targets and link it goes with. Use loss=mean_squared_error or "
        "loss=categorical_crossentropy or loss=sparse_categorical_crossentropy."
    )


@pytest.mark.parametrize(
    ("task", "metric", "mode", "expected"),
    [
        ("classification", "auto", "auto", ("val/accuracy", "max")),
        ("classification", "val/loss", "auto", ("val/loss", "min")),
        ("classification", "val/accuracy", "min", ("val/accuracy", "min")),
        ("regression", "auto", "auto", ("val/mae", "min")),
        ("regression", "val/mae", "max", ("val/mae", "max")),
    ],
)
def test_what_is_best_follows_from_the_task(task: Task, metric: str, mode: str, expected: tuple[str, str]) -> None:
    assert objective_of(task, metric, mode) == expected


def test_a_metric_that_a_task_has_not_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        objective_of("regression", "val/accuracy", "auto")
    assert str(caught.value) == "objective.metric=val/accuracy is no metric of a regression. Use val/mae or val/loss."
    assert set(METRICS) == {"classification", "regression"}
