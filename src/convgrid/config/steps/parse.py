"""The first step: what was typed becomes overrides, with what an experiment's file and `sweep.union` add to them."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from hydra.core.override_parser.types import IntervalSweep, Override, Sweep
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convgrid.config.composer import Composer, as_overrides
from convgrid.config.grids import params, union
from convgrid.config.line import CommandLine, ErrorList, first_options, leave_out
from convgrid.config.overrides import REFUSED_TARGET, brief, read, values_of
from convgrid.errors import ConfigError

SEARCH = "Add sweep=optuna sweep.max_trials=30 (or sweep=random), or give values: range(start,stop,step)"


def parse(texts: Sequence[str], composer: Composer, *, multirun: bool) -> tuple[CommandLine, ErrorList]:
    """Read what was typed, and what an experiment's file and `sweep.union` add to it."""
    overrides, hydra, mistakes = _read(texts, composer)
    line = CommandLine(tuple(texts), hydra, overrides, multirun=multirun)
    line, wrong = _look_beside(line, composer)
    line, unreadable = leave_out(line, partial(_unreadable, line=line), line.overrides)
    return line, [*mistakes, *wrong, *unreadable]


def _read(texts: Sequence[str], composer: Composer) -> tuple[tuple[Override, ...], tuple[str, ...], ErrorList]:
    """The overrides that can be parsed, and Hydra's own among them."""
    overrides: list[Override] = []
    mistakes: ErrorList = []
    for text in texts:
        try:
            override = read(text, composer.loader)
        except ConfigError as error:
            mistakes.append(error)
            continue
        if override.is_hydra_override() and "_target_" in text:
            mistakes.append(ConfigError(f"{brief(text)} is not allowed: {REFUSED_TARGET}"))
        else:
            overrides.append(override)
    hydra = tuple(str(override.input_line) for override in overrides if override.is_hydra_override())
    return tuple(override for override in overrides if not override.is_hydra_override()), hydra, mistakes


def _look_beside(line: CommandLine, composer: Composer) -> tuple[CommandLine, ErrorList]:
    """Find what makes the command a sweep, and adds to what is typed, in Hydra's node and in an experiment."""
    named = {override.key_or_group: override for override in line.common if not override.is_sweep_override()}
    try:
        base = _base(line, named.get("experiments"), composer)
        mode = base.hydra.mode
    except ConfigError:  # told with the other mistakes of its file
        return line, []
    except OmegaConfBaseException as error:
        return line, [ConfigError(f"hydra.mode: {str(error).splitlines()[0]}.")]
    sweep = str(named["sweep"].value() if "sweep" in named else base.hydra.runtime.choices.get("sweep"))
    line = replace(line, multirun=line.multirun or mode == RunMode.MULTIRUN, sweep=sweep)
    if not line.multirun:
        return line, []
    common, hydra, mistakes = _read(params(base), composer)
    line = replace(line, common=(*common, *line.common), hydra=(*line.hydra, *hydra))
    stated = named["sweep.union"].value() if "sweep.union" in named else OmegaConf.select(base, "sweep.union")
    try:
        members = [_read(texts, composer) for texts in union(stated)]
    except ConfigError as error:
        return line, [*mistakes, error]
    return (
        replace(
            line,
            members=tuple(overrides for overrides, _, _ in members),
            hydra=(*line.hydra, *(text for _, texts, _ in members for text in texts)),
        ),
        [*mistakes, *(error for _, _, wrong in members for error in wrong)],
    )


def _base(line: CommandLine, experiment: Override | None, composer: Composer) -> DictConfig:
    """The config less what is set in it; with the first options that were chosen, which is what other steps compose."""
    if not line.hydra:
        with contextlib.suppress(ConfigError):  # of an option that there is none of; told by the next step
            return composer.compose(as_overrides(first_options(line.common, composer)))
    chosen = [experiment] if experiment and experiment.value() in composer.options("experiments") else []
    return composer.compose([*line.hydra, *(str(override.input_line) for override in chosen)])


def _unreadable(override: Override, line: CommandLine) -> Iterator[str]:
    if override.is_interval_sweep() and (line.sweep == "grid" or not line.multirun):
        yield f"{override.input_line}: an interval is for a search. {SEARCH}."
    elif inner := [value for value in values_of(override) if isinstance(value, Sweep)]:
        kind = "an interval" if isinstance(inner[0], IntervalSweep) else "a range"
        yield f"{override.input_line}: {kind} stands alone. Leave out what is beside it."
    elif not values_of(override):
        yield f"{override.input_line} gives no value at all. Give it one, or leave it out."
