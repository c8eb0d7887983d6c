"""The grids that a sweep's overrides make: those typed, those of `hydra.sweeper.params`, those of `sweep.union`."""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf

from convgrid.config.mappings import flatten
from convgrid.config.overrides import quoted, read, shown
from convgrid.errors import ConfigError

Grid = tuple[Override, ...]


def grids(config: DictConfig, arguments: Sequence[str], loader: ConfigLoader) -> list[Grid]:
    """Read the overrides of a sweep.

    Args:
        config: The composed config with its `hydra` node.
        arguments: What was typed, with its quotes.
        loader: Knows the options that a glob stands for.

    Returns:
        For each grid of `sweep.union` its overrides after those that all have; of a key given twice the last holds.

    Raises:
        ConfigError: If an override cannot be parsed.
    """
    common = [read(text, loader) for text in [*params(config), *arguments]]
    members = union(OmegaConf.select(config, "sweep.union"))
    return [(*common, *(read(text, loader) for text in texts)) for texts in members]


def params(config: DictConfig) -> list[str]:
    """List the overrides of `hydra.sweeper.params`, which an experiment's file may hold.

    Args:
        config: The composed config with its `hydra` node.

    Returns:
        As the user would type them.
    """
    node = OmegaConf.select(config, "hydra.sweeper.params")
    if node is None:
        return []
    if not isinstance(node, DictConfig):
        raise ConfigError(f"hydra.sweeper.params={shown(node)} must hold overrides, such as {{arch.n: '1,2'}}.")
    by_key = flatten(OmegaConf.to_container(node, resolve=False))  # pyright: ignore[reportArgumentType]
    return [quoted(f"{key}={shown(value)}", multirun=True) for key, value in by_key]


def union(value: Any) -> list[list[str]]:
    """Look at what `sweep.union` says.

    Args:
        value: A list of grids, each a list of overrides.

    Returns:
        The overrides of each grid, with their quotes; one grid without overrides where there is no union.

    Raises:
        ConfigError: If it is anything else.

    Example:
        >>> union([["arch=linear"], ["arch.n=1,2", "arch.m=1,2"]])
        [['arch=linear'], ['arch.n=1,2', 'arch.m=1,2']]
    """
    members = OmegaConf.to_container(value) if isinstance(value, ListConfig | DictConfig) else value
    members = members or [[]]
    if isinstance(members, list) and all(_is_texts(member) for member in members):
        return [[quoted(text, multirun=True) for text in member] for member in members]
    example = """[["arch=linear"],["arch.n=1,2"]]"""
    raise ConfigError(f"sweep.union={shown(members)} must be a list of lists of overrides, such as {example}.")


def _is_texts(member: Any) -> bool:
    return isinstance(member, list) and all(isinstance(text, str) and "=" in text for text in member)
