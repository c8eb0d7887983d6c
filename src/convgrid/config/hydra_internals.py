"""All that convgrid uses of Hydra without being meant to, so that an upgrade is one file to look through.

Written for Hydra 1.3. Its public door, `compose()`, composes one config at a time (70 ms), behind global state, out of
one folder, and stops at the first mistake. A sweep of a thousand points, and a check that tells all mistakes, need the
pieces that it is made of.
"""

import copy
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import _run_hydra, create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.default_element import ConfigDefault
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, ValueType
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict


def flags_parser() -> ArgumentParser:
    """Hydra's own flags, which are told apart from overrides. Public is only what has parsed them: `hydra.main`."""
    return get_args_parser()


def run_hydra(
    args: Namespace, parser: ArgumentParser, task: Callable[[DictConfig], None], folder: Path, config_name: str
) -> None:
    """Do what parsed flags say. The public `hydra.main` takes the words from `sys.argv`, which is the caller's."""
    _run_hydra(args, parser, task, str(folder), config_name)


class _KeepingRepository(ConfigRepository):
    """Keeps what options' files hold. Hydra reads 30 files for each composition, which takes a fourth of its time.

    The first reading is handed on as it is, so that a command that composes once pays for no copy.
    """

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        super().initialize_sources(config_search_path)
        self._read: set[str] = set()
        self._kept: dict[str, ConfigResult | None] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return copy.copy(self)  # of each composition; one that looks in other folders gets sources of its own

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path in self._kept:
            return copy.deepcopy(self._kept[config_path])  # a composition makes it a part of its own
        found = super().load_config(config_path)
        if config_path in self._read:
            self._kept[config_path] = copy.deepcopy(found)
        self._read.add(config_path)
        return found


def make_loader(folder: Path, first: str | None) -> ConfigLoader:
    """What looks for options in two folders, the user's own first. `initialize_config_dir` takes one, and is global."""
    search_path = create_config_search_path(str(folder))
    if first is not None:
        path = f"file://{os.path.abspath(first)}"
        search_path.prepend(provider="command-line", path=path, anchor=SearchPathQuery(provider="schema"))
    loader = ConfigLoaderImpl(config_search_path=search_path)
    loader.repository = _KeepingRepository(search_path)
    return loader


def load(loader: ConfigLoader, config_name: str, texts: Sequence[str]) -> DictConfig:
    """Compose with a loader that is there; `compose()` has one of its own. Of a sweep, its overrides are let stand."""
    return loader.load_configuration(config_name, list(texts), RunMode.MULTIRUN, validate_sweep_overrides=False)


def with_keys(composed: DictConfig, keys: Sequence[Override]) -> DictConfig:
    """A copy with some keys set, by Hydra's own rules for `+`, `~` and dictionaries, in 3 ms; `compose()` takes 70."""
    config = copy.deepcopy(composed)
    ConfigLoaderImpl._apply_overrides_to_config(list(keys), config)
    return config


def with_options(composed: DictConfig, options: Mapping[str, tuple[str, DictConfig]]) -> DictConfig:
    """A copy with other options of some groups, their names and what is in them. Nothing public has this."""
    config = copy.deepcopy(composed)
    with open_dict(config):
        for group, (name, own) in options.items():
            OmegaConf.update(config, group.replace("/", "."), copy.deepcopy(own), merge=False)
            config.hydra.runtime.choices[group] = name
    return config


def file_of(loader: ConfigLoader, path: str) -> Any:
    """A file as it stands, with its package and its defaults; None where there is none. Nothing shows it.

    Args:
        path: Such as "optimizer/sgd", or "config" of the primary one.
    """
    assert isinstance(loader, ConfigLoaderImpl)
    return loader.repository.load_config(path)


def starts_from(file: Any) -> list[str] | None:
    """The options that an option's file starts from, and itself as "_self_", in the order in which they are merged.

    Returns:
        None where one lies in another folder (`parts/sgd`), or is put elsewhere (`sgd@part`).
    """
    defaults = [default for default in file.defaults_list or [] if isinstance(default, ConfigDefault)]
    names = [str(default.path) for default in defaults]
    if any(default.package is not None or "/" in name for default, name in zip(defaults, names, strict=True)):
        return None
    return names if "_self_" in names else [*names, "_self_"]


def chooses_others(file: Any) -> bool:
    """Whether an option's file chooses options of other groups."""
    return not all(isinstance(default, ConfigDefault) for default in file.defaults_list or [])


def looks_up_options(file: Any) -> bool:
    """Whether what a file chooses depends on other choices, as `optimizer: of_${loss}` does."""
    return any("${" in str(vars(default)) for default in file.defaults_list or [])


def completions(loader: ConfigLoader, config_name: str, line: str) -> list[str]:
    """What a line may go on with. The public door is a plugin that reads a shell's variables and prints."""
    return DefaultCompletionPlugin(loader)._query(config_name, line)


def value_as_written(override: Override) -> Any:
    """What stands behind the `=`: a text keeps its quotes, a sweep is an object. `Override.value()` drops both."""
    return override._value


def without_quotes(element: Any) -> Any:
    """An element of a sweep as `Override.value()` gives one that stands alone."""
    return Override._convert_value(element)


def with_element(override: Override, element: Any) -> Override:
    """The override that a job has, such as arch.n=1 of arch.n=1,2. Hydra makes a text of it to parse again."""
    text = f"{override.get_key_element()}={Override._get_value_element_as_str(element)}"
    return replace(override, value_type=ValueType.ELEMENT, _value=element, input_line=text)


def with_dictionary(override: Override, value: dict[Any, Any], text: str) -> Override:
    """The override with another dictionary, which is none of a sweep's elements."""
    return replace(override, _value=value, input_line=text)


def in_order(override: Override, swept: ChoiceSweep | RangeSweep) -> Iterator[Any]:
    """The elements of a shuffled sweep before they are shuffled; `sweep_iterator()` shuffles anew with every look."""
    return replace(override, _value=replace(swept, shuffle=False)).sweep_iterator()
