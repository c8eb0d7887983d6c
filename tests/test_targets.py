from collections import Counter
from pathlib import Path

import pytest
import yaml

from convgrid.config import CONF
from convgrid.errors import ConfigError, DataError
from convgrid.targets import (
    FITS,
    METRICS,
    REASONS,
    Fit,
    Task,
    check_domain,
    check_target,
    fit,
    num_outputs,
    objective_of,
    table,
)

NUMBERS = "mean_squared_error, mean_absolute_error, logcosh"
FOR_NUMBERS = f"{NUMBERS}, mean_absolute_percentage_error, poisson, mean_squared_logarithmic_error, cosine_proximity"
FOR_CLASSES = (
    f"{NUMBERS}, hinge, squared_hinge, categorical_hinge, categorical_crossentropy, sparse_categorical_crossentropy, "
    "kullback_leibler_divergence, binary_crossentropy, cosine_proximity"
)


def test_every_loss_of_the_config_has_a_fit() -> None:
    files = {path.stem: yaml.safe_load(path.read_text())["_target_"] for path in (CONF / "loss").glob("*.yaml")}
    assert set(files) == set(FITS)
    assert len(files) == 14
    assert all(target == f"convgrid.losses.{name}" for name, target in files.items())


@pytest.mark.parametrize(
    ("loss", "task", "expected"),
    [
        ("mean_squared_error", "regression", Fit("numbers", "identity")),
        ("mean_absolute_error", "regression", Fit("numbers", "identity")),
        ("logcosh", "regression", Fit("numbers", "identity")),
        (
            "mean_absolute_percentage_error",
            "regression",
            Fit("numbers", "softplus", scale="mean", domain="above 0"),
        ),
        ("poisson", "regression", Fit("numbers", "softplus", scale="mean", domain="0 or above")),
        (
            "mean_squared_logarithmic_error",
            "regression",
            Fit("numbers", "softplus", scale="mean", in_units=True, domain="0 or above"),
        ),
        ("cosine_proximity", "regression", Fit("numbers", "identity", least_outputs=2)),
        ("mean_squared_error", "classification", Fit("one_hot", "softmax")),
        ("mean_absolute_error", "classification", Fit("one_hot", "softmax")),
        ("logcosh", "classification", Fit("one_hot", "softmax")),
        ("hinge", "classification", Fit("signs", "identity", one_unit=True)),
        ("squared_hinge", "classification", Fit("signs", "identity", one_unit=True)),
        ("categorical_hinge", "classification", Fit("one_hot", "identity")),
        ("categorical_crossentropy", "classification", Fit("index", "softmax", from_scores=True)),
        ("sparse_categorical_crossentropy", "classification", Fit("index", "softmax", from_scores=True)),
        ("kullback_leibler_divergence", "classification", Fit("one_hot", "softmax", from_scores=True)),
        ("binary_crossentropy", "classification", Fit("zero_one", "sigmoid", from_scores=True, one_unit=True)),
        ("cosine_proximity", "classification", Fit("one_hot", "identity")),
    ],
)
def test_a_pair_of_loss_and_task_is_fitted_as_the_designs_table_says(loss: str, task: Task, expected: Fit) -> None:
    assert fit(loss, task) == expected


def test_every_other_pair_is_refused_with_the_reason_and_the_losses_that_fit() -> None:
    refused: list[tuple[str, Task]] = [(loss, task) for loss in FITS for task in METRICS if task not in FITS[loss]]
    assert Counter(task for _, task in refused) == {"regression": 7, "classification": 3}
    assert {loss for loss, _ in refused} == set(REASONS)
    for loss, task in refused:
        with pytest.raises(ConfigError) as caught:
            fit(loss, task)
        others = FOR_NUMBERS if task == "regression" else FOR_CLASSES
        assert str(caught.value) == f"loss={loss} does not fit a {task}: {REASONS[loss]}. Use one of {others}."


def test_a_direction_needs_two_columns() -> None:
    with pytest.raises(ConfigError) as caught:
        fit("cosine_proximity", "regression", 1)
    assert str(caught.value) == (
        "loss=cosine_proximity compares directions, and 1 target column has none. "
        "Use loss=mean_squared_error, or two columns or more."
    )
    assert fit("cosine_proximity", "regression", 2) == fit("cosine_proximity", "regression")


@pytest.mark.parametrize(
    ("loss", "count", "units"),
    [
        ("hinge", 2, 1),
        ("squared_hinge", 2, 1),
        ("binary_crossentropy", 2, 1),
        ("binary_crossentropy", 3, 3),
        ("categorical_hinge", 2, 2),
        ("categorical_crossentropy", 2, 2),
    ],
)
def test_two_classes_take_one_unit_where_one_says_it_all(loss: str, count: int, units: int) -> None:
    assert num_outputs(fit(loss, "classification"), count) == units


@pytest.mark.parametrize("loss", ["mean_squared_error", "poisson"])
def test_two_columns_to_predict_take_two_units(loss: str) -> None:
    assert num_outputs(fit(loss, "regression"), 2) == 2


@pytest.mark.parametrize(
    ("loss", "least", "needed"),
    [
        ("poisson", -0.5, "of 0 or above"),
        ("mean_squared_logarithmic_error", -2.0, "of 0 or above"),
        ("mean_absolute_percentage_error", 0.0, "above 0"),
        ("mean_absolute_percentage_error", -3.0, "above 0"),
    ],
)
def test_numbers_that_a_loss_means_nothing_for_are_refused(loss: str, least: float, needed: str) -> None:
    row = fit(loss, "regression")
    with pytest.raises(DataError) as caught:
        check_domain(loss, row, least)
    assert str(caught.value) == f"loss={loss} needs targets {needed}; the least is {least:g}. Use one of {NUMBERS}."
    check_domain(loss, row, 1e-6)


def test_counts_of_0_and_errors_below_0_are_fine() -> None:
    check_domain("poisson", fit("poisson", "regression"), 0.0)
    check_domain("mean_squared_error", fit("mean_squared_error", "regression"), -7.0)


@pytest.mark.parametrize("target", ["standardize", "minmax", "log"])
@pytest.mark.parametrize("loss", ["poisson", "mean_absolute_percentage_error", "mean_squared_logarithmic_error"])
def test_a_scale_that_crosses_0_does_not_fit_a_loss_of_positive_numbers(target: str, loss: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_target(target, loss, "regression")
    assert str(caught.value) == (
        f"target={target} does not fit loss={loss}: it takes some targets to 0 or below, where that loss means "
        "nothing. Use target=auto or target=none."
    )
    check_target(target, "logcosh", "regression")


@pytest.mark.parametrize("target", ["standardize", "minmax", "log", "none"])
def test_a_scale_of_numbers_has_no_effect_on_classes(target: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_target(target, "hinge", "classification")
    assert str(caught.value) == (
        f"target={target} has no effect: it scales numbers, and the data has classes. Leave it out."
    )


@pytest.mark.parametrize("target", ["auto", "none"])
def test_auto_and_none_fit_every_loss_of_numbers(target: str) -> None:
    for loss in FITS:
        check_target(target, loss, "regression")


def test_the_readme_shows_the_table_of_the_code() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert f"\n\n{table()}\n\n" in readme
    named = [word.strip("`") for row in table().splitlines()[2:] for word in row.split("|")[1].split()]
    assert sorted(named) == sorted(FITS)
    assert all(len(line) <= 120 for line in table().splitlines())


def test_the_tables_cells_say_what_the_fits_say() -> None:
    cells = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:4]] for row in table().splitlines()}
    assert cells["`poisson`"] == ["0 or above, divided by their mean; softplus", "refused"]
    assert cells["`cosine_proximity`"] == ["2 columns or more, standardised; identity", "one-hot; identity"]
    assert cells["`binary_crossentropy`"] == [
        "refused",
        "0 and 1; sigmoid inside the loss; one unit for two classes",
    ]


def test_a_persons_own_loss_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError) as caught:
        fit("poly1", "classification")
    assert str(caught.value) == (
        f"loss=poly1: convgrid does not know which targets and link it goes with. Use one of {FOR_CLASSES}."
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
