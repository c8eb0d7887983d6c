"""The last step: the config that is run, and whether its values are allowed."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from convgrid.config.composer import Composer, default_of
from convgrid.config.counting import check_data_place
from convgrid.config.line import CommandLine, ErrorList, is_group, leave_out
from convgrid.config.mappings import MISSING
from convgrid.config.overrides import assignments, refers, shown
from convgrid.config.settings import Settings, from_hydra
from convgrid.config.steps.keys import schemas_of_grid
from convgrid.config.steps.options import OF_THE_SWEEP
from convgrid.config.types import wrong_type
from convgrid.config.values import check_values
from convgrid.errors import gather, refuse
from convgrid.network.plan import Plan


@dataclass(frozen=True)
class Composed:
    """What a line makes: the config that is run, or that a sweep's points start from.

    Args:
        sweeper: Who plans a sweep, by Hydra's node.
        plan: Of a single run; None of a sweep, whose points have their own, and of a resumed run.
    """

    settings: Settings
    sweeper: str | None
    plan: Plan | None


def tells_all_values(line: CommandLine) -> bool:
    """A sweep's points have their own values, and a resumed run has those that were stored."""
    resumes = any(override.key_or_group == "resume" and override.value() is not None for override in line.common)
    return not resumes and not line.multirun and not any(override.is_sweep_override() for override in line.common)


def check_composed(line: CommandLine, composer: Composer) -> tuple[Composed | None, ErrorList]:
    """Compose a single run, and check its values.

    What follows from a key's default, because what was typed for it was left out, is not reported again.
    """
    config, schema = _compose(line, composer), next(schemas_of_grid(line, (), composer))
    keys = [override for override in line.common if not is_group(override, composer)]
    wrong = partial(_wrong_references, config=config, schema=schema)
    sound, mistakes = leave_out(line, wrong, keys)
    if mistakes:
        config = _compose(sound, composer)
    settings = from_hydra(config, config.hydra)
    plans: list[Plan] = []
    typed = {key: text for override in sound.common for key, _, text in assignments(override)}
    told = gather([lambda: plans.append(check_values(settings, typed))])
    told = [*gather([lambda: check_data_place(settings)]), *told] if told else []
    mistakes += [error for error in told if not str(error).startswith(tuple(f"{key}=" for key in sound.unsound))]
    return (Composed(settings, _sweeper(config), *plans) if plans else None), mistakes


def _wrong_references(override: Override, config: DictConfig, schema: DictConfig) -> Iterator[str]:
    """An interpolation that leads nowhere, or to a value of another type."""
    for key, value, text in assignments(override):
        if refers(value):
            try:
                found = OmegaConf.select(config, key)
            except OmegaConfBaseException as error:
                yield f"{text}: {str(error).splitlines()[0]}."
                continue
            wrong = wrong_type(key, found, OmegaConf.select(schema, key))
            if wrong is not None:
                yield f"{text} is {shown(found)}, but {wrong}."


def compose_unchecked(line: CommandLine, composer: Composer) -> Composed:
    """What is run or swept whose values the line alone does not tell."""
    config, schema = _compose(line, composer), next(schemas_of_grid(line, (), composer))
    keys = [override for override in line.common if not is_group(override, composer)]
    of_the_sweep = [override for override in keys if override.key_or_group.split(".")[0] in OF_THE_SWEEP]
    _, mistakes = leave_out(line, partial(_wrong_references, config=config, schema=schema), of_the_sweep)
    refuse(mistakes)  # those of points are told with the points
    return Composed(from_hydra(config, config.hydra), _sweeper(config), None)


def _compose(line: CommandLine, composer: Composer) -> DictConfig:
    """The config less what is swept."""
    fixed = [override for override in line.common if not override.is_sweep_override()]
    texts = [str(override.input_line) for override in fixed if is_group(override, composer)]
    keys = [override for override in fixed if not is_group(override, composer)]
    if line.multirun:
        there = composer.compose(texts)
        keys = [o for o in keys if all(default_of(there, key) is not MISSING for key, *_ in assignments(o))]
    return composer.compose(texts, keys)


def _sweeper(config: DictConfig) -> str | None:
    return config.hydra.sweeper.get("_target_")
