"""The second step: choices of options, and what stands in the wrong place."""

import re
from collections.abc import Iterable, Iterator
from functools import partial

from hydra.core.override_parser.types import Override, OverrideType

from convgrid.config.composer import Composer
from convgrid.config.line import CommandLine, ErrorList, as_errors, is_group, is_in, leave_out, several
from convgrid.config.nearest import nearest_option
from convgrid.config.overrides import shown, values_of

OF_THE_SWEEP = ("dry_run", "objective", "resume", "sweep", "tracking")  # one value for all points


def check_options(line: CommandLine, composer: Composer, *, trains: bool) -> tuple[CommandLine, ErrorList]:
    """Hold the choices of options against the options that there are.

    What stands in the wrong place is told here as well, but kept: it is a key or an option all the same.
    """
    groups = [override for override in line.overrides if is_group(override, composer)]
    told = [text for override in line.overrides for text in _out_of_place(override, line)] if trains else []
    if not line.multirun:
        told += [several(override) for override in groups if override.is_sweep_override()]
    line, unknown = leave_out(line, partial(_wrong_options, line=line, composer=composer), groups)
    return line, [*as_errors(told), *unknown]


def _out_of_place(override: Override, line: CommandLine) -> Iterator[str]:
    """What needs a sweep and stands in none, or the other way round."""
    name, text = override.key_or_group, override.input_line
    root = re.split(r"[./]", name)[0]
    if not line.multirun:
        if root == "sweep":
            yield f"{text} has no effect on a single training. Add -m to sweep, or leave it out."
    elif root in OF_THE_SWEEP and override.is_sweep_override():
        yield f"{text} cannot be swept: {root} concerns the whole sweep. Give it one value."
    elif root in OF_THE_SWEEP and not is_in(override, line.common):
        yield f"{text} is not allowed in sweep.union: {root} concerns the whole sweep. Type it outside of sweep.union."
    elif is_in(override, line.common) and all(name in _names(member) for member in line.members):
        yield f"{text} has no effect: every grid of sweep.union has its own {name}. Leave out one of the two."
    elif name == "resume" and override.value() is not None:
        yield f"{text}: a sweep goes on with what is unfinished when it is started again. Leave out resume."


def _wrong_options(override: Override, line: CommandLine, composer: Composer) -> Iterator[str]:
    group, options = override.key_or_group, composer.options(override.key_or_group)
    if group == "sweep/sampler" and line.sweep in ("grid", "random"):
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


def _names(overrides: Iterable[Override]) -> set[str]:
    return {override.key_or_group for override in overrides}
