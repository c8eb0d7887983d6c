"""Overrides as typed, read with Hydra's own grammar."""

import re
from collections.abc import Iterator
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from convgrid.config.settings import flatten
from convgrid.errors import ConfigError

# Keys of free text: what the shell leaves of it is meant literally, so Hydra's grammar must not read it.
TEXTS = ("arch.pattern", "resume", "data.root", "data.path", "data.table", "tracking.uri", "tracking.experiment")


def quoted(text: str, *, multirun: bool) -> str:
    """Put the quotes that Hydra's grammar wants around a pattern, a path or another free text.

    Args:
        text: An override as typed.
        multirun: Whether commas divide several values.

    Returns:
        The override for Hydra.

    Example:
        >>> quoted("arch.pattern=INPUT -> CONV(6, kernel=5) -> FC", multirun=False)
        "arch.pattern='INPUT -> CONV(6, kernel=5) -> FC'"
    """
    key, equals, value = text.partition("=")
    value = value.strip()
    if not equals or key.lstrip("+") not in TEXTS or value == "null":
        return text
    if value.startswith(("'", '"', "choice(")):
        return f"{key}={value}"
    parts = _split_at_commas(value) if multirun else [value]
    return f"{key}={','.join(_in_quotes(part.strip()) for part in parts)}"


def read(text: str, loader: ConfigLoader) -> Override:
    """Read an override.

    Args:
        text: With its quotes.
        loader: Knows the options that a glob stands for.

    Returns:
        Hydra's reading of it.

    Raises:
        ConfigError: If it does not read.
    """
    key, equals, _ = text.partition("=")
    try:
        override = OverridesParser.create(config_loader=loader).parse_overrides([text])[0]
    except HydraException:
        if equals and re.fullmatch(r"[+~]*[\w./@]+", key, re.ASCII):
            message = f"""{text} does not read. Check its quotes and brackets, or give a text as "{key}='...'"."""
            raise ConfigError(message) from None
        override = None
    if override is None or not override.key_or_group:
        raise ConfigError(f"{text} does not read: an override is key=value or group=option.")
    return override


def values_of(override: Override) -> list[Any]:
    """Look at all that an override sweeps over.

    Args:
        override: One that `read` made.

    Returns:
        Its values; of most there is one.

    Raises:
        ConfigError: If they cannot be told.
    """
    if override.is_interval_sweep():
        raise ConfigError(
            f"{override.input_line}: an interval is for a search. Give values, or range(start,stop,step)."
        )
    if not override.is_sweep_override():
        return [override.value()]
    values = [Override._convert_value(value) for value in override.sweep_iterator()]
    if not values:
        raise ConfigError(f"{override.input_line} stands for no value at all.")
    return values


def assignments(override: Override) -> Iterator[tuple[str, Any, str]]:
    """Take an override apart.

    Args:
        override: One that `read` made.

    Yields:
        Key, value and what to call the two, for each single key that it sets to each value.
    """
    for value in values_of(override):
        if isinstance(value, dict) and value:
            for key, item in flatten(value, f"{override.key_or_group}."):
                yield key, item, f"{key}={shown(item)}"
        else:
            one = not override.is_sweep_override() and not isinstance(value, dict)
            text = str(override.input_line) if one else f"{override.key_or_group}={shown(value)}"
            yield override.key_or_group, value, text.lstrip("+")


def shown(value: Any) -> str:
    """Write a value as a person would type it.

    Args:
        value: Any value of a config.

    Returns:
        Text.

    Example:
        >>> shown([1, None, True])
        '[1,null,true]'
    """
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _in_quotes(text: str) -> str:
    r"""Hydra's grammar: \ is special before a quote only."""
    return "'" + re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), text) + "'"


def _split_at_commas(text: str) -> list[str]:
    """Split where no bracket is open."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
