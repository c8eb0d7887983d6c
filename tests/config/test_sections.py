from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import yaml

from convgrid.config import CONF, Settings, config_key, counted, digest_of, identity
from convgrid.config.sections import (
    ArchSettings,
    DataSettings,
    ImbalanceSettings,
    ObjectiveSettings,
    RegularizationSettings,
    SweepSettings,
    TrackingSettings,
    TrainerSettings,
)
from convgrid.errors import ConfigError

SettingsMaker = Callable[..., Settings]
GROUPS: Mapping[str, Any] = {
    "arch": ArchSettings,
    "data": DataSettings,
    "trainer": TrainerSettings,
    "tracking": TrackingSettings,
    "sweep": SweepSettings,
}
OF_CONFIG_YAML: Mapping[str, Any] = {
    "objective": ObjectiveSettings,
    "regularization": RegularizationSettings,
    "imbalance": ImbalanceSettings,
}


def options(group: str) -> dict[str, dict[str, Any]]:
    """The keys of every option's file, those of the option that it starts from included."""
    files = {path.stem: yaml.safe_load(path.read_text()) or {} for path in (CONF / group).glob("*.yaml")}

    def whole(name: str) -> dict[str, Any]:
        bases = [base for base in files[name].get("defaults", []) if isinstance(base, str) and base != "_self_"]
        inherited = {key: value for base in bases for key, value in whole(base).items()}
        return {**inherited, **{key: value for key, value in files[name].items() if key != "defaults"}}

    return {name: whole(name) for name in files}


def takes(annotation: Any, value: Any) -> bool:
    """Whether a value is of a field's type; whole numbers are numbers, true and false are none."""
    if get_origin(annotation) in (UnionType, Union):
        return any(takes(part, value) for part in get_args(annotation))
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if get_origin(annotation) is Sequence:
        return isinstance(value, list) and all(takes(get_args(annotation)[0], item) for item in value)
    if annotation in (int, float):
        return type(value) in ((int, float) if annotation is float else (int,))
    return annotation is Any or isinstance(value, annotation)


def required(kind: Any) -> set[str]:
    return {field.name for field in fields(kind) if field.default is MISSING}


# --- the contract between the classes and the YAMLs


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_every_option_has_the_keys_that_are_read_of_its_group(group: str) -> None:
    kinds = {field.name: field.type for field in fields(GROUPS[group])}
    found = {name: node for name, node in options(group).items() if node}
    assert found
    for name, node in found.items():
        assert required(GROUPS[group]) <= node.keys(), name
        wrong = {key: node[key] for key, kind in kinds.items() if key in node and not takes(kind, node[key])}
        assert not wrong, name
    assert set(kinds) <= {key for node in found.values() for key in node}


@pytest.mark.parametrize("group", sorted(GROUPS.keys() - {"data"}))
def test_every_key_of_convgrids_own_groups_is_a_field(group: str) -> None:
    known = {field.name for field in fields(GROUPS[group])}
    assert {key for node in options(group).values() for key in node} == known


@pytest.mark.parametrize("name", sorted(OF_CONFIG_YAML))
def test_the_keys_of_config_yaml_are_fields(name: str) -> None:
    node = yaml.safe_load((CONF / "config.yaml").read_text())[name]
    kinds = {field.name: field.type for field in fields(OF_CONFIG_YAML[name])}
    assert list(node) == list(kinds)
    assert not [key for key, value in node.items() if not takes(kinds[key], value)]
    assert required(OF_CONFIG_YAML[name]) == set(kinds)


def test_a_default_of_a_field_is_that_of_the_yaml_it_stands_in_for() -> None:
    stated = options("tracking")["mlflow"]
    defaults = {field.name: field.default for field in fields(TrackingSettings)}
    assert stated["experiment"] == "${oc.env:MLFLOW_EXPERIMENT_NAME,convgrid}"
    assert defaults == {**stated, "experiment": "convgrid", "uri": None}  # None: tracking=none


# --- settings


def test_what_was_typed_is_an_attribute(settings: SettingsMaker) -> None:
    made = settings("arch.m=3", "trainer.max_epochs=7", "seed=4", "fold=[1,5]", "dry_run=true", "sweep.seeds=2")
    assert (made.arch.m, made.trainer.max_epochs, made.seed, made.dry_run, made.sweep.seeds) == (3, 7, 4, True, 2)
    assert made.fold == [1, 5]
    assert made.resume is None
    assert settings("resume=abc").resume == "abc"
    assert (made.objective.metric, made.regularization.l2, made.imbalance.sampling) == ("auto", 0.0, "shuffle")


def test_every_key_of_a_section_holds_the_configs_value(settings: SettingsMaker) -> None:
    made, grid = settings("sweep=optuna", "data=digits_angle"), settings()
    for group, kind in {**GROUPS, **OF_CONFIG_YAML}.items():
        for key in (field.name for field in fields(kind)):
            known = made if key in made.values[group] else grid  # the keys of a race are a grid's alone
            assert getattr(getattr(known, group), key) == known.values[group][key]


def test_a_data_set_without_a_task_has_classes(settings: SettingsMaker) -> None:
    assert settings().data.task == "classification"
    assert settings("data=digits_angle").data.task == "regression"


def test_without_tracking_there_is_no_address(settings: SettingsMaker) -> None:
    assert settings("tracking=none").tracking == TrackingSettings(uri=None)


def test_a_grid_has_no_conditions_and_a_random_search_no_storage(settings: SettingsMaker) -> None:
    assert settings().sweep.conditions is None
    assert settings("sweep=random").sweep.conditions == []
    assert settings("sweep=random").sweep.storage is None


def test_keys_of_the_users_own_stay_in_the_values(settings: SettingsMaker) -> None:
    made = settings()
    own = replace(made, values={**made.values, "data": {**made.values["data"], "mine": 3}})
    assert own.data == made.data
    assert own.values["data"]["mine"] == 3


def test_an_option_that_lacks_keys_is_told_with_all_of_them(settings: SettingsMaker) -> None:
    made = settings()
    short = replace(made, values={**made.values, "trainer": {"max_epochs": 3}}, choices={"trainer": "mine"})
    names = [
        "accelerator",
        "precision",
        "patience",
        "gradient_clip_norm",
        "threads",
        "limit",
        "test_views",
        "overfit",
        "detect_anomaly",
    ]
    expected = f"trainer=mine has no {', '.join(f'trainer.{name}' for name in names)}. "
    with pytest.raises(ConfigError) as caught:
        _ = short.trainer
    assert str(caught.value) == f"{expected}Add them to the file of that option."


def test_null_stands_in_for_a_key_only_where_it_means_something(settings: SettingsMaker) -> None:
    made = settings()
    data = {"shape": [1, 8, 8], "num_classes": None, "batch_size": None}
    short = replace(made, values={**made.values, "data": data}, choices={"data": "mine"})
    with pytest.raises(ConfigError) as caught:
        _ = short.data
    assert str(caught.value) == "data=mine has no data.batch_size. Add it to the file of that option."


# --- identity


@pytest.mark.parametrize(
    ("typed", "hashes"),
    [
        ("", ("ea65c55ff66d", "cc02dadad840", "e42eef3fddcc")),
        (
            "data=mnist optimizer=sgd arch.m=3 seed=2 tracking=none",
            ("29ae3becdd3a", "29e6c139b640", "e20f29f0af8a"),
        ),
        (
            "data=table_images data.table=t.csv loss=mean_squared_error sweep=optuna fold=[1,5]",
            ("f44c58ae52ac", "a9b0ecd5bd87", "52163d7d46bf"),
        ),
        (
            "data=digits_angle loss=poisson trainer=debug augment=none regularization.l2=0.1 layer/norm=batch "
            "imbalance.sampling=balanced",
            ("ba9d084fb414", "0f95a770b201", "4021f89872de"),
        ),
    ],
)
def test_identities_are_those_of_before(
    settings: SettingsMaker, monkeypatch: pytest.MonkeyPatch, typed: str, hashes: tuple[str, str, str]
) -> None:
    """Recorded at commit 5e0ce37, before settings had types; that of a table anew, when it got `data.group`."""
    monkeypatch.delenv("CONVGRID_DATA", raising=False)
    made = settings(*typed.split())
    _ = made.data, made.trainer  # what was looked at is of no identity
    found = identity(made, device="cpu", digest="d1"), config_key(made), digest_of(counted(made) | {"x": 1.0})
    assert found == hashes


def test_a_key_of_a_later_version_counts_where_it_is_not_what_held_before(settings: SettingsMaker) -> None:
    for key, before, after in (("arch.init_residual", "one", "zero"), ("data.limit_evaluation", 0, 100)):
        typed = ((), (f"{key}={before}",), (f"{key}={after}",))
        as_before, stated, other = (config_key(settings(*words)) for words in typed)
        assert as_before == stated != other
