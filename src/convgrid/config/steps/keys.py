"""The third step: keys and the types of their values, against the options that were chosen."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, ListConfig

from convgrid.config.composer import Composer, default_of
from convgrid.config.line import CommandLine, ErrorList, first_options, is_group, is_in, leave_out, several, unresolved
from convgrid.config.mappings import MISSING, flatten
from convgrid.config.nearest import nearest_key
from convgrid.config.overrides import REFUSED_TARGET, assignments, brief, refers, shown, values_of
from convgrid.config.types import wrong_type

LISTED = " python run.py --help lists all keys."


def check_keys(line: CommandLine, composer: Composer) -> tuple[CommandLine, ErrorList]:
    """Hold keys and the types of their values against the options that the grids choose.

    An override is wrong if no point has its key. A key that some points have is let stand: the others go without it.
    """
    of_members = [list(schemas_of_grid(line, member, composer)) for member in line.members]
    of_all = [schema for schemas in of_members for schema in schemas]

    def schemas_of(override: Override) -> list[DictConfig]:
        its_own = zip(line.members, of_members, strict=True)
        return next((schemas for member, schemas in its_own if is_in(override, member)), of_all)

    def wrong(override: Override) -> Iterator[str]:
        return _wrong_keys(override, schemas_of(override), line, composer)

    keys = [override for override in line.overrides if not is_group(override, composer)]
    partly = [str(override.input_line) for override in keys if _is_partly_known(override, schemas_of(override))]
    return leave_out(replace(line, partly_known=frozenset(partly)), wrong, keys)


def schemas_of_grid(line: CommandLine, member: Sequence[Override], composer: Composer) -> Iterator[DictConfig]:
    """All keys with their defaults: for the first option of every group of a grid, then for each other option.

    Not for their products, which would be as many as the sweep's points: an option's keys do not depend on others.
    """
    groups = [override for override in (*line.common, *member) if is_group(override, composer)]
    swept = {override.key_or_group: values_of(override) for override in groups}
    first = first_options(groups, composer)
    yield composer.schema(first)
    for group, values in swept.items():
        for value in values[1:]:
            yield composer.schema({**first, group: value})


def _is_partly_known(override: Override, schemas: Sequence[DictConfig]) -> bool:
    return any(default_of(schema, key) is MISSING for key, *_ in assignments(override) for schema in schemas)


def _wrong_keys(
    override: Override, schemas: Sequence[DictConfig], line: CommandLine, composer: Composer
) -> Iterator[str]:
    if override.is_sweep_override() and not line.multirun:
        listed = isinstance(default_of(schemas[0], override.key_or_group), ListConfig)
        yield _listed(override) if listed else several(override)
        if listed:
            return
    for key, value, text in assignments(override):
        known = [default for schema in schemas if (default := default_of(schema, key)) is not MISSING]
        group = key.replace(".", "/")
        if not known:
            yield _unknown_key(key, schemas[0], composer)
        elif override.type == OverrideType.DEL:
            yield f"{override.input_line} is not allowed: every key is needed. Set another value instead."
        elif "_target_" in key.split(".") and value not in _targets(key, composer):
            yield f"{brief(text)} is not allowed: {REFUSED_TARGET}"
        elif override.type == OverrideType.ADD:
            yield f"{override.input_line}: {key} is a key already. Leave out the +."
        elif isinstance(known[0], DictConfig) and composer.options(group) and not isinstance(value, dict):
            yield f"{text} is not allowed: {key} is a group. Did you mean {group}={shown(value)}?"
        elif override.is_interval_sweep() and type(known[0]) is int and type(value) is float:
            drawn = str(override.input_line).partition("=")[2]
            yield f"{override.input_line} draws fractions, and {key} takes whole numbers. Use {key}=int({drawn})."
            return
        elif all(wrong_type(key, value, default) is not None for default in known) and not refers(value):
            yield f"{text} {wrong_type(key, value, known[0])}."


def _targets(key: str, composer: Composer) -> list[Any]:
    """What a `_target_` may be typed to be: that of an option of the group."""
    return composer.targets(key.rpartition(".")[0].replace(".", "/"))


def _unknown_key(key: str, schema: DictConfig, composer: Composer) -> str:
    choices = {group: name for group, name in schema.hydra.runtime.choices.items() if name is not None}
    keys = [name for name, _ in flatten(unresolved(schema)) if not name.endswith("_target_")]
    for group, option in choices.items():
        start = f"{group.replace('/', '.')}."
        if key.startswith(start):
            others = composer.options_with(group, key.removeprefix(start))
            if others:
                *first, last = others
                listed = f"{', '.join(first)} and {last}" if first else last
                way = f"Use {group}={last}" if not first else "Use one of them"
                return f"{key} is not a key of {group}={option}, but of {group}={listed}. {way}, or leave it out."
            its_own = [name for name in keys if name.startswith(start)]
            hint = nearest_key(key, its_own) or f" Its keys: {', '.join(its_own) or 'none'}."
            return f"{key} is not a key of {group}={option}.{hint}"
    return f"{key} is not a key.{nearest_key(key, [*keys, *choices]) or LISTED}"


def wrong_in_experiments(line: CommandLine, composer: Composer) -> Iterator[str]:
    """The keys and types that an experiment's file sets, against the schema of its choices."""
    chosen = [override for override in line.overrides if override.key_or_group == "experiments"]
    for name in [value for override in chosen for value in values_of(override)]:
        schema = composer.schema({"experiments": name})
        for key, value in flatten(unresolved(composer.compose([f"experiments={name}"]))):
            default = default_of(schema, key)
            wrong = None if default is MISSING or refers(value) else wrong_type(key, value, default)
            if default is MISSING:
                yield f"experiments/{name}.yaml: {_unknown_key(key, schema, composer)}"
            elif wrong is not None:
                yield f"experiments/{name}.yaml: {key}={shown(value)} {wrong}."


def _listed(override: Override) -> str:
    key, _, values = str(override.input_line).partition("=")
    return f"{key}={values} has several values. Did you mean the list {key}=[{values}]? Add -m to sweep over them."
