"""Checks of a command line before Hydra composes it: groups, options, keys, types and values, all mistakes at once.

Hydra itself stops at the first mistake, takes `+optimizer.momentun=0.9` and `arch.m=abc` without a word, and wants a
second pair of quotes around a pattern.
"""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convgrid.config.composer import Composer
from convgrid.config.nearest import nearest_key, nearest_option
from convgrid.config.overrides import assignments, quoted, read, shown, values_of
from convgrid.config.settings import flatten, from_hydra
from convgrid.config.types import wrong_type
from convgrid.config.values import mistakes_in_values
from convgrid.errors import ConfigError, ConvgridError, refuse

MISSING = object()


@dataclass(frozen=True)
class Command:
    """A command line without mistakes.

    Args:
        argv: As typed, for Hydra: flags first, and quotes around free text.
        composed: The config with its `hydra` node; None where more is asked of Hydra than to compose one.
    """

    argv: list[str]
    composed: DictConfig | None


def check(argv: Sequence[str]) -> Command:
    """Find every mistake in a command line.

    Args:
        argv: What was typed after the program's name.

    Returns:
        What is to be done.

    Raises:
        ConvgridError: With a line or more a mistake.

    Example:
        >>> check(["arch.m=3", "arch.pattern=INPUT -> FC"])
        Traceback (most recent call last):
        convgrid.errors.ConfigError: arch.m=3 has no effect: the pattern INPUT -> FC has no M. Leave it out.
    """
    args = _arguments(argv)
    texts = [quoted(text, multirun=args.multirun) for text in args.overrides]
    trains = not (args.help or args.hydra_help or args.shell_completion or args.info or args.cfg)
    composed = None
    if trains or (texts and not args.shell_completion):
        line = _CommandLine(texts, args)
        refuse(line.mistakes(of_values=trains))
        composed = line.plain() if trains else None
    left = list(args.overrides)
    flags = [word for word in argv if not (left and word == left[0] and left.pop(0) is not None)]
    return Command([*flags, *texts], composed)


class _CommandLine:
    """The overrides of one command that read, sorted into groups, keys and Hydra's own."""

    def __init__(self, texts: Sequence[str], args: Namespace) -> None:
        self.multirun: bool = args.multirun
        self.composer = Composer(args.config_name or "config", args.config_dir)
        self.found: list[ConvgridError] = []
        self.groups: list[Override] = []
        self.keys: list[Override] = []
        self.hydra: list[str] = []
        self.unsound: list[str] = []
        for text in texts:
            try:
                override = read(text, self.composer.loader)
                values_of(override)
                self._sort(override)
            except ConfigError as error:
                self.found.append(error)

    def mistakes(self, *, of_values: bool) -> list[ConvgridError]:
        """Everything wrong: forms, options, keys, types; and, where the rest is sound enough to compose, values."""
        of_values = of_values and self._tells_all_values()
        self._tell(_several(override) for override in self.groups if override.is_sweep_override() and not self.multirun)
        self.groups = self._sound(self._wrong_options, self.groups)
        try:
            self.composer.compose(self.hydra)
            schemas = list(self._schemas())
            self.keys = self._sound(partial(self._wrong_keys, schemas=schemas), self.keys)
            if not self._tell(self._wrong_in_experiments()) and of_values:
                composed = self._composed()
                self.keys = self._sound(partial(self._wrong_references, composed=composed), self.keys)
                self.found += self._mistakes_in_values()
        except ConfigError as error:  # an option's file that cannot be used
            self.found.append(error)
        return self.found

    def plain(self) -> DictConfig | None:
        """The one config that is run; None where there are several, or a word for Hydra itself."""
        if self.multirun or self.hydra:
            return None
        composed = self._composed()
        composed.hydra.overrides.task = [str(override.input_line) for override in [*self.groups, *self.keys]]
        return None if composed.hydra.mode == RunMode.MULTIRUN else composed

    def _sort(self, override: Override) -> None:
        name = override.key_or_group
        if name.startswith(("hydra.", "hydra/")):
            self.hydra.append(str(override.input_line))
        elif name == "experiments" or (self.composer.options(name) and not isinstance(override.value(), dict)):
            self.groups.append(override)
        else:
            self.keys.append(override)

    def _tell(self, mistakes: Iterator[str]) -> bool:
        """Add mistakes to those found, and say whether there were any."""
        before = len(self.found)
        self.found += [ConfigError(text) for text in mistakes]
        return len(self.found) > before

    def _sound(self, wrong: Callable[[Override], Iterator[str]], overrides: Sequence[Override]) -> list[Override]:
        """Tell what is wrong with overrides, and keep those with which nothing is."""
        sound = [override for override in overrides if not self._tell(wrong(override))]
        self.unsound += [override.key_or_group for override in overrides if override not in sound]
        return sound

    def _tells_all_values(self) -> bool:
        """A sweep's points have their own values, and a resumed run has those that were stored."""
        overrides = [*self.groups, *self.keys]
        resumes = any(override.key_or_group == "resume" and override.value() is not None for override in overrides)
        return not resumes and not any(override.is_sweep_override() for override in overrides)

    def _wrong_options(self, override: Override) -> Iterator[str]:
        group, options = override.key_or_group, self.composer.options(override.key_or_group)
        if override.type == OverrideType.DEL:
            yield f"{override.input_line} cannot be: every group is needed. Choose another option instead."
            return
        if override.package is not None:
            yield f"{override.input_line} cannot be: every group has its place. Leave out @{override.package}."
        if override.type != OverrideType.CHANGE:
            yield f"{override.input_line}: {group} has an option already. Leave out the +."
        for value in map(shown, values_of(override)):
            if value not in options:
                known = f"Options: {', '.join(options)}." if options else "There are none."
                yield f"{group}={value} is not an option of {group}.{nearest_option(value, options)} {known}"

    def _schemas(self) -> Iterator[DictConfig]:
        """All keys with their defaults: for the first option of every swept group, then for each other option."""
        swept = {override.key_or_group: values_of(override) for override in self.groups}
        first = {group: values[0] for group, values in swept.items()}
        yield self.composer.schema(first)
        for group, values in swept.items():
            for value in values[1:]:
                yield self.composer.schema({**first, group: value})

    def _composed(self) -> DictConfig:
        return self.composer.compose([str(override.input_line) for override in self.groups], self.keys)

    def _wrong_keys(self, override: Override, schemas: Sequence[DictConfig]) -> Iterator[str]:
        if override.is_sweep_override() and not self.multirun:
            listed = isinstance(OmegaConf.select(schemas[0], override.key_or_group), ListConfig)
            yield _listed(override) if listed else _several(override)
            if listed:
                return
        for key, value, text in assignments(override):
            defaults = [OmegaConf.select(schema, key, default=MISSING) for schema in schemas]
            known = [default for default in defaults if default is not MISSING]
            group = key.replace(".", "/")
            if not known:
                yield self._unknown_key(key, schemas[0])
            elif override.type == OverrideType.DEL:
                yield f"{override.input_line} cannot be: every key is needed. Set another value instead."
            elif override.type == OverrideType.ADD:
                yield f"{override.input_line}: {key} is a key already. Leave out the +."
            elif isinstance(known[0], DictConfig) and self.composer.options(group) and not isinstance(value, dict):
                yield f"{text} cannot be: {key} is a group. Did you mean {group}={shown(value)}?"
            elif all(wrong_type(key, value, default) is not None for default in known) and not _refers(value):
                yield f"{text} {wrong_type(key, value, known[0])}."

    def _unknown_key(self, key: str, schema: DictConfig) -> str:
        choices = {group: name for group, name in schema.hydra.runtime.choices.items() if name is not None}
        keys = _keys(schema)
        for group, option in choices.items():
            start = f"{group.replace('/', '.')}."
            if key.startswith(start):
                others = self.composer.options_with(group, key.removeprefix(start))
                if others:
                    return f"{key} is not a key of {group}={option}, but of {group}={' and '.join(others)}."
                its_own = [name for name in keys if name.startswith(start)]
                hint = nearest_key(key, its_own) or f" Its keys: {', '.join(its_own) or 'none'}."
                return f"{key} is not a key of {group}={option}.{hint}"
        return f"{key} is not a key.{nearest_key(key, [*keys, *choices])}"

    def _wrong_in_experiments(self) -> Iterator[str]:
        """The keys and types that an experiment's file sets, against the schema of its choices."""
        for name in [value for o in self.groups if o.key_or_group == "experiments" for value in values_of(o)]:
            schema = self.composer.schema({"experiments": name})
            composed = self.composer.compose([f"experiments={name}"])
            for key, value in flatten(_plain(composed)):
                default = OmegaConf.select(schema, key, default=MISSING)
                wrong = None if default is MISSING or _refers(value) else wrong_type(key, value, default)
                if default is MISSING:
                    yield f"experiments/{name}.yaml: {self._unknown_key(key, schema)}"
                elif wrong is not None:
                    yield f"experiments/{name}.yaml: {key}={shown(value)} {wrong}."

    def _wrong_references(self, override: Override, composed: DictConfig) -> Iterator[str]:
        """An interpolation that leads nowhere, or to a value of another type."""
        schema = next(self._schemas())
        for key, value, text in assignments(override):
            if _refers(value):
                try:
                    found = OmegaConf.select(composed, key)
                except OmegaConfBaseException as error:
                    yield f"{text}: {str(error).splitlines()[0]}."
                    continue
                wrong = wrong_type(key, found, OmegaConf.select(schema, key))
                if wrong is not None:
                    yield f"{text} is {shown(found)}, but {wrong}."

    def _mistakes_in_values(self) -> list[ConvgridError]:
        """Those that follow from a key's default, because what was typed for it is unsound, say nothing new."""
        composed = self._composed()
        typed = {key: text for override in [*self.groups, *self.keys] for key, _, text in assignments(override)}
        mistakes = mistakes_in_values(from_hydra(composed, composed.hydra), typed)
        return [error for error in mistakes if not str(error).startswith(tuple(f"{key}=" for key in self.unsound))]


def _arguments(argv: Sequence[str]) -> Namespace:
    """Hydra's own flags, which may stand anywhere among the overrides."""
    parser = get_args_parser()
    parser.error = _refuse
    args = parser.parse_intermixed_args(argv)
    if args.config_path is not None:
        raise ConfigError(
            f"--config-path {args.config_path} would replace convgrid's options. Add to them with --config-dir."
        )
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError("--resolve goes with --cfg job, --cfg all or --help.")
    commands = {"--run": args.run, "--multirun": args.multirun, "--cfg": args.cfg, "--info": args.info}
    given = [flag for flag, value in commands.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} cannot be together. Leave out all but one.")
    return args


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}. See --hydra-help for the flags.")


def _keys(schema: DictConfig) -> list[str]:
    return [key for key, _ in flatten(_plain(schema)) if not key.endswith("_target_")]


def _plain(config: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def _refers(value: Any) -> bool:
    """Whether a value is looked up elsewhere, and has its type from there."""
    return isinstance(value, str) and "${" in value


def _several(override: Override) -> str:
    return f"{override.input_line} has several values. Add -m to sweep over them."


def _listed(override: Override) -> str:
    key, _, values = str(override.input_line).partition("=")
    return f"{key}={values} has several values. Did you mean the list {key}=[{values}]? Add -m to sweep over them."
