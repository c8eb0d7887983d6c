"""The overrides of one command line, and all that is wrong with them."""

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convgrid.config.composer import Composer
from convgrid.config.grids import params, union
from convgrid.config.nearest import nearest_key, nearest_option
from convgrid.config.overrides import assignments, read, refers, shown, values_of
from convgrid.config.settings import flatten, from_hydra
from convgrid.config.types import wrong_type
from convgrid.config.values import mistakes_in_values
from convgrid.errors import ConfigError, ConvgridError

MISSING = object()
SEARCH = "Add sweep=optuna sweep.max_trials=30 (or sweep=random), or give values: range(start,stop,step)"
OURS = "hydra_plugins.convgrid_sweeper.ConvgridSweeper"
OF_THE_SWEEP = ("dry_run", "objective", "resume", "sweep", "tracking")  # one value for all points


class CommandLine:
    """The overrides that read: Hydra's own, those typed, and those of each grid of `sweep.union`.

    Args:
        texts: Overrides with their quotes.
        composer: Knows the options and their keys.
        multirun: Whether -m was typed.
    """

    def __init__(self, texts: Sequence[str], composer: Composer, *, multirun: bool) -> None:
        self.multirun, self.composer = multirun, composer
        self.found: list[ConvgridError] = []
        self.hydra: list[str] = []
        self.unsound: list[str] = []
        self.partly_known: set[str] = set()
        self.typed = list(texts)
        self.common = self._read(texts)
        self.members: list[list[Override]] = [[]]
        self.sweep = "grid"

    def mistakes(self, *, of_values: bool) -> list[ConvgridError]:
        """Everything wrong: forms, options, keys, types; and, where the rest is sound enough to compose, values."""
        self._look_beside()
        self._keep_sound(self._unreadable, lambda _: True)
        if of_values:
            self._tell(text for override in self._overrides() for text in self._out_of_place(override))
        if not self.multirun:
            self._tell(_several(o) for o in self.common if o.is_sweep_override() and self._is_group(o))
        self._keep_sound(self._wrong_options, self._is_group)
        try:
            self.composer.compose(self.hydra)
            self._keep_sound(self._wrong_keys_of(), lambda override: not self._is_group(override))
            if not self._tell(self._wrong_in_experiments()) and of_values and self._tells_all_values():
                wrong = partial(self._wrong_references, composed=self._composed())
                self._keep_sound(wrong, lambda override: not self._is_group(override))
                self.found += self._mistakes_in_values()
        except ConfigError as error:  # an option's file that cannot be used
            self.found.append(error)
        return self.found

    def composed(self) -> DictConfig | None:
        """The config that is run, or that a sweep's points start from; None where Hydra itself has a word to say."""
        if self.hydra:
            return None
        composed = self._composed()
        composed.hydra.overrides.task = self.for_hydra()
        if self.multirun:
            composed.hydra.mode = RunMode.MULTIRUN
        return composed if not self.multirun or composed.hydra.sweeper.get("_target_") == OURS else None

    def for_hydra(self) -> list[str]:
        """The overrides as typed; of a key that only some swept options have, as a choice, which Hydra leaves to us."""
        by_text = {str(override.input_line): override for override in self.common}
        return [
            f"{by_text[text].get_key_element()}=choice({by_text[text].get_value_element_as_str()})"
            if self.multirun and text in self.partly_known and not by_text[text].is_sweep_override()
            else text
            for text in self.typed
        ]

    def _read(self, texts: Sequence[str]) -> list[Override]:
        overrides: list[Override] = []
        for text in texts:
            try:
                override = read(text, self.composer.loader)
            except ConfigError as error:
                self.found.append(error)
                continue
            if override.is_hydra_override():
                self.hydra.append(text)
            else:
                overrides.append(override)
        return overrides

    def _look_beside(self) -> None:
        """Find what makes the command a sweep, and adds to what is typed, in Hydra's node and in an experiment."""
        named = {override.key_or_group: override for override in self.common if not override.is_sweep_override()}
        known = self.composer.options("experiments")
        chosen = [o.input_line for o in named.values() if o.key_or_group == "experiments" and o.value() in known]
        try:
            base = self.composer.compose([*self.hydra, *map(str, chosen)])
        except ConfigError:  # told with the other mistakes of its file
            return
        self.multirun = self.multirun or base.hydra.mode == RunMode.MULTIRUN
        self.sweep = str(named["sweep"].value() if "sweep" in named else base.hydra.runtime.choices.get("sweep"))
        if not self.multirun:
            return
        self.common = [*self._read(params(base)), *self.common]
        grids = OmegaConf.select(base, "sweep.union")
        for override in named.values():
            if override.key_or_group == "sweep.union":
                grids = override.value()
        try:
            self.members = [self._read(texts) for texts in union(grids)]
        except ConfigError as error:
            self.found.append(error)

    def _overrides(self) -> list[Override]:
        return [*self.common, *(override for member in self.members for override in member)]

    def _is_group(self, override: Override) -> bool:
        name = override.key_or_group
        return name == "experiments" or (bool(self.composer.options(name)) and not isinstance(override.value(), dict))

    def _tell(self, mistakes: Iterator[str]) -> bool:
        """Add mistakes to those found, and say whether there were any."""
        before = len(self.found)
        self.found += [ConfigError(text) for text in mistakes]
        return len(self.found) > before

    def _keep_sound(self, wrong: Callable[[Override], Iterator[str]], concerns: Callable[[Override], bool]) -> None:
        """Tell what is wrong with overrides, and keep those with which nothing is."""
        unsound = [override for override in self._overrides() if concerns(override) and self._tell(wrong(override))]
        self.unsound += [override.key_or_group for override in unsound]
        self.common = [override for override in self.common if not any(override is one for one in unsound)]
        self.members = [[o for o in member if not any(o is one for one in unsound)] for member in self.members]

    def _tells_all_values(self) -> bool:
        """A sweep's points have their own values, and a resumed run has those that were stored."""
        resumes = any(override.key_or_group == "resume" and override.value() is not None for override in self.common)
        return not resumes and not self.multirun and not any(o.is_sweep_override() for o in self.common)

    def _unreadable(self, override: Override) -> Iterator[str]:
        if override.is_interval_sweep() and (self.sweep == "grid" or not self.multirun):
            yield f"{override.input_line}: an interval is for a search. {SEARCH}."
        elif any(isinstance(value, IntervalSweep) for value in values_of(override)):
            yield f"{override.input_line}: an interval stands alone. Leave out what is beside it."
        elif not values_of(override):
            yield f"{override.input_line} stands for no value at all."

    def _out_of_place(self, override: Override) -> Iterator[str]:
        """What needs a sweep and stands in none, or the other way round."""
        name, text = override.key_or_group, override.input_line
        root = re.split(r"[./]", name)[0]
        if not self.multirun:
            if root == "sweep":
                yield f"{text} has no effect without -m. Add -m to sweep, or leave it out."
        elif root in OF_THE_SWEEP and override.is_sweep_override():
            yield f"{text} cannot be swept: {root} is of the whole sweep. Give it one value."
        elif root in OF_THE_SWEEP and not any(override is one for one in self.common):
            yield f"{text} cannot be in sweep.union: {root} is of the whole sweep. Give it beside."
        elif any(override is one for one in self.common) and name in self._in_all_members():
            yield f"{text} has no effect: every grid of sweep.union has its own {name}. Leave out one of the two."
        elif name == "resume" and override.value() is not None:
            yield f"{text}: a sweep goes on with what is unfinished when it is started again. Leave out resume."

    def _in_all_members(self) -> set[str]:
        return set.intersection(*({override.key_or_group for override in member} for member in self.members))

    def _wrong_options(self, override: Override) -> Iterator[str]:
        group, options = override.key_or_group, self.composer.options(override.key_or_group)
        if group == "sweep/sampler" and self.sweep in ("grid", "random"):
            yield f"{override.input_line} goes with sweep=optuna. Add that, or leave it out."
            return
        if override.type == OverrideType.DEL:
            yield f"{override.input_line} is not allowed: every group is needed. Choose another option instead."
            return
        if override.package is not None:
            yield f"{override.input_line} is not allowed: every group has its place. Leave out @{override.package}."
        if override.type != OverrideType.CHANGE:
            yield f"{override.input_line}: {group} has an option already. Leave out the +."
        for value in map(shown, values_of(override)):
            if value not in options:
                known = f"Options: {', '.join(options)}." if options else "There are none."
                yield f"{group}={value} is not an option of {group}.{nearest_option(value, options)} {known}"

    def _schemas(self, member: Sequence[Override]) -> Iterator[DictConfig]:
        """All keys with their defaults: for the first option of every group of a grid, then for each other option."""
        groups = [override for override in (*self.common, *member) if self._is_group(override)]
        swept = {override.key_or_group: values_of(override) for override in groups}
        first = {group: values[0] for group, values in swept.items()}
        yield self.composer.schema(first)
        for group, values in swept.items():
            for value in values[1:]:
                yield self.composer.schema({**first, group: value})

    def _composed(self) -> DictConfig:
        fixed = [override for override in self.common if not override.is_sweep_override()]
        texts = [str(override.input_line) for override in fixed if self._is_group(override)]
        keys = [override for override in fixed if not self._is_group(override)]
        if self.multirun:
            there = self.composer.compose(texts)
            keys = [o for o in keys if all(_default(there, key) is not MISSING for key, *_ in assignments(o))]
        return self.composer.compose(texts, keys) if keys else copy.deepcopy(self.composer.compose(texts))

    def _wrong_keys_of(self) -> Callable[[Override], Iterator[str]]:
        """The check of a key against all options that its grids choose."""
        schemas = [list(self._schemas(member)) for member in self.members]

        def wrong(override: Override) -> Iterator[str]:
            common = any(override is one for one in self.common)
            its_own = [
                schema
                for member, found in zip(self.members, schemas, strict=True)
                for schema in found
                if common or any(override is one for one in member)
            ]
            return self._wrong_keys(override, its_own)

        return wrong

    def _wrong_keys(self, override: Override, schemas: Sequence[DictConfig]) -> Iterator[str]:
        if override.is_sweep_override() and not self.multirun:
            listed = isinstance(OmegaConf.select(schemas[0], override.key_or_group), ListConfig)
            yield _listed(override) if listed else _several(override)
            if listed:
                return
        for key, value, text in assignments(override):
            defaults = [_default(schema, key) for schema in schemas]
            known = [default for default in defaults if default is not MISSING]
            if len(known) < len(defaults):
                self.partly_known.add(str(override.input_line))
            group = key.replace(".", "/")
            if not known:
                yield self._unknown_key(key, schemas[0])
            elif override.type == OverrideType.DEL:
                yield f"{override.input_line} is not allowed: every key is needed. Set another value instead."
            elif override.type == OverrideType.ADD:
                yield f"{override.input_line}: {key} is a key already. Leave out the +."
            elif isinstance(known[0], DictConfig) and self.composer.options(group) and not isinstance(value, dict):
                yield f"{text} is not allowed: {key} is a group. Did you mean {group}={shown(value)}?"
            elif override.is_interval_sweep() and type(known[0]) is int and type(value) is float:
                drawn = str(override.input_line).partition("=")[2]
                yield f"{override.input_line} draws fractions, and {key} takes whole numbers. Use {key}=int({drawn})."
                return
            elif all(wrong_type(key, value, default) is not None for default in known) and not refers(value):
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
        chosen = [o for o in self._overrides() if o.key_or_group == "experiments"]
        for name in [value for override in chosen for value in values_of(override)]:
            schema = self.composer.schema({"experiments": name})
            composed = self.composer.compose([f"experiments={name}"])
            for key, value in flatten(_plain(composed)):
                default = _default(schema, key)
                wrong = None if default is MISSING or refers(value) else wrong_type(key, value, default)
                if default is MISSING:
                    yield f"experiments/{name}.yaml: {self._unknown_key(key, schema)}"
                elif wrong is not None:
                    yield f"experiments/{name}.yaml: {key}={shown(value)} {wrong}."

    def _wrong_references(self, override: Override, composed: DictConfig) -> Iterator[str]:
        """An interpolation that leads nowhere, or to a value of another type."""
        schema = next(self._schemas([]))
        for key, value, text in assignments(override):
            if refers(value):
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
        typed = {key: text for override in self.common for key, _, text in assignments(override)}
        mistakes = mistakes_in_values(from_hydra(composed, composed.hydra), typed)
        return [error for error in mistakes if not str(error).startswith(tuple(f"{key}=" for key in self.unsound))]


def _default(schema: DictConfig, key: str) -> Any:
    return OmegaConf.select(schema, key, default=MISSING)


def _keys(schema: DictConfig) -> list[str]:
    return [key for key, _ in flatten(_plain(schema)) if not key.endswith("_target_")]


def _plain(config: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def _several(override: Override) -> str:
    return f"{override.input_line} has several values. Add -m to sweep over them."


def _listed(override: Override) -> str:
    key, _, values = str(override.input_line).partition("=")
    return f"{key}={values} has several values. Did you mean the list {key}=[{values}]? Add -m to sweep over them."
