"""The pattern language: text -> syntax tree -> expanded layer list.

    INPUT -> [[CONV -> NORM? -> ACT]*N -> POOL? -> DROPOUT?]*M -> [FC -> ACT -> DROPOUT?]*K -> FC

In the grammar below, case, white space and line breaks are free:

    pattern   = INPUT -> element -> ... -> FC
    element   = layer | "[" element -> ... -> element "]" "*" count
    layer     = name ["?"] ["(" [argument, ...] ")"]
    argument  = [name "="] (number | word | "(" integer "," integer ")")
    count     = integer | N | M | K
"""

from convgrid.network.pattern.caret import error_at
from convgrid.network.pattern.text import MAX_DEPTH, parse, render
from convgrid.network.pattern.tree import MAX_LAYERS, Count, Group, Layer, Pattern, Value

__all__ = [
    "MAX_DEPTH",
    "MAX_LAYERS",
    "Count",
    "Group",
    "Layer",
    "Pattern",
    "Value",
    "error_at",
    "parse",
    "render",
]
