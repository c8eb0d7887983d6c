"""What may stand in the parentheses of each layer."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from convgrid.network.pattern.tree import Value


class Type(NamedTuple):
    """What an argument can be at all; `plan` checks the range."""

    words: str
    holds: Callable[[Value], bool]


_INTEGER = Type("an integer", lambda value: type(value) is int)
_NUMBER = Type("a number", lambda value: type(value) in (int, float))
_FILTERS = Type(
    "an integer, or x6 for six times its input's channels",
    lambda value: type(value) is int or (isinstance(value, str) and bool(re.fullmatch(r"x[1-9]\d{0,3}", value))),
)
_GROUPS = Type("an integer or depthwise", lambda value: type(value) is int or value == "depthwise")
_FLAG = Type("true or false", lambda value: type(value) is bool)
_SIZE = Type("an integer or a pair such as (3, 5)", lambda value: type(value) in (int, tuple))
_PADDING = Type(
    "same, valid, an integer or a pair such as (1, 2)",
    lambda value: type(value) in (int, tuple) or value in ("same", "valid"),
)
_POOL = Type("a name such as average", lambda value: isinstance(value, str))
_NORM = Type("a name such as batch", lambda value: isinstance(value, str))
_PAD = Type("pad", lambda value: value == "pad")

# The arguments of each kind in canonical order; the first can stand without its name.
ARGUMENTS: Mapping[str, Mapping[str, Type]] = {
    "INPUT": {},
    "CONV": {
        "filters": _FILTERS,
        "kernel_size": _SIZE,
        "stride": _SIZE,
        "padding": _PADDING,
        "dilation": _SIZE,
        "groups": _GROUPS,
        "bias": _FLAG,
    },
    "POOL": {"kernel_size": _SIZE, "stride": _SIZE, "padding": _PADDING, "ceil_mode": _FLAG, "type": _POOL},
    "NORM": {
        "type": _NORM,
        "eps": _NUMBER,
        "momentum": _NUMBER,
        "num_groups": _INTEGER,
        "size": _INTEGER,
        "alpha": _NUMBER,
        "beta": _NUMBER,
        "k": _NUMBER,
    },
    "ACT": {},
    "DROPOUT": {"p": _NUMBER},
    "FC": {"width": _INTEGER},
    "GAP": {},
    "SKIP": {"how": _PAD},
}
ALIASES: Mapping[str, Mapping[str, str]] = {
    "CONV": {"kernel": "kernel_size"},
    "POOL": {"kernel": "kernel_size", "size": "kernel_size"},
    "DROPOUT": {"rate": "p"},
}
OPTIONAL = ("POOL", "NORM", "DROPOUT")
JOINS = ("SUM", "CONCAT", "MUL")
