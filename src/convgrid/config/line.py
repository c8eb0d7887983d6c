"""What is known of one command line's overrides, and what its steps share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from convgrid.config.composer import Composer
from convgrid.config.overrides import values_of
from convgrid.errors import ConfigError, ConvgridError

ErrorList = list[ConvgridError]
Check = Callable[[Override], Iterable[str]]  # what is wrong with one override


@dataclass(frozen=True)
class CommandLine:
    """What is sound of a command line.

    Args:
        typed: All that was typed, with its quotes.
        hydra: Overrides of Hydra's own keys.
        common: Overrides that all points have, those of `hydra.sweeper.params` first.
        members: Those of each grid of `sweep.union`; one grid without any where there is no union.
        multirun: Whether to sweep, by `-m` or by an experiment's file.
        sweep: The option of `sweep`.
        unsound: Keys and groups of what was left out.
        partly_known: Texts of those that set a key which only some of the options swept over have.
    """

    typed: tuple[str, ...]
    hydra: tuple[str, ...]
    common: tuple[Override, ...]
    members: tuple[tuple[Override, ...], ...] = ((),)
    multirun: bool = False
    sweep: str = "grid"
    unsound: tuple[str, ...] = ()
    partly_known: frozenset[str] = frozenset()

    @property
    def overrides(self) -> list[Override]:
        """Those of all points, then those of each grid."""
        return [*self.common, *(override for member in self.members for override in member)]


def for_hydra(line: CommandLine) -> list[str]:
    """The overrides as typed; of a key that only some swept options have, as a choice, which Hydra leaves to us."""
    by_text = {str(override.input_line): override for override in line.common}
    return [
        f"{by_text[text].get_key_element()}=choice({by_text[text].get_value_element_as_str()})"
        if line.multirun and text in line.partly_known and not by_text[text].is_sweep_override()
        else text
        for text in line.typed
    ]


def leave_out(line: CommandLine, wrong: Check, among: Iterable[Override]) -> tuple[CommandLine, ErrorList]:
    """Tell what is wrong with some overrides, and leave out those with which something is."""
    told = {id(override): (override, list(wrong(override))) for override in among}  # equal ones may be typed twice
    unsound = {key: override for key, (override, texts) in told.items() if texts}
    sound = replace(
        line,
        common=tuple(override for override in line.common if id(override) not in unsound),
        members=tuple(tuple(item for item in member if id(item) not in unsound) for member in line.members),
        unsound=(*line.unsound, *(override.key_or_group for override in unsound.values())),
    )
    return sound, as_errors(text for _, texts in told.values() for text in texts)


def as_errors(texts: Iterable[str]) -> ErrorList:
    """Mistakes of the config, one a text."""
    return [ConfigError(text) for text in texts]


def is_group(override: Override, composer: Composer) -> bool:
    """Whether an override chooses an option, rather than sets a key."""
    name = override.key_or_group
    return name == "experiments" or (bool(composer.options(name)) and not isinstance(override.value(), dict))


def first_options(overrides: Iterable[Override], composer: Composer) -> dict[str, Any]:
    """The first option that is chosen of each group."""
    groups = [override for override in overrides if is_group(override, composer)]
    return {override.key_or_group: values[0] for override in groups if (values := values_of(override))}


def is_in(override: Override, overrides: Iterable[Override]) -> bool:
    """Whether it is that very one: another that is equal may stand elsewhere."""
    return any(override is one for one in overrides)


def unresolved(config: DictConfig) -> Mapping[str, Any]:
    """Nested values as the files state them, less Hydra's node."""
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def several(override: Override) -> str:
    """What several values without -m are told."""
    return f"{override.input_line} has several values. Add -m to sweep over them."
