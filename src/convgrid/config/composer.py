"""Hydra's composition of a config, without running anything."""

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
from convgrid.config.hydra_internals import defaults_beside, load, make_loader, option_file, with_keys
from convgrid.config.mappings import MISSING
from convgrid.errors import ConfigError


class Composer:
    """What Hydra would compose; composing takes 70 ms, so each choice of options is composed once.

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
                self._composed[key] = load(self.loader, self._config_name, texts)
            return with_keys(self._composed[key], keys) if keys else self._composed[key]
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError, RecursionError) as error:
            # TypeError: Hydra joins whatever a list has for an option to its group's name
            cause = str(error).partition("Config search path:")[0].replace("\n\t", " ")
            lines = [line.strip() for line in cause.splitlines() if line.strip()]
            raise ConfigError("\n  ".join(lines[:3])) from None

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
        file = option_file(self.loader, group, option)
        if file is None or file.header["package"] is not None:
            return False
        beside = defaults_beside(file)
        return beside is not None and all(self.stands_alone(group, name) for name in beside if name != "_self_")

    def options_with(self, group: str, key: str) -> list[str]:
        """Find the options of a group that have a key.

        Args:
            group: Such as "optimizer".
            key: Without the group, such as "momentum".

        Returns:
            Their names.
        """
        files = {option: option_file(self.loader, group, option) for option in self.options(group)}
        return [option for option, file in files.items() if file and default_of(file.config, key) is not MISSING]

    def targets(self, group: str) -> list[Any]:
        """List what the options of a group name as their `_target_`."""
        files = (option_file(self.loader, group, option) for option in self.options(group))
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
