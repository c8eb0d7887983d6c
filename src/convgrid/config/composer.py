"""Hydra's composition of a config, without running anything."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigTypeError, OmegaConfBaseException
from yaml import YAMLError

from convgrid.config.files import CONF
from convgrid.config.hydra_internals import file_of, load, make_loader, with_keys
from convgrid.config.mappings import MISSING
from convgrid.config.option_files import OptionFiles
from convgrid.errors import ConfigError

CHOICE = re.compile(r"([\w/]+)=(\w+)")


class Composer:
    """What Hydra would compose; that takes 70 ms, so each choice of options is composed once, or made of another.

    Args:
        config_name: Of the primary config.
        loader: Hydra's, which knows the folders of options.
    """

    def __init__(self, config_name: str, loader: ConfigLoader) -> None:
        setup_globals()  # Hydra's resolvers, such as ${now:...}
        self.loader = loader
        self._config_name = config_name
        self._options: dict[str, list[str]] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._files = OptionFiles(loader, config_name)

    def options(self, group: str) -> list[str]:
        """List the options of a group; a folder of groups has none."""
        if group not in self._options:
            self._options[group] = sorted(self.loader.get_group_options(group)) if group else []
        return self._options[group]

    def compose(self, texts: Sequence[str], keys: Sequence[Override] = ()) -> DictConfig:
        """Compose a config.

        Args:
            texts: Overrides, such as choices of options.
            keys: Overrides of keys, set afterwards; none sweeps.

        Returns:
            The config with its `hydra` node.

        Raises:
            ConfigError: If an option's file or an override of Hydra's own keys cannot be used.
        """
        key = tuple(texts)
        try:
            if key not in self._composed:
                made = self._made_of_another(texts)
                self._composed[key] = load(self.loader, self._config_name, texts) if made is None else made
            return with_keys(self._composed[key], keys) if keys else self._composed[key]
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError, RecursionError) as error:
            # TypeError: Hydra joins whatever a list has for an option to its group's name
            cause = str(error).partition("Config search path:")[0].replace("\n\t", " ")
            lines = [line.strip() for line in cause.splitlines() if line.strip()]
            raise ConfigError("\n  ".join(lines[:3])) from None

    def _made_of_another(self, texts: Sequence[str]) -> DictConfig | None:
        """The config with other options in it; None where there is none that says what Hydra would compose."""
        options = options_of(texts)
        for before, composed in self._composed.items():
            chosen = options_of(before)
            if options is not None and chosen is not None and chosen.keys() <= options.keys():
                made = self._files.exchanged(composed, options)
                if made is not None:
                    return made
        return None

    def schema(self, choices: Mapping[str, Any]) -> DictConfig:
        """Compose all keys with their defaults; what an experiment sets beside its choices is left out.

        Returns:
            The config with its `hydra` node.
        """
        experiment = choices.get("experiments")
        if experiment is None:
            return self.compose(as_overrides(choices))
        try:
            composed = self.compose(as_overrides(choices))
        except ConfigError as error:
            raise ConfigError(f"experiments/{experiment}.yaml: {error}") from None
        chosen = dict(composed.hydra.runtime.choices) | {"experiments": None}
        return self.compose(
            as_overrides({group: name for group, name in chosen.items() if not group.startswith("hydra/")})
        )

    def stands_alone(self, group: str, option: str) -> bool:
        """Say whether an option sets keys of its own group only, as its file states them.

        Args:
            group: Such as "optimizer".
            option: Such as "sgd".

        Returns:
            False where its file has a package, or names other groups in its defaults.
        """
        return self._files.own(group, option) is not None

    def options_with(self, group: str, key: str) -> list[str]:
        """Find the options of a group that have a key.

        Args:
            group: Such as "optimizer".
            key: Without the group, such as "momentum".

        Returns:
            Their names.
        """
        files = {option: file_of(self.loader, f"{group}/{option}") for option in self.options(group)}
        return [option for option, file in files.items() if file and default_of(file.config, key) is not MISSING]

    def targets(self, group: str) -> list[Any]:
        """List what the options of a group name as their `_target_`."""
        files = (file_of(self.loader, f"{group}/{option}") for option in self.options(group))
        return [OmegaConf.select(file.config, "_target_") for file in files if file]


def default_of(schema: Any, key: str) -> Any:
    """A key's value in a composed config, or `MISSING`; an item of a list has no key."""
    try:
        listed = isinstance(OmegaConf.select(schema, key.rpartition(".")[0] or key), ListConfig) and "." in key
        return MISSING if listed else OmegaConf.select(schema, key, default=MISSING)
    except ConfigTypeError:  # a list further up
        return MISSING


def find_options(config_dir: str | None) -> ConfigLoader:
    """Make the loader that looks for options in `conf/` and in the user's own folder.

    Args:
        config_dir: That folder, searched first; None where there is none.

    Returns:
        Hydra's loader.

    Raises:
        ConfigError: If the folder does not exist.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        raise ConfigError(f"--config-dir {config_dir} is not a folder.")
    return make_loader(CONF, config_dir)


def as_overrides(choices: Mapping[str, Any]) -> list[str]:
    """The overrides that choose options."""
    return [f"{group}={name}" for group, name in choices.items() if name is not None]


def options_of(texts: Sequence[str]) -> dict[str, str] | None:
    """By group what overrides choose, if that is all that they may do; such as `as_overrides` makes.

    Example:
        >>> options_of(["loss=hinge", "layer/norm=batch"]), options_of(["+loss=hinge"])
        ({'loss': 'hinge', 'layer/norm': 'batch'}, None)
    """
    parts = [CHOICE.fullmatch(text) for text in texts]
    options = {part[1]: part[2] for part in parts if part}
    return options if len(options) == len(texts) else None
