"""The user's own loss: the fit that its file states, as the table's rows and as mistakes."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
import yaml

from convgrid.config import Settings, identity, outputs
from convgrid.config.fits import FIT_EXAMPLES, FORMS, OF_CLASSES, OF_NUMBERS, WITHOUT_EFFECT, fits
from convgrid.config.values import check_values
from convgrid.errors import ConfigError, gather
from convgrid.objective.fit import FITS, NOUNS, Fit, Task

SettingsMaker = Callable[..., Settings]


def own(made: Settings, fit: Any = None, target: str = "own.poly1", task: Task = "classification") -> Settings:
    """With `loss=poly1`, whose file states a fit."""
    stated = {} if fit is None else {"fit": fit}
    values = {**made.values, "loss": {"_target_": target, "epsilon": 1.0, **stated}}
    values["data"] = {**made.values["data"], "task": task}
    return replace(made, values=values, choices={**made.choices, "loss": "poly1"})


def told(made: Settings) -> str:
    with pytest.raises(ConfigError) as caught:
        fits(made)
    return str(caught.value)


def wrong(made: Settings, **row: Any) -> str:
    """What is wrong with a row for classes."""
    return told(own(made, {"classification": {"form": "index", "link": "softmax", **row}}))


# --- what is read


def test_convgrids_losses_have_the_tables_rows(settings: SettingsMaker) -> None:
    for name in FITS:
        assert fits(settings(f"loss={name}")) == FITS


def test_the_fit_of_a_persons_own_loss_is_read_with_the_defaults_of_the_code(settings: SettingsMaker) -> None:
    stated = {
        "classification": {"form": "zero_one", "link": "sigmoid", "from_scores": True, "one_unit": True},
        "regression": {
            "form": "numbers", "link": "softplus", "scale": "mean", "in_units": True, "least_outputs": 2,
            "domain": "0 or above",
        },
    }  # fmt: skip
    rows = fits(own(settings(), stated))
    assert rows["poly1"] == {
        "classification": Fit("zero_one", "sigmoid", from_scores=True, one_unit=True),
        "regression": Fit("numbers", "softplus", scale="mean", in_units=True, least_outputs=2, domain="0 or above"),
    }
    assert {name: row for name, row in rows.items() if name != "poly1"} == FITS
    plain = fits(own(settings(), {"regression": {"form": "numbers", "link": "identity"}}))
    assert plain["poly1"] == {"regression": Fit("numbers", "identity")}


def test_a_persons_own_name_for_a_loss_of_convgrids_has_its_row(settings: SettingsMaker) -> None:
    rows = fits(own(settings(), target="convgrid.losses.binary_crossentropy"))
    assert rows["poly1"] == FITS["binary_crossentropy"]


def test_a_fit_that_is_stated_wins_over_the_tables(settings: SettingsMaker) -> None:
    stated = {"classification": {"form": "one_hot", "link": "softmax"}}
    assert fits(own(settings(), stated, "convgrid.losses.hinge"))["poly1"] == {
        "classification": Fit("one_hot", "softmax")
    }


def test_every_key_and_task_of_a_fit_has_its_check() -> None:
    assert set(FORMS) == set(FIT_EXAMPLES) == set(get_args(Task))
    assert set(OF_CLASSES) | set(OF_NUMBERS) < {field.name for field in fields(Fit)}
    assert set(WITHOUT_EFFECT) == set(FORMS)


def test_a_fit_is_of_a_trials_identity(settings: SettingsMaker) -> None:
    one, other = (
        own(settings(), {"classification": {"form": "index", "link": link}}) for link in ("softmax", "sigmoid")
    )
    assert identity(one, device="cpu", digest="") != identity(other, device="cpu", digest="")


# --- what is refused


@pytest.mark.parametrize("task", NOUNS)
def test_a_file_without_a_fit_is_told_what_to_add(settings: SettingsMaker, task: Task) -> None:
    assert told(own(settings(), task=task)) == (
        "loss/poly1.yaml does not say how the loss goes with targets (docs/components.md). "
        f"Add to it, for a {NOUNS[task]}:\nfit: {{{task}: {FIT_EXAMPLES[task]}}}"
    )


def test_what_a_message_says_to_add_is_sound(settings: SettingsMaker) -> None:
    for task, example in FIT_EXAMPLES.items():
        made = own(settings(), {task: yaml.safe_load(example)}, task=task)
        assert task in fits(made)["poly1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"frm": "index"},
            "fit.classification.frm is not a key of a fit. Did you mean form? Keys: form, link, from_scores, one_unit.",
        ),
        (
            {"link": "sofmax"},
            "fit.classification.link=sofmax must be one of identity, softmax, sigmoid, softplus. Did you mean softmax?",
        ),
        (
            {"form": "numbers"},
            "fit.classification.form=numbers must be one of index, one_hot, signs, zero_one.",
        ),
        ({"form": 3}, "fit.classification.form=3 must be one of index, one_hot, signs, zero_one."),
        ({"from_scores": "yes"}, "fit.classification.from_scores=yes must be true or false."),
        ({"scale": "mean"}, "fit.classification.scale has no effect on a classification. Leave it out."),
        (
            {"one_unit": True},
            "fit.classification.one_unit goes with form signs or zero_one, and link identity or sigmoid. Leave it out.",
        ),
    ],
)
def test_a_wrong_row_is_told_with_file_key_and_fix(settings: SettingsMaker, row: dict[str, Any], message: str) -> None:
    assert wrong(settings(), **row) == f"loss/poly1.yaml: {message}"


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        (
            "index",
            "fit=index must hold classification or multilabel or regression, such as {classification: {form: index, ",
        ),
        ({}, "fit={} must hold classification or multilabel or regression"),
        (
            {"clasification": {}},
            "fit.clasification is not a task. Did you mean classification? Use one of class",
        ),
        ({"regression": "numbers"}, "fit.regression=numbers must hold keys, such as {form: numbers, link: identity}."),
        (
            {"regression": {"form": "numbers", "link": "identity", "least_outputs": 0}},
            "fit.regression.least_outputs=0 must be a whole number of at least 1.",
        ),
        (
            {"regression": {"form": "numbers", "link": "identity", "one_unit": True}},
            "fit.regression.one_unit has no effect on a regression. Leave it out.",
        ),
        (
            {"regression": {"form": "numbers"}},
            "fit.regression has no link. Add it, as in {form: numbers, link: identity}.",
        ),
    ],
)
def test_a_fit_that_is_none_is_told_with_its_file(settings: SettingsMaker, fit: Any, message: str) -> None:
    assert told(own(settings(), fit)).startswith(f"loss/poly1.yaml: {message}")


def test_all_that_is_wrong_with_a_fit_is_told_at_once_and_once(settings: SettingsMaker) -> None:
    made = own(settings("data.batch_size=0"), {"classification": {"link": "sofmax", "domain": "any"}})
    lines = "\n".join(dict.fromkeys(error.tell() for error in gather([lambda: check_values(made, {})]))).splitlines()
    assert [line.partition(" must")[0].partition(" has")[0] for line in lines] == [
        "ConfigError: data.batch_size=0",
        "ConfigError: loss/poly1.yaml: fit.classification.link=sofmax",
        "ConfigError: loss/poly1.yaml: fit.classification.domain",
        "ConfigError: loss/poly1.yaml: fit.classification",  # has no form
    ]


def test_a_task_that_a_fit_lacks_is_refused_before_any_work(settings: SettingsMaker) -> None:
    made = own(settings(), {"regression": {"form": "numbers", "link": "identity"}})
    (error,) = gather([lambda: check_values(made, {})])
    assert error.tell().startswith(
        "ConfigError: loss=poly1 does not fit a classification: the fit in its file has no row for that. Use one of "
    )


# --- units of the output layer


@pytest.mark.parametrize(
    ("overrides", "units"),
    [
        ([], 10),
        (["data=random", "data.num_classes=2"], 2),
        (["data=random", "data.num_classes=2", "loss=hinge"], 1),
        (["data=random", "data.num_classes=3", "loss=hinge"], 3),
        (["data=arrays", "data.num_classes=2", "loss=mean_squared_error", "data.task=regression"], 2),
        (["data=arrays", "data.num_classes=2", "loss=poisson"], 2),  # does not fit, which is told elsewhere
        (["data=arrays"], 1),
    ],
)
def test_data_and_loss_decide_the_output_layers_units(
    settings: SettingsMaker, overrides: list[str], units: int
) -> None:
    assert outputs(settings(*overrides)) == units


def test_the_fit_of_a_persons_own_loss_decides_the_units(settings: SettingsMaker) -> None:
    two = settings("data=random", "data.num_classes=2")
    assert outputs(own(two, {"classification": {"form": "signs", "link": "identity", "one_unit": True}})) == 1
    assert outputs(own(two, {"classification": {"form": "signs", "link": "identity"}})) == 2
    assert outputs(own(two)) == 2  # without a fit, which is told elsewhere
