from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from convgrid.component import Component
from convgrid.config import CONF, Settings, architecture, component, flatten, from_hydra, identity, is_outside_identity
from convgrid.config.values import check_values
from convgrid.errors import ConfigError, gather
from convgrid.network.plan import plan

SettingsMaker = Callable[..., Settings]


def hashed(settings: Settings, device: str = "cpu", digest: str = "d1") -> str:
    return identity(settings, device=device, digest=digest)


# --- from Hydra


def test_settings_are_plain_values_without_hydras(settings: SettingsMaker) -> None:
    made = settings("optimizer=sgd", "layer/norm=batch")
    assert set(made.values) == {
        "arch", "layer", "activation", "loss", "target", "optimizer", "schedule", "data", "augment", "trainer",
        "tracking", "sweep", "seed", "dry_run", "resume", "fold", "objective", "regularization", "imbalance",
    }  # fmt: skip
    assert type(made.values["optimizer"]) is dict
    assert type(made.values["data"]["split"]) is list
    assert made.choices["optimizer"] == "sgd"
    assert made.choices["layer/norm"] == "batch"
    assert not [group for group in made.choices if group.startswith("hydra/")]
    assert made.folders == (CONF,)


def test_interpolations_are_resolved(settings: SettingsMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVGRID_DATA", "/data")
    assert settings("data=mnist").values["data"]["root"] == "/data"
    monkeypatch.delenv("CONVGRID_DATA")
    assert settings("data=mnist").values["data"]["root"] is None


def test_an_interpolation_that_leads_nowhere_is_told_with_its_key() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", return_hydra_config=True)
    node = cfg.hydra
    broken = OmegaConf.create({"optimizer": {"lr": "${nothing}"}})
    with pytest.raises(ConfigError) as caught:
        from_hydra(broken, node)
    assert str(caught.value) == "optimizer.lr: Interpolation key 'nothing' not found."


# --- components


def test_a_component_is_its_options_target_and_values(settings: SettingsMaker) -> None:
    made = settings("optimizer=sgd", "optimizer.momentum=0.9")
    values = {"lr": 0.01, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
    assert component(made, "optimizer") == Component("sgd", "convgrid.optimizers.sgd", values)
    assert component(made, "layer/norm") is None
    assert component(made, "target") is None
    assert component(settings("target=log"), "target") == Component("log", "convgrid.scales.Log")


def test_architecture_takes_every_group_that_names_a_layer(settings: SettingsMaker) -> None:
    made = settings("arch.n=2", "arch.k=0", "layer/norm=batch", "layer/pool=none", "activation=elu", "arch.hidden=7")
    arch = architecture(made)
    assert (arch.n, arch.m, arch.k, arch.groups.hidden) == (2, 2, 0, 7)
    assert arch.groups.pool is None
    assert arch.groups.norm is not None
    assert arch.groups.norm.target == "convgrid.layers.batch_norm"
    assert arch.groups.activation.options == {"alpha": 1.0}
    options = {path.stem for path in (CONF / "activation").glob("*.yaml")}
    assert set(arch.groups.activations) == {*options, "relu6", "silu"}  # these two for patterns only
    assert set(arch.groups.pools) == {"average", "l2", "max"}
    assert set(arch.groups.norms) == {path.stem for path in (CONF / "layer" / "norm").glob("*.yaml")} - {"none"}
    assert [layer.name for layer in plan(arch, (1, 8, 8), 10).layers][:3] == ["conv1", "norm1", "elu1"]


def test_a_persons_own_activation_wins_over_convgrids_of_the_same_name(settings: SettingsMaker, tmp_path: Path) -> None:
    (tmp_path / "activation").mkdir()
    (tmp_path / "activation" / "relu.yaml").write_text("_target_: own.relu\n")
    made = settings()
    known = architecture(replace(made, folders=(tmp_path, *made.folders))).groups.activations
    assert known["relu"].target == "own.relu"
    assert known["tanh"].target == "convgrid.activations.tanh"


def test_an_activations_file_that_is_no_yaml_is_named(settings: SettingsMaker, tmp_path: Path) -> None:
    (tmp_path / "activation").mkdir()
    (tmp_path / "activation" / "mine.yaml").write_text("b: [\n")
    made = settings()
    with pytest.raises(ConfigError, match=r"mine\.yaml cannot be read: while parsing .*\.$"):
        architecture(replace(made, folders=(tmp_path,)))


def test_flatten_keeps_empty_mappings_and_lists() -> None:
    assert dict(flatten({"a": {"b": {}, "c": [1, {"d": 2}]}, "e": None})) == {
        "a.b": {},
        "a.c": [1, {"d": 2}],
        "e": None,
    }


# --- identity


@pytest.mark.parametrize(
    "same",
    [
        "data.root=/elsewhere", "tracking=none", "tracking.experiment=other", "tracking.uri=http://host",
        "dry_run=true", "optimizer.weight_decay=0", "arch.growth=2", "resume=abc",
    ],
)  # fmt: skip
def test_what_cannot_change_a_result_is_not_of_a_trials_identity(settings: SettingsMaker, same: str) -> None:
    assert hashed(settings("data=mnist", same)) == hashed(settings("data=mnist"))


@pytest.mark.parametrize(
    "other",
    [
        "optimizer.lr=0.002", "seed=1", "arch.m=3", "activation=elu", "layer/pool=average", "data.split_seed=1",
        "trainer.precision=bf16-mixed", "trainer.threads=2", "data.batch_size=63", "objective.metric=val/loss",
        "loss.label_smoothing=0.1", "regularization.l2=0.1", "target=log",
    ],
)  # fmt: skip
def test_what_can_change_a_result_is_of_a_trials_identity(settings: SettingsMaker, other: str) -> None:
    assert hashed(settings("data=mnist", other)) != hashed(settings("data=mnist"))


def test_the_kind_of_device_and_the_data_are_of_a_trials_identity(settings: SettingsMaker) -> None:
    made = settings()
    hashes = {hashed(made), hashed(made, device="cuda"), hashed(made, digest="d2")}
    assert len(hashes) == 3
    assert all(len(value) == 12 and int(value, 16) >= 0 for value in hashes)


def test_the_accelerator_asked_for_does_not_matter_but_the_one_used(settings: SettingsMaker) -> None:
    assert hashed(settings("trainer.accelerator=cpu")) == hashed(settings("trainer.accelerator=auto"))


@pytest.mark.parametrize(
    ("key", "outside"), [("data.root", True), ("data.roots", False), ("tracking", True), ("seed", False)]
)
def test_keys_outside_the_identity_are_told_by_whole_names(key: str, outside: bool) -> None:
    assert is_outside_identity(key) is outside


# --- values


def told(made: Settings, **typed: str) -> list[str]:
    return [error.tell() for error in gather([lambda: check_values(made, typed)])]


def test_the_default_config_has_no_mistake(settings: SettingsMaker) -> None:
    assert told(settings()) == []


def test_mistakes_of_several_kinds_are_all_found(settings: SettingsMaker) -> None:
    made = settings("seed=-1", "arch.m=9", "objective.mode=most", "objective.metric=val/mae", "data.batch_size=0")
    assert [line.partition(" ")[2].partition("=")[0] for line in told(made)] == [
        "seed", "data.batch_size", "objective.mode", "arch.m", "objective.metric",
    ]  # fmt: skip


def test_what_nothing_uses_is_a_mistake_only_where_it_was_typed(settings: SettingsMaker) -> None:
    made = settings("arch=linear")
    assert told(made) == []
    typed: dict[str, Any] = {"arch.n": "arch.n=2", "layer/pool": "layer/pool=max", "seed": "seed=1"}
    assert told(made, **typed) == [
        "ConfigError: arch.n=2 has no effect: the pattern INPUT -> FC has no N. Leave it out.",
        "ConfigError: layer/pool=max has no effect: the pattern INPUT -> FC has no POOL. Leave it out.",
    ]
