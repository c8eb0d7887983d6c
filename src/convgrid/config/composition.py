"""The settings of many points: each choice of options is composed once, single keys are set into plain values."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from convgrid.config.composer import Composer
from convgrid.config.grids import Grid
from convgrid.config.hydra_internals import with_dictionary
from convgrid.config.mappings import MISSING, flatten, look_up, replaced
from convgrid.config.overrides import assignments, refers, shown, values_of
from convgrid.config.secrets import secrets_kept
from convgrid.config.settings import Settings, choices_of, folders_of, from_hydra
from convgrid.config.types import wrong_type
from convgrid.errors import ConfigError, refuse

# What does not change from point to point, and so is looked up once.
OF_THE_ENVIRONMENT = re.compile(r"\$\{oc\.env:[^${}]*\}")


@dataclass(frozen=True)
class _Chosen:
    """The config of one choice of options.

    Args:
        refers: Whether some value is looked up in another, so that the two change together.
        folders: Where options are looked up.
    """

    texts: tuple[str, ...]
    values: Mapping[str, Any]
    refers: bool
    choices: Mapping[str, str]
    folders: tuple[Path, ...]


class Composition:
    """The settings of a command line's points, as Hydra would compose each.

    Hydra takes 70 ms a point. A product of options costs what its options cost one after another: two of them that
    set keys of their own group only are put together without composing them again.

    Args:
        fixed: Overrides of Hydra's own keys.

    Attributes:
        composer: What it was given.
    """

    def __init__(self, composer: Composer, fixed: Sequence[str] = ()) -> None:
        self.composer = composer
        self._fixed = tuple(fixed)
        self._chosen: dict[tuple[str, ...], _Chosen] = {}
        self._alone: dict[tuple[str, ...], _Chosen | None] = {}
        self._first: dict[str, str] = {}

    def settings(self, point: Sequence[Override]) -> tuple[Settings, tuple[Override, ...]]:
        """Set what a point says.

        Args:
            point: Overrides with one value each; of a key given twice the last holds.

        Returns:
            The settings, and the overrides less those of keys that the point's options do not have.

        Raises:
            ConfigError: If an interpolation leads nowhere, or an option's file cannot be used.
        """
        groups = {item.key_or_group: item for item in point if self.is_group(item)}
        chosen = self._choose({name: str(item.value()) for name, item in groups.items()})
        kept = [
            part
            for item in point
            for part in ([item] if item is groups.get(item.key_or_group) else _existing(item, chosen.values))
            if not (self.is_group(item) and item is not groups[item.key_or_group])
        ]
        keys = [item for item in kept if item is not groups.get(item.key_or_group)]
        # A value that is looked up elsewhere may change with any key.
        if chosen.refers or any(_is_slow(override, chosen.values) for override in keys):
            composed = self.composer.compose(chosen.texts, keys)
            settings = from_hydra(composed, composed.hydra)
            refuse([ConfigError(text) for override in keys for text in _wrong_reference(override, chosen, settings)])
            return settings, tuple(kept)
        values = chosen.values
        for override in keys:
            values = replaced(values, override.key_or_group.split("."), override.value())
        return Settings(values, chosen.choices, chosen.folders), tuple(kept)

    def keys(self, grids: Iterable[Grid]) -> set[str]:
        """List every key that some point has.

        Args:
            grids: Overrides, swept or not.

        Returns:
            Dotted keys.
        """
        found: set[str] = set()
        for grid in grids:
            swept = {item.key_or_group: list(map(str, values_of(item))) for item in grid if self.is_group(item)}
            # Each option once, not all products: which keys an option has does not depend on others.
            first = {group: options[0] for group, options in swept.items()}
            others = [{**first, group: option} for group, options in swept.items() for option in options[1:]]
            for options in (first, *others):
                found |= {key for key, _ in flatten(self._choose(options).values) if not key.endswith("_target_")}
        return found

    def is_group(self, override: Override) -> bool:
        """Say whether an override chooses an option, rather than sets a key."""
        return bool(self.composer.options(override.key_or_group)) and not isinstance(override.value(), dict)

    def _choose(self, options: Mapping[str, str]) -> _Chosen:
        texts = self._texts(options)
        if texts not in self._chosen:
            self._chosen[texts] = self._put_together(options)
        return self._chosen[texts]

    def _put_together(self, options: Mapping[str, str]) -> _Chosen:
        """Compose; or take the groups that differ from the first choice out of configs where each alone does."""
        if options.keys() != self._first.keys():
            self._first = dict(options)
        others = {group: option for group, option in options.items() if option != self._first[group]}
        alone = {group: self._other(group, option) for group, option in others.items()} if len(others) > 1 else {}
        found = {group: chosen for group, chosen in alone.items() if chosen is not None}
        if not others or len(found) < len(others):
            return self._composed(self._texts(options))
        first = self._composed(self._texts(self._first))
        values, choices = first.values, dict(first.choices)
        for group, chosen in found.items():
            values = replaced(values, group.split("/"), look_up(chosen.values, group))
            choices[group] = chosen.choices[group]
        referring = first.refers or any(chosen.refers for chosen in found.values())
        return replace(first, texts=self._texts(options), values=values, choices=choices, refers=referring)

    def _other(self, group: str, option: str) -> _Chosen | None:
        """The first choice with one other option; None where that option changes more than its own group."""
        texts = self._texts({**self._first, group: option})
        if texts not in self._alone:
            chosen, first = self._composed(texts), self._composed(self._texts(self._first))
            # By its values and by its file, which may set other groups to what the first choice has already.
            same = replaced(chosen.values, group.split("/"), None) == replaced(first.values, group.split("/"), None)
            alone = same and self.composer.stands_alone(group, option)
            self._alone[texts] = chosen if alone else None
        return self._alone[texts]

    def _texts(self, options: Mapping[str, str]) -> tuple[str, ...]:
        return (*self._fixed, *(f"{group}={option}" for group, option in options.items()))

    def _composed(self, texts: tuple[str, ...]) -> _Chosen:
        if texts not in self._chosen:
            composed = self.composer.compose(texts)
            node = composed.hydra
            self._chosen[texts] = _Chosen(texts, *_plain(composed), choices_of(node), folders_of(node))
        return self._chosen[texts]


@secrets_kept()
def _plain(composed: DictConfig) -> tuple[dict[str, Any], bool]:
    """Nested values, and whether some still refer to others."""
    values = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(values, dict)
    plain: dict[str, Any] = {str(key): value for key, value in values.items() if key != "hydra"}
    of_the_environment = {
        key for key, value in flatten(plain) if isinstance(value, str) and OF_THE_ENVIRONMENT.fullmatch(value)
    }
    for key in of_the_environment:
        plain = replaced(plain, key.split("."), OmegaConf.select(composed, key))
    return plain, any(refers(value) for key, value in flatten(plain) if key not in of_the_environment)


def _is_slow(override: Override, values: Mapping[str, Any]) -> bool:
    """What OmegaConf merges or looks up is left to it."""
    value = override.value()
    return refers(value) or isinstance(value, dict) or isinstance(look_up(values, override.key_or_group), dict)


def _wrong_reference(override: Override, chosen: _Chosen, settings: Settings) -> Iterator[str]:
    """An interpolation that leads to a value of another type."""
    for key, value, text in assignments(override):
        default, found = look_up(chosen.values, key), look_up(settings.values, key)
        wrong = None if refers(default) or not refers(value) else wrong_type(key, found, default)
        if wrong is not None:
            yield f"{text} is {shown(found)}, but {wrong}."


def _existing(override: Override, values: Mapping[str, Any]) -> Iterator[Override]:
    """An override, less what the values have no key for."""
    value, there = override.value(), look_up(values, override.key_or_group)
    if there is MISSING:
        return
    if not isinstance(value, dict) or not isinstance(there, dict) or _holds(there, value):
        yield override
        return
    kept = {key: item for key, item in value.items() if key in there}
    if kept:
        text = f"{override.key_or_group}={shown(kept)}"
        yield with_dictionary(override, kept, text)


def _holds(there: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    return all(look_up(there, key) is not MISSING for key, _ in flatten(value))
