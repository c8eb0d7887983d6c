"""One resolved config as plain values, and what it says of each part."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convgrid.component import Component
from convgrid.config.secrets import secrets_kept
from convgrid.config.sections import (
    ArchSettings,
    DataSettings,
    ExecutorSettings,
    ImbalanceSettings,
    ObjectiveSettings,
    RegularizationSettings,
    Section,
    SweepSettings,
    TrackingSettings,
    TrainerSettings,
    read_section,
)
from convgrid.errors import ConfigError
from convgrid.network.plan import Architecture
from convgrid.network.planned import PATTERN_ACTIVATIONS, Groups

# Keys of an option that the pipeline reads itself; all others are given to what `_target_` names.
PIPELINES: Mapping[str, tuple[str, ...]] = {
    "loss": ("fit",),
    "data": ("batch_size", "limit_evaluation", "views"),
    "schedule": ("freeze_epochs",),
    "sweep/executor": ("nodes", "host", "port", "lost_after", "patience"),
}


@dataclass(frozen=True)
class Settings:
    """What a run is made of: what convgrid reads itself by attributes, such as `settings.trainer.max_epochs`.

    A section is made when it is first asked for: most of a grid's points never ask for most of them. An attribute
    raises a ConfigError where the option's file, one of the user's own, lacks a key.

    Args:
        values: The resolved config, nested: also what an option of the user's own adds. Secrets of the environment
            stay what they were written as, "${oc.env:MY_TOKEN}".
        choices: The option of each config group, such as {"layer/pool": "max"}.
        folders: Where options are looked up: `conf/` and a `--config-dir`.
    """

    values: Mapping[str, Any]
    choices: Mapping[str, str]
    folders: tuple[Path, ...]

    @property
    def seed(self) -> int:
        """Of initialisation, shuffling and dropout."""
        return self.values["seed"]

    @property
    def fold(self) -> Sequence[int] | None:
        """Which part of how many is validated on; None where the data's own split holds."""
        return self.values["fold"]

    @property
    def dry_run(self) -> bool:
        """Whether to plan only."""
        return self.values["dry_run"]

    @property
    def resume(self) -> str | None:
        """The run to go on with."""
        resume = self.values["resume"]
        return None if resume is None else str(resume)

    @cached_property
    def arch(self) -> ArchSettings:
        """The group `arch`."""
        return self._section(ArchSettings, "arch")

    @property
    def freeze_epochs(self) -> int:
        """Epochs at first in which loaded layers are not trained; a schedule of the user's own may lack the key."""
        return self.values["schedule"].get("freeze_epochs", 0)

    @cached_property
    def data(self) -> DataSettings:
        """The group `data`."""
        return self._section(DataSettings, "data")

    @cached_property
    def trainer(self) -> TrainerSettings:
        """The group `trainer`."""
        return self._section(TrainerSettings, "trainer")

    @cached_property
    def objective(self) -> ObjectiveSettings:
        """The keys of `objective`."""
        return self._section(ObjectiveSettings, "objective")

    @cached_property
    def regularization(self) -> RegularizationSettings:
        """The keys of `regularization`."""
        return self._section(RegularizationSettings, "regularization")

    @cached_property
    def imbalance(self) -> ImbalanceSettings:
        """The keys of `imbalance`."""
        return self._section(ImbalanceSettings, "imbalance")

    @cached_property
    def tracking(self) -> TrackingSettings:
        """The group `tracking`."""
        return self._section(TrackingSettings, "tracking")

    @cached_property
    def sweep(self) -> SweepSettings:
        """The group `sweep`."""
        return self._section(SweepSettings, "sweep")

    @cached_property
    def executor(self) -> ExecutorSettings:
        """The group `sweep/executor`, where it is not `local`."""
        return self._section(ExecutorSettings, "sweep/executor")

    def _section(self, kind: type[Section], group: str) -> Section:
        return read_section(kind, group, self.values, self.choices)


@secrets_kept()
def from_hydra(cfg: DictConfig, hydra: Any) -> Settings:
    """Leave Hydra's objects behind.

    Args:
        hydra: Its `hydra` node, which knows the choices and the search path.

    Returns:
        The same as plain values.

    Raises:
        ConfigError: If an interpolation leads nowhere.
    """
    try:
        values = {str(key): _resolved(cfg[key]) for key in cfg if key != "hydra"}  # that node takes as long again
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}.") from None
    return Settings(values, choices_of(hydra), folders_of(hydra))


def choices_of(hydra: Any) -> dict[str, str]:
    """The option of each config group, by Hydra's node."""
    return {group: name for group, name in hydra.runtime.choices.items() if not group.startswith("hydra/")}


def folders_of(hydra: Any) -> tuple[Path, ...]:
    """Where options are looked up, by Hydra's node."""
    return tuple(Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file")


def component(settings: Settings, group: str) -> Component | None:
    """What the option of a group names and sets.

    Args:
        group: Such as "optimizer" or "layer/pool".

    Returns:
        The component; None where the option is `none`, `auto` or `local` and names nothing.

    Raises:
        ConfigError: If any other option says nothing of what it is.

    Example:
        >>> settings = Settings({"layer": {"norm": {"_target_": "mine.norm", "eps": 0.1}}}, {"layer/norm": "mine"}, ())
        >>> component(settings, "layer/norm")
        Component(name='mine', target='mine.norm', options={'eps': 0.1}, group='layer/norm')
    """
    name, options = settings.choices[group], settings.values
    for part in group.split("/"):
        options = options.get(part) or {}
    if "_target_" not in options and name not in ("none", "auto", "local"):
        raise ConfigError(f"{group}={name} has no _target_. Add to its file: _target_: package.module.name")
    return _component(group, name, options)


def architecture(settings: Settings) -> Architecture:
    """What the groups `arch`, `layer` and `activation` say.

    Returns:
        The pattern with all that its names stand for.
    """
    arch = settings.arch
    conv, activation = component(settings, "layer/conv"), component(settings, "activation")
    assert conv is not None
    assert activation is not None
    groups = Groups(
        conv=conv,
        activation=activation,
        activations={**PATTERN_ACTIVATIONS, **_options("activation", settings.folders)},
        pool=component(settings, "layer/pool"),
        norm=component(settings, "layer/norm"),
        dropout=component(settings, "layer/dropout"),
        filters=arch.filters,
        growth=arch.growth,
        max_filters=arch.max_filters,
        hidden=arch.hidden,
        pools=_options("layer/pool", settings.folders),
        norms=_options("layer/norm", settings.folders),
    )
    return Architecture(arch.pattern, groups, n=arch.n, m=arch.m, k=arch.k, head=arch.head, freeze=arch.freeze)


def _resolved(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _component(group: str, name: str, options: Mapping[str, Any]) -> Component | None:
    kept = {key: value for key, value in options.items() if key not in ("_target_", *PIPELINES.get(group, ()))}
    return Component(name, options["_target_"], kept, group) if "_target_" in options else None


@functools.cache  # reading them takes 10 ms
def _options(group: str, folders: tuple[Path, ...]) -> dict[str, Component]:
    """Every option of a group that a pattern may name; of two by one name, Hydra's search path prefers the first."""
    found: dict[str, Component] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            made = _component(group, path.stem, _read(path))
            if made is not None:
                found.setdefault(path.stem, made)
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}.") from None
