"""Types of values: that of the YAML's default."""

import math
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig

from convgrid.config.overrides import shown

TYPE_WORDS: Mapping[type, tuple[str, str]] = {
    bool: ("true or false", "of true or false"),
    int: ("a whole number", "of whole numbers"),
    float: ("a number", "of numbers"),
    str: ("a text", "of texts"),
    list: ("a list", "of lists"),
}
# Types of the keys whose default is null, which takes anything elsewhere.
NULLABLE: Mapping[str, type] = {
    "arch.head": str,
    "data.num_classes": int,
    "data.workers": int,
    "data.root": str,
    "data.path": str,
    "data.table": str,
    "data.weight": str,
    "data.min_angle": float,
    "fold": list,
    "sweep.executor.account": str,
    "sweep.executor.constraint": str,
    "sweep.executor.cores_per_node": int,
    "sweep.executor.gpus_per_node": int,
    "sweep.executor.host": str,
    "sweep.executor.mem_per_node": int,
    "sweep.executor.partition": str,
    "sweep.executor.project": str,
    "sweep.executor.qos": str,
    "sweep.executor.queue": str,
    "sweep.where": str,
    "sweep.seeds": int,
    "sweep.tolerance": float,
    "sweep.folds": int,
    "sweep.max_trials": int,
    "sweep.workers": int,
    "sweep.trial_timeout": float,
    "sweep.rerun": str,
}
OR_WORD: Mapping[str, str] = {"sweep.seeds": "auto"}  # of these
# Keys that take one of some words, or a list of numbers.
WORDS_OR_NUMBERS: Mapping[str, tuple[str, ...]] = {"imbalance.class_weights": ("none", "balanced")}
MAX_DEFAULT_SHOWN = 40  # characters of a default in a message


def wrong_type(key: str, value: Any, default: Any) -> str | None:
    """Compare a value with its key's default.

    Args:
        value: As Hydra's grammar reads it.
        default: As in the option's file; null takes anything, except for the keys in `NULLABLE`.

    Returns:
        What the value must be, if it is not.

    Example:
        >>> wrong_type("arch.m", "abc", 2)
        'must be a whole number, as its default 2'
        >>> wrong_type("optimizer.lr", 1, 0.001)
    """
    if key in NULLABLE:
        kind, word = NULLABLE[key], OR_WORD.get(key)
        if value in (None, word) or _is(value, kind):
            return None
        return f"must be {TYPE_WORDS[kind][0]}{f', {word}' if word else ''} or null"
    if key in WORDS_OR_NUMBERS:
        return _wrong_word_or_numbers(value, WORDS_OR_NUMBERS[key])
    if default is None:
        return None
    if key.startswith(("layer.conv.", "layer.pool.")) and not isinstance(default, bool):
        return None  # numbers, pairs and words: the plan says what is wrong with them
    if isinstance(default, DictConfig):
        if value == {}:  # sets nothing
            return None
        return f"is not allowed: {key} is not a key but holds {', '.join(f'{key}.{name}' for name in default)}"
    if isinstance(default, ListConfig):
        return _wrong_list(value, list(default))
    if not _is(value, type(default)):
        example = "" if len(shown(default)) > MAX_DEFAULT_SHOWN else f", as its default {shown(default)}"
        return f"must be {TYPE_WORDS[type(default)][0]}{example}"
    return _not_finite(value)


def _wrong_list(value: Any, default: list[Any]) -> str | None:
    kind = type(default[0]) if default else None
    if not isinstance(value, list) or not all(kind is None or _is(item, kind) for item in value):
        return f"must be a list{f' {TYPE_WORDS[kind][1]}' if kind else ''}, as its default {shown(default)}"
    return next((wrong for item in value if (wrong := _not_finite(item)) is not None), None)


def _wrong_word_or_numbers(value: Any, words: tuple[str, ...]) -> str | None:
    if value in words:
        return None
    if not isinstance(value, list) or not value or not all(_is(item, float) for item in value):
        return f"must be {', '.join(words)} or a list of numbers, one a class"
    return next((wrong for item in value if (wrong := _not_finite(item)) is not None), None)


def _is(value: Any, kind: type) -> bool:
    """Whole numbers are numbers; true and false are none."""
    return isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)


def _not_finite(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    return "is too large: whole numbers end at 2**63" if isinstance(value, int) and abs(value) >= 2**63 else None
