"""Hydra's composition of a config, without running anything."""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.default_element import ConfigDefault
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from convgrid.config.files import CONF
from convgrid.errors import ConfigError


class Composer:
    """What Hydra would compose; composing takes 70 ms, so each choice of options is composed once.

    Args:
        config_name: Of the primary config.
        loader: Hydra's, which knows the folders of options.
    """

    def __init__(self, config_name: str, loader: ConfigLoader) -> None:
        assert isinstance(loader, ConfigLoaderImpl)
        setup_globals()  # Hydra's resolvers, such as ${now:...}
        self.loader = loader
        self._config_name = config_name
        self._options: dict[str, list[str]] = {}
        self._composed: dict[tuple[str, ...], DictConfig] = {}

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
                self._composed[key] = self.loader.load_configuration(
                    self._config_name, list(texts), RunMode.MULTIRUN, validate_sweep_overrides=False
                )
            if not keys:
                return self._composed[key]
            composed = copy.deepcopy(self._composed[key])
            ConfigLoaderImpl._apply_overrides_to_config(list(keys), composed)
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
            cause = str(error).partition("Config search path:")[0].replace("\n\t", " ")
            lines = [line.strip() for line in cause.splitlines() if line.strip()]
            raise ConfigError("\n  ".join(lines[:3])) from None
        return composed

    def schema(self, choices: Mapping[str, Any]) -> DictConfig:
        """Compose all keys with their defaults; what an experiment sets beside its choices is left out.

        Returns:
            The config with its `hydra` node.
        """
        experiment = choices.get("experiments")
        if experiment is None:
            return self.compose(_texts(choices))
        try:
            composed = self.compose(_texts(choices))
        except ConfigError as error:
            raise ConfigError(f"experiments/{experiment}.yaml: {error}") from None
        chosen = dict(composed.hydra.runtime.choices) | {"experiments": None}
        return self.compose(_texts({group: name for group, name in chosen.items() if not group.startswith("hydra/")}))

    def stands_alone(self, group: str, option: str) -> bool:
        """Say whether an option sets keys of its own group only, as its file states them.

        Args:
            group: Such as "optimizer".
            option: Such as "sgd".

        Returns:
            False where its file has a package, or names other groups in its defaults.
        """
        loaded = self.loader.repository.load_config(f"{group}/{option}")
        if loaded is None or loaded.header["package"] is not None:
            return False
        beside = [default.path for default in loaded.defaults_list or [] if isinstance(default, ConfigDefault)]
        alone = len(beside) == len(loaded.defaults_list or []) and not any("/" in str(name) for name in beside)
        return alone and all(self.stands_alone(group, str(name)) for name in beside if name != "_self_")

    def options_with(self, group: str, key: str) -> list[str]:
        """Find the options of a group that have a key.

        Args:
            group: Such as "optimizer".
            key: Without the group, such as "momentum".

        Returns:
            Their names.
        """
        loaded = {option: self.loader.repository.load_config(f"{group}/{option}") for option in self.options(group)}
        return [name for name, found in loaded.items() if found and _has(found.config, key)]


def find_options(config_dir: str | None) -> ConfigLoader:
    """Make the loader that looks for options in `conf/` and in the user's own folder.

    Args:
        config_dir: That folder, searched first; None where there is none.

    Returns:
        Hydra's loader.

    Raises:
        ConfigError: If the folder does not exist.
    """
    search_path = create_config_search_path(str(CONF))
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError(f"--config-dir {config_dir} is not a folder.")
        path = f"file://{os.path.abspath(config_dir)}"
        search_path.prepend(provider="command-line", path=path, anchor=SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(config_search_path=search_path)


def _has(config: Any, key: str) -> bool:
    nothing = object()
    return OmegaConf.select(config, key, default=nothing) is not nothing


def _texts(choices: Mapping[str, Any]) -> list[str]:
    return [f"{group}={name}" for group, name in choices.items() if name is not None]
