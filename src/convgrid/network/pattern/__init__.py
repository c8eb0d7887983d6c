"""The pattern language: text -> syntax tree -> expanded layers and joins.

    INPUT -> [[CONV -> NORM? -> ACT]*N -> POOL? -> DROPOUT?]*M -> [FC -> ACT -> DROPOUT?]*K -> FC

In the grammar below, case, white space and line breaks are free:

    pattern    = {definition} INPUT -> element -> ... -> FC
    definition = name ["(" parameter, ... ")"] "=" element -> ... ";"
    element    = layer | "[" element -> ... "]" "*" count | join | name ["(" value, ... ")"]
    layer      = name ["?"] ["(" [argument, ...] ")"]
    join       = ("SUM" | "CONCAT" | "MUL") "[" path "|" path ... "]"
    path       = SKIP | SKIP(pad) | element -> ...
    argument   = [name "="] value
    value      = number | word | "(" integer "," integer ")"
    count      = integer | N | M | K
"""

from convgrid.network.pattern.caret import error_at
from convgrid.network.pattern.render import render
from convgrid.network.pattern.text import MAX_DEPTH, parse
from convgrid.network.pattern.tree import (
    MAX_LAYERS,
    SKIP,
    Count,
    Group,
    Join,
    Layer,
    Node,
    Pattern,
    Step,
    Value,
    is_skip,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_LAYERS",
    "SKIP",
    "Count",
    "Group",
    "Join",
    "Layer",
    "Node",
    "Pattern",
    "Step",
    "Value",
    "error_at",
    "is_skip",
    "parse",
    "render",
]
