"""A pattern's text: tokens, the parser, and the way back."""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from convgrid.errors import PatternError
from convgrid.network.pattern.caret import error_at
from convgrid.network.pattern.tree import Count, Group, Layer, Pattern, Value

MAX_DEPTH = 20


def parse(text: str, *, activations: Collection[str]) -> Pattern:
    """Read a pattern.

    Args:
        text: The pattern, such as "INPUT -> CONV(6, kernel=5) -> RELU -> FC".
        activations: The lower-case names of the known activations.

    Returns:
        The syntax tree.

    Raises:
        PatternError: If the text is no pattern; the message shows the line and a caret under the mistake.

    Example:
        >>> parse("INPUT -> [CONV(8) -> RELU]*N -> FC", activations=["relu"]).layers[0].args
        (('filters', 8),)
    """
    return Pattern(text, _Parser(text, activations).pattern())


def render(layers: Sequence[Layer]) -> str:
    """Write layers as a pattern that reads back to the same layers, their stages aside.

    Args:
        layers: The layers without INPUT, the output FC last, such as `Pattern.expand` returns.

    Returns:
        The pattern on one line.

    Example:
        >>> render([Layer("CONV", (("filters", 32), ("kernel_size", 3))), Layer("ACT", activation="relu"), Layer("FC")])
        'INPUT -> CONV(32, kernel=3) -> RELU -> FC'
    """
    return " -> ".join(["INPUT", *map(_render_layer, layers)])


class _Type(NamedTuple):
    """What an argument can be at all; `plan` checks the range."""

    words: str
    holds: Callable[[Value], bool]


_INTEGER = _Type("an integer", lambda value: type(value) is int)
_NUMBER = _Type("a number", lambda value: type(value) in (int, float))
_GROUPS = _Type("an integer or depthwise", lambda value: type(value) is int or value == "depthwise")
_FLAG = _Type("true or false", lambda value: type(value) is bool)
_SIZE = _Type("an integer or a pair such as (3, 5)", lambda value: type(value) in (int, tuple))
_PADDING = _Type(
    "same, valid, an integer or a pair such as (1, 2)",
    lambda value: type(value) in (int, tuple) or value in ("same", "valid"),
)

# The arguments of each kind in canonical order; the first can stand without its name.
_ARGUMENTS: dict[str, dict[str, _Type]] = {
    "INPUT": {},
    "CONV": {
        "filters": _INTEGER,
        "kernel_size": _SIZE,
        "stride": _SIZE,
        "padding": _PADDING,
        "dilation": _SIZE,
        "groups": _GROUPS,
        "bias": _FLAG,
    },
    "POOL": {"kernel_size": _SIZE, "stride": _SIZE, "padding": _PADDING, "ceil_mode": _FLAG},
    "NORM": {},
    "ACT": {},
    "DROPOUT": {"p": _NUMBER},
    "FC": {"width": _INTEGER},
    "GAP": {},
}
_ALIASES = {
    "CONV": {"kernel": "kernel_size"},
    "POOL": {"kernel": "kernel_size", "size": "kernel_size"},
    "DROPOUT": {"rate": "p"},
}
_OPTIONAL = ("POOL", "NORM", "DROPOUT")
_COUNTS: dict[str, Count] = {"n": "n", "m": "m", "k": "k"}
_WORDS: dict[str, bool] = {"true": True, "false": False}

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<arrow>->|→)|(?P<sign>[][()*?,=])"
    r"|(?P<number>-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)|(?P<bad>\S))"
)
_MAX_NUMBER = 25  # characters; the longest float that Python writes has 24

# What is wrong where an arrow or the end should stand, by token.
_STRAY = {
    "]": "] closes no group: no [ is open.",
    ")": ") closes nothing: no ( is open.",
    "(": "( stands only after the name of a layer, for its arguments. A group is written [ ... ]*2.",
    "*": "* stands only after a group: [ ... ]*2.",
    "?": f"? stands only after {', '.join(_OPTIONAL[:-1])} or {_OPTIONAL[-1]}, once.",
}


class _Token(NamedTuple):
    kind: str  # name, number, "->", a sign as itself, or "end"
    text: str
    column: int


class _Parser:
    """Recursive descent: one method for each rule of the grammar."""

    def __init__(self, text: str, activations: Collection[str]) -> None:
        self.text = text
        self.activations = activations
        self.tokens = list(_tokens(text))
        self.position = 0
        self.kind = self.tokens[0].kind

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.tokens[self.position]
        self.position += 1
        self.kind = self.tokens[self.position].kind
        return token

    def error(self, message: str, token: _Token | None = None) -> PatternError:
        return error_at(self.text, (token or self.token).column, message)

    def pattern(self) -> tuple[Layer | Group, ...]:
        if self.token.text.upper() != "INPUT":
            raise self.error("a pattern starts with INPUT, outside any group: INPUT -> FC is the shortest.")
        nodes = self.elements(depth=0)
        if self.kind != "end":
            raise self.error(self.stray())
        self.check_output(nodes)
        return nodes[1:]

    def check_output(self, nodes: Sequence[Layer | Group]) -> None:
        before, last = nodes[-2] if len(nodes) > 1 else None, nodes[-1]
        message = "a pattern ends in FC, the output layer, outside any group. Add -> FC."
        if isinstance(last, Layer) and last.kind == "FC":
            if not last.args:
                return
            message = "the last FC is the output layer: the data and the loss decide its width. Write FC, or add -> FC."
        elif isinstance(last, Layer) and last.kind == "ACT" and isinstance(before, Layer) and before.kind == "FC":
            name = _render_layer(last)
            message = f"no activation follows the last FC: the loss supplies the link. Remove {name}, or add -> FC."
        raise error_at(self.text, last.column, message)

    def elements(self, depth: int) -> tuple[Layer | Group, ...]:
        nodes = [self.element(depth)]
        while self.kind == "->":
            self.take()
            nodes.append(self.element(depth))
        return tuple(nodes)

    def element(self, depth: int) -> Layer | Group:
        if self.kind == "name":
            return self.layer()
        if self.kind == "[":
            return self.group(depth + 1)
        if self.kind in ("->", "]", "end"):
            before = self.tokens[self.position - 1].text
            raise self.error(f"a layer is missing after {before}. Name one, or remove the arrow.")
        raise self.error(self.stray())

    def group(self, depth: int) -> Group:
        opening = self.take()
        if depth > MAX_DEPTH:
            raise self.error(f"groups are nested more than {MAX_DEPTH} deep.", opening)
        if self.kind == "]":
            raise self.error("the group is empty. Put a layer into it, or remove it.", opening)
        if self.kind == "end":
            raise self.error("[ is not closed. Add ]*2, or the count you mean.", opening)
        nodes = self.elements(depth)
        if self.kind == "end":
            raise self.error("[ is not closed. Add ]*2, or the count you mean.", opening)
        if self.kind != "]":
            raise self.error(self.stray())
        closing = self.take()
        if self.kind != "*":
            raise self.error("a group needs a count, such as ]*2 or ]*N.", closing)
        self.take()
        return Group(nodes, self.count(), opening.column)

    def count(self) -> Count:
        allowed = "A count is an integer of 0 or more, or N, M or K."
        if self.kind not in ("number", "name"):
            raise self.error(f"a count is missing after *. {allowed}")
        token = self.take()
        text = token.text.lower()
        if text not in _COUNTS and not (token.kind == "number" and text.isdigit()):
            raise self.error(f"{token.text} is no count. {allowed}", token)
        if self.kind in ("*", "number") or self.token.text.lower() in _COUNTS:
            raise self.error("counts cannot be multiplied. Nest the groups instead: [[ ... ]*2]*N.")
        return _COUNTS[text] if text in _COUNTS else int(self.number(token))

    def layer(self) -> Layer:
        token = self.take()
        kind, activation = token.text.upper(), None
        if kind not in _ARGUMENTS:
            activation = token.text.lower()
            kind = "ACT"
            if activation not in self.activations:
                raise self.error(self.unknown(token), token)
        if kind == "INPUT" and self.position > 1:
            raise self.error("INPUT stands only at the start.", token)
        optional = self.mark(kind)
        args = self.arguments(kind, token) if self.kind == "(" else ()
        optional = optional or self.mark(kind)
        return Layer(kind, args, activation, 0, optional, token.column)

    def mark(self, kind: str) -> bool:
        if self.kind != "?":
            return False
        if kind not in _OPTIONAL:
            raise self.error(_STRAY["?"])
        self.take()
        return True

    def arguments(self, kind: str, layer: _Token) -> tuple[tuple[str, Value], ...]:
        if not _ARGUMENTS[kind]:
            raise self.error(f"{layer.text.upper()} takes no arguments.")
        opening = self.take()
        given: dict[str, Value] = {}
        while self.kind != ")" or given:
            name = self.argument_name(kind, given)
            given[name] = self.argument_value(kind, name, opening)
            if self.kind == ")":
                break
            if self.kind in ("->", "]", "end"):
                raise self.error("( is not closed. Add ).", opening)
            if self.kind != ",":
                raise self.error(f"a comma or ) is missing before {self.token.text}.")
            self.take()
        self.take()
        return tuple((name, given[name]) for name in _ARGUMENTS[kind] if name in given)

    def argument_name(self, kind: str, given: Mapping[str, Value]) -> str:
        """Take `name=` where it stands; the first argument can do without."""
        token, known, aliases = self.token, _ARGUMENTS[kind], _ALIASES.get(kind, {})
        first = next(iter(known))
        if self.kind != "name" or self.tokens[self.position + 1].kind != "=":
            if given and self.kind in ("name", "number", "("):
                raise self.error(
                    f"only the first argument of {kind}, {first}, can stand without a name. Name this one."
                )
            return first
        name = aliases.get(token.text.lower(), token.text.lower())
        if name not in known:
            near = _near(name, [*known, *aliases], otherwise=f"{kind} takes {', '.join(known)}.")
            raise self.error(f"{kind} has no argument {token.text}. {near}")
        if name in given:
            raise self.error(f"{name} is given twice.")
        self.take()
        self.take()
        return name

    def argument_value(self, kind: str, name: str, opening: _Token) -> Value:
        token = self.token
        value = self.value(opening)
        wanted = _ARGUMENTS[kind][name]
        if not wanted.holds(value):
            raise self.error(f"{name} of {kind} takes {wanted.words}, not {_render_value(value)}.", token)
        return value

    def value(self, opening: _Token) -> Value:
        if self.kind == "number":
            return self.number(self.take())
        if self.kind == "name":
            word = self.take().text.lower()
            return _WORDS.get(word, word)
        if self.kind == "(":
            return self.pair()
        if self.kind in ("->", "]", "end"):
            raise self.error("( is not closed. Add ).", opening)
        raise self.error("a value is missing here: a number, a word, or a pair such as (3, 5).")

    def pair(self) -> tuple[int, int]:
        self.take()
        values: list[int] = []
        for separator in (",", ")"):
            token = self.token
            value = self.number(self.take()) if self.kind == "number" else None
            if not isinstance(value, int):
                raise self.error("a pair is two integers, such as (3, 5).", token)
            if self.kind != separator:
                raise self.error(f"{separator} is missing here: a pair is two integers, such as (3, 5).")
            values.append(value)
            self.take()
        return values[0], values[1]

    def number(self, token: _Token) -> int | float:
        if len(token.text) > _MAX_NUMBER or abs(float(token.text)) == float("inf"):
            raise self.error("this number is too large.", token)
        return int(token.text) if token.text.lstrip("-").isdigit() else float(token.text)

    def stray(self) -> str:
        """Say what is wrong with a token that stands where an arrow or the end should."""
        if self.kind in ("name", "["):
            return f"-> is missing before {self.token.text}."
        if self.kind == "number":
            return f"{self.token.text} stands alone. Arguments go in parentheses: CONV({self.token.text})."
        return _STRAY.get(self.kind, f"{self.token.text} stands only between the parentheses of a layer.")

    def unknown(self, token: _Token) -> str:
        names = [*_ARGUMENTS, *sorted(name.upper() for name in self.activations)]
        near = _near(token.text.upper(), names, otherwise=f"Known are {', '.join(names)}.")
        return f"unknown layer {token.text}. {near}"


def _tokens(text: str) -> Iterator[_Token]:
    end = len(text.rstrip())
    for match in _TOKEN.finditer(text, 0, end):
        kind = match.lastgroup or ""
        word, column = match[kind], match.start(kind)
        if kind == "bad":
            raise error_at(text, column, f"{word!r} means nothing here. Layers are joined by ->, groups are [ ... ]*2.")
        yield _Token(kind if kind in ("name", "number") else "->" if kind == "arrow" else word, word, column)
    yield _Token("end", "", end)


def _near(name: str, names: Sequence[str], *, otherwise: str) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]}?" if near else otherwise


def _render_layer(layer: Layer) -> str:
    name = (layer.activation or layer.kind).upper() + "?" * layer.optional
    first = next(iter(_ARGUMENTS[layer.kind]), None)
    args = [
        ("" if name == first else f"{'kernel' if name == 'kernel_size' else name}=") + _render_value(value)
        for name, value in layer.args
    ]
    return f"{name}({', '.join(args)})" if args else name


def _render_value(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
