from collections import Counter

import pytest
import yaml

from convgrid.config import CONF
from convgrid.errors import ConfigError, DataError
from convgrid.objective.fit import FITS, NOUNS, REASONS, Fit, Task, check_domain, check_target, fit, num_outputs, table

NUMBERS = "mean_squared_error, mean_absolute_error, logcosh"
FOR_NUMBERS = f"{NUMBERS}, mean_absolute_percentage_error, poisson, mean_squared_logarithmic_error, cosine_proximity"
FOR_CLASSES = (
    f"{NUMBERS}, hinge, squared_hinge, categorical_hinge, categorical_crossentropy, sparse_categorical_crossentropy, "
    "kullback_leibler_divergence, binary_crossentropy, cosine_proximity"
)
FOR_LABELS = "hinge, squared_hinge, binary_crossentropy"


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
        ("hinge", "multilabel", Fit("signs", "identity")),
        ("squared_hinge", "multilabel", Fit("signs", "identity")),
        ("binary_crossentropy", "multilabel", Fit("zero_one", "sigmoid", from_scores=True)),
    ],
)
def test_a_pair_of_loss_and_task_is_fitted_as_the_designs_table_says(loss: str, task: Task, expected: Fit) -> None:
    assert fit(loss, task) == expected


def test_every_other_pair_is_refused_with_the_reason_and_the_losses_that_fit() -> None:
    refused: list[tuple[str, Task]] = [(loss, task) for loss in FITS for task in NOUNS if task not in FITS[loss]]
    assert Counter(task for _, task in refused) == {"regression": 7, "classification": 3, "multilabel": 11}
    assert set(refused) == {(loss, task) for task, reasons in REASONS.items() for loss in reasons}
    fitting = {"regression": FOR_NUMBERS, "classification": FOR_CLASSES, "multilabel": FOR_LABELS}
    nouns = {"multilabel": "multi-label classification"}
    for loss, task in refused:
        with pytest.raises(ConfigError) as caught:
            fit(loss, task)
        assert str(caught.value) == (
            f"loss={loss} does not fit a {nouns.get(task, task)}: {REASONS[task][loss]}. Use one of {fitting[task]}."
        )


def test_a_direction_needs_two_columns() -> None:
    with pytest.raises(ConfigError) as caught:
        fit("cosine_proximity", "regression", 1)
    assert str(caught.value) == (
        "loss=cosine_proximity needs 2 target columns or more, and the data has 1. "
        "Use loss=mean_squared_error, or more columns."
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


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "binary_crossentropy"])
def test_two_labels_take_two_units(loss: str) -> None:
    assert num_outputs(fit(loss, "multilabel"), 2) == 2


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
        check_domain(loss, row, least, "training")
    assert (
        str(caught.value)
        == f"loss={loss} needs targets {needed}; the least of the training part is {least:g}. Use one of {NUMBERS}."
    )
    check_domain(loss, row, 1e-6, "training")


def test_counts_of_0_and_errors_below_0_are_fine() -> None:
    check_domain("poisson", fit("poisson", "regression"), 0.0, "training")
    check_domain("mean_squared_error", fit("mean_squared_error", "regression"), -7.0, "training")


@pytest.mark.parametrize("target", ["standardize", "minmax", "log"])
@pytest.mark.parametrize("loss", ["poisson", "mean_absolute_percentage_error", "mean_squared_logarithmic_error"])
def test_a_scale_that_crosses_0_does_not_fit_a_loss_of_positive_numbers(target: str, loss: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_target(target, loss, "regression", FITS[loss].get("regression"))
    assert str(caught.value) == (
        f"target={target} does not fit loss={loss}: it takes some targets to 0 or below, where that loss means "
        "nothing. Use target=auto or target=none."
    )
    check_target(target, "logcosh", "regression", FITS["logcosh"].get("regression"))


@pytest.mark.parametrize(("task", "kind"), [("classification", "classes"), ("multilabel", "labels")])
@pytest.mark.parametrize("target", ["standardize", "minmax", "log", "none"])
def test_a_scale_of_numbers_has_no_effect_on_classes_and_labels(target: str, task: Task, kind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_target(target, "hinge", task, FITS["hinge"].get(task))
    assert str(caught.value) == (
        f"target={target} has no effect: it scales numbers, and the data has {kind}. Leave it out."
    )


@pytest.mark.parametrize("target", ["auto", "none"])
def test_auto_and_none_fit_every_loss_of_numbers(target: str) -> None:
    for loss in FITS:
        check_target(target, loss, "regression", FITS[loss].get("regression"))


def test_the_tables_cells_say_what_the_fits_say() -> None:
    cells = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:5]] for row in table().splitlines()}
    assert cells["`poisson`"] == ["0 or above, divided by their mean; softplus", "refused", "refused"]
    assert cells["`cosine_proximity`"] == ["2 columns or more, standardised; identity", "one-hot; identity", "refused"]
    assert cells["`binary_crossentropy`"] == [
        "refused",
        "0 or 1; sigmoid inside; one unit for 2",
        "0 or 1; sigmoid inside",
    ]


def test_a_persons_own_loss_has_its_row_in_the_table_that_is_given() -> None:
    own = {**FITS, "poly1": {"classification": Fit("index", "softmax", from_scores=True)}}
    assert fit("poly1", "classification", 10, own).from_scores
    with pytest.raises(ConfigError) as caught:
        fit("poly1", "regression", table=own)
    assert str(caught.value) == (
        f"loss=poly1 does not fit a regression: the fit in its file has no row for that. Use one of {FOR_NUMBERS}."
    )
