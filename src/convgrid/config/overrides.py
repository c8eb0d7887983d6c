"""Overrides as typed, read with Hydra's own grammar."""

import random
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from convgrid.config.hydra_internals import in_order, value_as_written, without_quotes
from convgrid.config.mappings import flatten
from convgrid.errors import ConfigError

# Keys of free text: what the shell leaves of it is meant literally, so Hydra's grammar must not read it.
FREE_TEXT_KEYS = (
    "arch.head",
    "arch.pattern",
    "arch.weights",
    "data.group",
    "resume",
    "data.root",
    "data.path",
    "data.table",
    "tracking.uri",
    "tracking.experiment",
    "sweep.executor.account",
    "sweep.executor.address",
    "sweep.executor.constraint",
    "sweep.executor.host",
    "sweep.executor.partition",
    "sweep.executor.project",
    "sweep.executor.qos",
    "sweep.executor.queue",
    "sweep.executor.scheduler_options",
    "sweep.executor.select_options",
    "sweep.executor.walltime",
    "sweep.executor.worker_init",
    "sweep.where",
    "sweep.storage",
)
# A line that somebody sent must not run what it names; a file that lies in a folder of the user's may.
REFUSED_TARGET = "it runs what it names. Put it in the file of an option of yours, in a --config-dir."
MAX_RANGE_VALUES = 10_000  # of one range
MAX_TYPED_SHOWN = 200  # characters of what was typed, in a message


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
    if not equals or key.lstrip("+") not in FREE_TEXT_KEYS or value == "null":
        return text
    if value.startswith(("'", '"', "choice(")):
        return f"{key}={value}"
    parts = [part.strip() for part in (_split_at_commas(value) if multirun else [value])]
    return f"{key}={','.join(part if part == 'null' else _in_quotes(part) for part in parts)}"


def read(text: str, loader: ConfigLoader) -> Override:
    """Read an override.

    Args:
        loader: Knows the options that a glob stands for.

    Returns:
        Hydra's reading of it.

    Raises:
        ConfigError: If it cannot be parsed.
    """
    key, equals, _ = text.partition("=")
    try:
        override = OverridesParser.create(config_loader=loader).parse_overrides([text])[0]
    except (HydraException, ArithmeticError, ValueError, TypeError, RecursionError):  # also 5,000 digits, 500 brackets
        if equals and re.fullmatch(r"[+~]*[\w./@]+", key, re.ASCII):
            hint = f"""Check its quotes and brackets, or give a text as "{key}='...'"."""
            raise ConfigError(f"{brief(text)} cannot be parsed. {hint}") from None
        override = None
    if override is None or not override.key_or_group:
        raise ConfigError(f"{brief(text)} cannot be parsed: an override is key=value or group=option.")
    _check_range(override)
    return override


def _check_range(override: Override) -> None:
    """A range is not gone through where it has no end, or none that anybody would wait for."""
    swept, text = value_as_written(override), brief(str(override.input_line))
    if not isinstance(swept, RangeSweep):
        return
    try:
        ends = next(islice(swept.range(), MAX_RANGE_VALUES, None), None) is None
    except (HydraException, ArithmeticError, ValueError):
        raise ConfigError(f"{text} cannot be counted: its ends are numbers, and its step is not 0.") from None
    if not ends:
        raise ConfigError(
            f"{text} has more than {MAX_RANGE_VALUES:,} values. Give a larger step, or draw from them: "
            f"{override.key_or_group}=interval(start,end) sweep=random sweep.max_trials=100."
        )


def values_of(override: Override) -> list[Any]:
    """Look at all that an override sweeps over, of an interval at its bounds.

    Args:
        override: One that `read` made.

    Returns:
        Values; none where a glob or a range holds nothing.
    """
    return [without_quotes(element) for element in elements_of(override)]


def elements_of(override: Override) -> list[Any]:
    """Look at all that an override sweeps over as it is written, so that texts keep their quotes.

    Args:
        override: One that `read` made.

    Returns:
        Elements of Hydra's grammar.
    """
    swept = value_as_written(override)
    if isinstance(swept, IntervalSweep):
        return [swept.start, swept.end]
    if not override.is_sweep_override():
        return [swept]
    if isinstance(swept, ChoiceSweep | RangeSweep) and swept.shuffle:  # Hydra draws anew with every look
        elements = list(in_order(override, swept))
        random.Random(override.input_line).shuffle(elements)  # noqa: S311  (an order, no secret)
        return elements
    return list(override.sweep_iterator())


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


def brief(text: str) -> str:
    """Leave out the middle of a long text, for a message.

    Returns:
        The text, where it is short.

    Example:
        >>> brief("seed=" + "9" * 5000)[-30:]
        '9999999 ... (5,005 characters)'
    """
    return text if len(text) <= MAX_TYPED_SHOWN else f"{text[:MAX_TYPED_SHOWN]} ... ({len(text):,} characters)"


def shown(value: Any) -> str:
    """Write a value as the user would type it.

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


def refers(value: Any) -> bool:
    """Say whether a value, or one in a list, is looked up elsewhere and has its type from there.

    Args:
        value: Any value of a config.

    Returns:
        True for an interpolation.

    Example:
        >>> refers("${seed}"), refers(["a", "${seed}"]), refers(3)
        (True, True, False)
    """
    if isinstance(value, list | dict):
        return any(map(refers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and "${" in value


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
