"""Checks of a command line before Hydra composes it: groups, options, keys, types and values, all mistakes at once.

Hydra itself stops at the first mistake, takes `+optimizer.momentun=0.9` and `arch.m=abc` without a word, and wants a
second pair of quotes around a pattern.
"""

import difflib
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from convgrid.config.files import CONF
from convgrid.config.settings import flatten, from_hydra
from convgrid.config.values import mistakes_in_values
from convgrid.errors import ConfigError, ConvgridError, Mistakes

PATTERN = "arch.pattern="
MISSING = object()


def check(argv: Sequence[str]) -> list[str]:
    """Find every mistake in a command line.

    Args:
        argv: What was typed after the program's name.

    Returns:
        The same, with the quotes around a pattern that Hydra's grammar wants.

    Raises:
        ConfigError: With a line or more a mistake.

    Example:
        >>> check(["arch.m=3", "arch.pattern=INPUT -> FC"])
        Traceback (most recent call last):
        convgrid.errors.ConfigError: arch.m=3 has no effect: the pattern INPUT -> FC has no M. Leave it out.
    """
    args = get_args_parser().parse_args(argv)
    if args.help or args.hydra_help or args.shell_completion or args.info:
        return list(argv)
    command = _CommandLine([_quoted(text, args.multirun) for text in args.overrides], args.config_dir)
    mistakes: list[ConvgridError] = [ConfigError(text) for text in command.mistakes()]
    if not args.multirun and args.cfg is None:
        mistakes += command.mistakes_in_values()
    if mistakes:
        raise mistakes[0] if len(mistakes) == 1 else Mistakes(mistakes)
    return [_quoted(text, args.multirun) for text in argv]


class _CommandLine:
    """The overrides of one command, sorted into groups and keys, beside what Hydra composes from them."""

    def __init__(self, texts: Sequence[str], config_dir: str | None) -> None:
        self.unreadable: list[str] = []
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.loader = _loader(config_dir)
        overrides = [override for text in texts if (override := self._parse(text)) is not None]
        ours = [override for override in overrides if not override.key_or_group.startswith(("hydra.", "hydra/"))]
        self.groups = [override for override in ours if self._is_group(override)]
        self.keys = [override for override in ours if not self._is_group(override)]

    def mistakes(self) -> list[str]:
        """What does not read, is unknown, or has the wrong type."""
        found = [*self.unreadable, *(line for override in self.groups for line in self._unknown_options(override))]
        self.groups = [override for override in self.groups if not list(self._unknown_options(override))]
        schemas = list(self._schemas())
        for override in self.keys:
            for key, value in _assignments(override):
                if (mistake := self._mistake(override, key, value, schemas)) is not None:
                    found.append(mistake)
        return found + self._mistakes_in_experiment(schemas[0])

    def mistakes_in_values(self) -> list[ConvgridError]:
        """What is out of range, does not work out, does not fit together or has no effect."""
        schema = next(self._schemas())
        sound = [
            override
            for override in self.keys
            if all(self._mistake(override, key, value, [schema]) is None for key, value in _assignments(override))
        ]
        composed = self._compose([*self.groups, *sound])
        typed = [override.key_or_group for override in (*self.groups, *sound)]
        return mistakes_in_values(from_hydra(composed, composed.hydra), typed)

    def _parse(self, text: str) -> Override | None:
        try:
            return OverridesParser.create(config_loader=self.loader).parse_override(text)
        except HydraException:
            self.unreadable.append(f"{text} does not read: an override is key=value or group=option.")
            return None

    def _is_group(self, override: Override) -> bool:
        return self.loader.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)

    def _unknown_options(self, override: Override) -> Iterator[str]:
        group = override.key_or_group
        options = self.loader.get_group_options(group)
        for value in _values(override):
            if override.type == OverrideType.DEL or (value is not None and str(value) not in options):
                yield (
                    f"{group}={value} is not an option of {group}.{_did_you_mean(str(value), options)} "
                    f"Options: {', '.join(sorted(options))}."
                )

    def _schemas(self) -> Iterator[DictConfig]:
        """All keys with their defaults: for the first option of every swept group, then for each other option."""
        swept = {override.key_or_group: list(_values(override)) for override in self.groups}
        first = {group: values[0] for group, values in swept.items()}
        yield self._compose_groups(first)
        for group, values in swept.items():
            for value in values[1:]:
                yield self._compose_groups({**first, group: value})

    def _compose_groups(self, choices: dict[str, Any]) -> DictConfig:
        """An experiment sets values, which may be wrong: the schema has its choices only."""
        composed = self._compose_texts([f"{group}={value}" for group, value in choices.items() if value is not None])
        if not composed.hydra.runtime.choices.get("experiments"):
            return composed
        chosen = dict(composed.hydra.runtime.choices) | {"experiments": None}
        groups = {group: name for group, name in chosen.items() if not group.startswith("hydra/") and name is not None}
        return self._compose_texts([f"{group}={name}" for group, name in groups.items()])

    def _compose(self, overrides: Sequence[Override]) -> DictConfig:
        return self._compose_texts([str(override.input_line) for override in overrides])

    def _compose_texts(self, texts: list[str]) -> DictConfig:
        """Composing takes 70 ms, so each set of overrides is composed once."""
        key = tuple(texts)
        if key not in self.composed:
            self.composed[key] = self.loader.load_configuration(
                "config", texts, RunMode.MULTIRUN, validate_sweep_overrides=False
            )
        return self.composed[key]

    def _mistake(self, override: Override, key: str, value: Any, schemas: Sequence[DictConfig]) -> str | None:
        defaults = [OmegaConf.select(schema, key, default=MISSING) for schema in schemas]
        known = [default for default in defaults if default is not MISSING]
        if override.type == OverrideType.DEL:
            return f"{override.input_line} cannot be: every key is needed. Set another value or option instead."
        if not known:
            return self._unknown_key(key, schemas[0])
        wrong = [wrong for default in known if (wrong := wrong_type(key, value, default)) is not None]
        return wrong[0] if len(wrong) == len(known) else None

    def _unknown_key(self, key: str, schema: DictConfig) -> str:
        keys = [name for name, _ in flatten(_plain(schema))]
        choices = schema.hydra.runtime.choices
        of = ""
        for group, option in choices.items():
            if key.startswith(group.replace("/", ".") + "."):
                of = f" of {group}={option}"
        return (
            f"{key} is not a key{of}.{_did_you_mean(key, [*keys, *choices, *(g.replace('/', '.') for g in choices)])}"
        )

    def _mistakes_in_experiment(self, schema: DictConfig) -> list[str]:
        """The keys and types that an experiment's file sets, against the schema of its choices."""
        name = next((value for o in self.groups if o.key_or_group == "experiments" for value in _values(o)), None)
        if name is None:
            return []
        found = []
        composed = self._compose([o for o in self.groups if not o.is_sweep_override()])
        for key, value in flatten(_plain(composed)):
            default = OmegaConf.select(schema, key, default=MISSING)
            wrong = self._unknown_key(key, schema) if default is MISSING else wrong_type(key, value, default)
            if wrong is not None:
                found.append(f"experiments={name}: {wrong}")
        return found


def wrong_type(key: str, value: Any, default: Any) -> str | None:
    """Compare a value with its key's default.

    Args:
        key: As typed.
        value: As typed, read by Hydra's grammar.
        default: As in the option's file; None takes anything.

    Returns:
        The mistake, if it is one.

    Example:
        >>> wrong_type("arch.m", "abc", 2)
        'arch.m=abc must be a whole number, as its default 2.'
        >>> wrong_type("optimizer.lr", 1, 0.001)
    """
    if default is None or (isinstance(value, str) and "${" in value):
        return None
    if key.startswith(("layer.conv.", "layer.pool.")) and not isinstance(default, bool):
        return None  # numbers, pairs and words: the plan says what is wrong with them
    match default:
        case bool():
            expected, name = bool, "true or false"
        case int():
            expected, name = int, "a whole number"
        case float():
            expected, name = (int, float), "a number"
        case str():
            expected, name = str, "a text"
        case ListConfig():
            expected, name = list, "a list"
        case _:
            return f"{key}={value}: {key} is a group of keys. Did you mean {key.replace('.', '/')}={value}?"
    if isinstance(value, expected) and isinstance(value, bool) == isinstance(default, bool):
        items = value if isinstance(value, list) and isinstance(default, ListConfig) else []
        return next((wrong for item in items if (wrong := wrong_type(key, item, default[0])) is not None), None)
    return f"{key}={_shown(value)} must be {name}, as its default {_shown(default)}."


def _shown(value: Any) -> Any:
    """As a person would type it."""
    return {None: "null", True: "true", False: "false"}.get(value, value) if isinstance(value, bool | None) else value


def _loader(config_dir: str | None) -> ConfigLoaderImpl:
    search_path = create_config_search_path(str(CONF))
    if config_dir is not None:
        if not os.path.isdir(config_dir):
            raise ConfigError(f"--config-dir {config_dir} is not a folder.")
        path = f"file://{os.path.abspath(config_dir)}"
        search_path.prepend(provider="command-line", path=path, anchor=SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(config_search_path=search_path)


def _plain(config: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def _values(override: Override) -> Iterator[Any]:
    """All values that an override sweeps over, or its one."""
    if override.is_interval_sweep():
        return
    if override.is_sweep_override():
        yield from (Override._convert_value(value) for value in override.sweep_iterator())
    else:
        yield override.value()


def _assignments(override: Override) -> Iterator[tuple[str, Any]]:
    """Key and value of each single key that an override sets."""
    for value in _values(override):
        if isinstance(value, dict):
            yield from flatten(value, f"{override.key_or_group}.")
        else:
            yield override.key_or_group, value


def _did_you_mean(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _quoted(text: str, multirun: bool) -> str:
    """Put quotes around a pattern; with -m, around each of several patterns."""
    if not text.startswith(PATTERN) or text[len(PATTERN) :].startswith(("'", '"', "choice(", "${")):
        return text
    value = text.removeprefix(PATTERN)
    patterns = _split_at_commas(value) if multirun else [value]
    return PATTERN + ",".join(f"'{pattern.strip()}'" for pattern in patterns)


def _split_at_commas(text: str) -> list[str]:
    """Split where no parenthesis is open."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
