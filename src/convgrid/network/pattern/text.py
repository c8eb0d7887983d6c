"""A pattern's text becomes a syntax tree."""

import difflib
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence

from convgrid.errors import PatternError
from convgrid.network.pattern.arguments import ALIASES, ARGUMENTS, JOINS, OPTIONAL
from convgrid.network.pattern.blocks import Block, Book
from convgrid.network.pattern.caret import HEAD, error_at
from convgrid.network.pattern.render import render_layer, render_value
from convgrid.network.pattern.tokens import Token, tokens
from convgrid.network.pattern.tree import MAX_LAYERS, Count, Group, Join, Layer, Node, Pattern, Value, before_head

MAX_DEPTH = 20


def parse(text: str, *, activations: Collection[str], head: str | None = None) -> Pattern:
    """Read a pattern.

    Args:
        text: The pattern, such as "INPUT -> CONV(6, kernel=5) -> RELU -> FC".
        activations: The lower-case names of the known activations.
        head: What stands in place of the layers from the first FC outside of joins on, such as "[FC -> ACT]*K -> FC";
            None leaves them.

    Returns:
        The syntax tree.

    Raises:
        PatternError: If the text is not a pattern; the message shows the line and a caret under the mistake.

    Example:
        >>> parse("INPUT -> [CONV(8) -> RELU]*N -> FC", activations=["relu"]).layers[0].args
        (('filters', 8),)
    """
    return _parsed(text, None if head is None else " ".join(head.split()), frozenset(activations))


@functools.lru_cache(maxsize=64)  # the many points of a sweep share a few patterns
def _parsed(text: str, head: str | None, activations: frozenset[str]) -> Pattern:
    parser = _Parser(text, activations, list(tokens(text)), Book())
    nodes = parser.pattern()
    if head is None:
        return Pattern(text, nodes)
    body, whole = before_head(nodes), f"{text.rstrip()}\n{HEAD}{head}"
    behind = _Parser(whole, activations, list(tokens(whole, len(whole) - len(head))), parser.book).head()
    pattern = Pattern(whole, (*body, *behind), len(body))
    _check_counts(pattern)
    return pattern


def _check_counts(pattern: Pattern) -> None:
    """What the network counts before its head, the head must not count as well: its weights would no longer fit."""
    taken = Pattern(pattern.text, pattern.nodes[: pattern.head]).counts
    for node in pattern.nodes[pattern.head :]:
        for name in sorted(Pattern(pattern.text, (node,)).counts & taken):
            message = f"{name.upper()} repeats layers before the head already. Write a number instead of it."
            raise error_at(pattern.text, node.column, message)


_COUNTS: dict[str, Count] = {"n": "n", "m": "m", "k": "k"}
_WORDS: dict[str, bool] = {"true": True, "false": False}
_MAX_NUMBER = 25  # characters; the longest float that Python writes has 24

# What is wrong where an arrow or the end should stand, by token.
_STRAY = {
    "]": "] closes no group: no [ is open.",
    ")": ") closes nothing: no ( is open.",
    "(": "( stands only after the name of a layer, for its arguments. A group is written [ ... ]*2.",
    "*": "* stands only after a group: [ ... ]*2.",
    "?": f"? stands only after {', '.join(OPTIONAL[:-1])} or {OPTIONAL[-1]}, once.",
    "|": "| stands only between the paths of a join: SUM[CONV | SKIP].",
    ";": "; stands only at the end of a definition, before INPUT.",
}


class _Parser:
    """Recursive descent: one method for each rule of the grammar."""

    def __init__(
        self, text: str, activations: Collection[str], tokens: Sequence[Token], book: Book, block: Block | None = None
    ) -> None:
        self.text = text
        self.activations = activations
        self.tokens = tokens
        self.book = book
        self.inside = block  # the definition that is written out
        self.position = 0
        self.start = -1  # of INPUT
        self.kind = tokens[0].kind

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def take(self) -> Token:
        token = self.tokens[self.position]
        self.position += 1
        self.kind = self.tokens[self.position].kind
        return token

    def error(self, message: str, token: Token | None = None) -> PatternError:
        return error_at(self.text, (token or self.token).column, message)

    def pattern(self) -> tuple[Node, ...]:
        while self.is_definition():
            self.definition()
        if self.token.text.upper() != "INPUT":
            raise self.error("a pattern starts with INPUT, outside any group: INPUT -> FC is the shortest.")
        self.start = self.position
        nodes = self.elements(depth=0)
        if self.kind != "end":
            raise self.error(self.stray())
        self.check_output(nodes)
        for block in self.book.unused():
            name = block.name.text
            raise self.error(f"{name} is defined, but never used. Use it, or remove its definition.", block.name)
        return nodes[1:]

    def head(self) -> tuple[Node, ...]:
        """What stands behind the features; it begins without INPUT."""
        nodes = self.elements(depth=0)
        if self.kind != "end":
            raise self.error(self.stray())
        self.check_output(nodes)
        return nodes

    def is_definition(self) -> bool:
        """Whether `name =` or `name(...) =` stands here."""
        if self.kind != "name" or self.token.text.upper() == "INPUT":
            return False
        after = self.position + 1
        if self.tokens[after].kind == "(":
            while self.tokens[after].kind not in (")", "->", "end"):
                after += 1
            after += self.tokens[after].kind == ")"
        return self.tokens[after].kind == "="

    def definition(self) -> None:
        """Take `name(a, b) = element -> ...;`, which is parsed where it is used."""
        name = self.take()
        word = name.text.lower()
        if word.upper() in (*ARGUMENTS, *JOINS) or word in self.activations:
            raise self.error(f"{name.text} is the name of a layer already. Give the definition another name.", name)
        if word in self.book.blocks:
            raise self.error(f"{name.text} is defined twice. Give one of them another name.", name)
        parameters = self.parameters() if self.kind == "(" else ()
        self.take()
        body: list[Token] = []
        while self.kind != ";":
            if self.kind == "end" or self.token.text.upper() == "INPUT":
                raise self.error(f"; is missing here, at the end of {name.text}'s definition.")
            body.append(self.take())
        if not body:
            raise self.error(f"{name.text} is empty. Put a layer into it, or remove its definition.", name)
        end = Token("end", "", self.take().column)
        self.book.blocks[word] = Block(name, parameters, (*body, end), dict(self.book.blocks))

    def parameters(self) -> tuple[str, ...]:
        self.take()
        names: list[str] = []
        while True:
            if self.kind != "name":
                raise self.error("the name of a parameter is missing here, as in block(filters, size) = ...")
            if self.token.text.lower() in names:
                raise self.error(f"{self.token.text} is a parameter twice. Give one of them another name.")
            names.append(self.take().text.lower())
            if self.kind not in (",", ")"):
                raise self.error("a comma or ) is missing here.")
            if self.take().kind == ")":
                return tuple(names)

    def block(self, block: Block, depth: int) -> tuple[Node, ...]:
        """Write a definition out where its name stands."""
        name = self.take()
        self.check_depth(depth, name)
        self.book.used.add(block.name.text.lower())
        values = self.values() if self.kind == "(" else []
        if len(values) != len(block.parameters):
            raise self.error(f"{name.text} takes {_listed(block.parameters)}, not {len(values)}.", name)
        parser = _Parser(self.text, self.activations, block.written_out(values), self.book, block)
        nodes = parser.elements(depth)
        if parser.kind != "end":
            raise parser.error(parser.stray())
        return nodes

    def values(self) -> list[Sequence[Token]]:
        """Take `(64, same, (3, 5))` as it stands: what it means is seen where it is put."""
        opening = self.take()
        values: list[Sequence[Token]] = []
        for _ in self.items(opening):
            start = self.position
            self.value(opening)
            values.append(self.tokens[start : self.position])
        return values

    def items(self, opening: Token) -> Iterator[None]:
        """Stop where each item starts, for the caller to take it, and take the commas and the ) behind them."""
        is_empty = self.kind == ")"
        while not is_empty:
            yield
            if self.kind == ")":
                break
            if self.kind in ("->", "]", "|", "end"):
                raise self.error("( is not closed. Add ).", opening)
            if self.kind != ",":
                raise self.error(f"a comma or ) is missing before {self.token.text}.")
            self.take()
        self.take()

    def check_output(self, nodes: Sequence[Node]) -> None:
        before, last = nodes[-2] if len(nodes) > 1 else None, nodes[-1]
        message = "a pattern ends in FC, the output layer, outside any group. Add -> FC."
        if isinstance(last, Layer) and last.kind == "FC":
            if not last.args:
                return
            message = "the last FC is the output layer: the data and the loss decide its width. Write FC, or add -> FC."
        elif isinstance(last, Layer) and last.kind == "ACT" and isinstance(before, Layer) and before.kind == "FC":
            name = render_layer(last)
            message = f"no activation follows the last FC: the loss supplies the link. Remove {name}, or add -> FC."
        raise error_at(self.text, last.column, message)

    def elements(self, depth: int) -> tuple[Node, ...]:
        nodes = [*self.element(depth)]
        while self.kind == "->":
            self.take()
            nodes += self.element(depth)
        return tuple(nodes)

    def element(self, depth: int) -> Sequence[Node]:
        """A layer, a group or a join; of a definition, all that it holds."""
        if self.kind == "name":
            if self.token.text.upper() in JOINS:
                return [self.join(depth + 1)]
            block = self.known_blocks().get(self.token.text.lower())
            return [self.layer()] if block is None else self.block(block, depth + 1)
        if self.kind == "[":
            return [self.group(depth + 1)]
        if self.kind in ("->", "]", "|", "end"):
            before = self.tokens[self.position - 1].text
            raise self.error(f"a layer is missing after {before}. Name one, or remove the arrow.")
        raise self.error(self.stray())

    def known_blocks(self) -> Mapping[str, Block]:
        return self.inside.earlier if self.inside else self.book.blocks

    def join(self, depth: int) -> Join:
        """`SUM[a | b]`."""
        name = self.take()
        kind = name.text.upper()
        self.check_depth(depth, name)
        if self.kind != "[":
            raise self.error(f"{kind} joins paths in brackets: {kind}[CONV -> RELU | SKIP].", name)
        opening = self.take()
        paths = [self.path(kind, depth)]
        while self.kind == "|":
            self.take()
            paths.append(self.path(kind, depth))
        if self.kind == "end":
            raise self.error("[ is not closed. Add ].", opening)
        if self.kind != "]":
            raise self.error(self.stray())
        self.take()
        if len(paths) < 2:
            raise self.error(f"{kind} joins two paths or more: {kind}[CONV -> RELU | SKIP].", name)
        return Join(kind, tuple(paths), name.column)

    def path(self, kind: str, depth: int) -> tuple[Node, ...]:
        if self.kind in ("|", "]"):
            raise self.error("a path is missing here. Write SKIP where the input goes on as it is.")
        if self.token.text.upper() != "SKIP":
            return self.elements(depth)
        token = self.take()
        args = self.arguments("SKIP", token) if self.kind == "(" else ()
        if args and kind != "SUM":
            raise self.error(f"SKIP(pad) stands only in a SUM. In {kind}, write SKIP.", token)
        if self.kind == "->":
            raise self.error("SKIP is a path by itself. Remove it here, or what follows it.", token)
        return (Layer("SKIP", args, column=token.column),)

    def check_depth(self, depth: int, token: Token) -> None:
        if depth > MAX_DEPTH:
            raise self.error(f"groups are nested more than {MAX_DEPTH} deep.", token)

    def group(self, depth: int) -> Group:
        opening = self.take()
        self.check_depth(depth, opening)
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
            raise self.error(f"{token.text} is not a count. {allowed}", token)
        if self.kind in ("*", "number") or self.token.text.lower() in _COUNTS:
            raise self.error("counts cannot be multiplied. Nest the groups instead: [[ ... ]*2]*N.")
        return _COUNTS[text] if text in _COUNTS else int(self.number(token))

    def layer(self) -> Layer:
        token = self.take()
        kind, activation = token.text.upper(), None
        if kind not in ARGUMENTS:
            activation = token.text.lower()
            kind = "ACT"
            if activation not in self.activations:
                raise self.error(self.unknown(token), token)
        if kind == "INPUT" and self.position != self.start + 1:
            raise self.error("INPUT stands only at the start.", token)
        if kind == "SKIP":
            raise self.error("SKIP stands only as a path of a join: SUM[CONV -> RELU | SKIP].", token)
        self.book.num_layers += 1
        if self.book.num_layers > MAX_LAYERS + 1:  # and INPUT
            raise self.error(f"written out, the definitions have more than {MAX_LAYERS} layers. Use fewer.", token)
        optional = self.mark(kind)
        args = self.arguments(kind, token) if self.kind == "(" else ()
        optional = optional or self.mark(kind)
        return Layer(kind, args, activation, 0, optional, token.column)

    def mark(self, kind: str) -> bool:
        if self.kind != "?":
            return False
        if kind not in OPTIONAL:
            raise self.error(_STRAY["?"])
        self.take()
        return True

    def arguments(self, kind: str, layer: Token) -> tuple[tuple[str, Value], ...]:
        if not ARGUMENTS[kind]:
            raise self.error(f"{layer.text.upper()} takes no arguments.")
        opening = self.take()
        given: dict[str, Value] = {}
        for _ in self.items(opening):
            name = self.argument_name(kind, given)
            given[name] = self.argument_value(kind, name, opening)
        return tuple((name, given[name]) for name in ARGUMENTS[kind] if name in given)

    def argument_name(self, kind: str, given: Mapping[str, Value]) -> str:
        """Take `name=` where it stands; the first argument can do without."""
        token, known, aliases = self.token, ARGUMENTS[kind], ALIASES.get(kind, {})
        first = next(iter(known))
        if self.kind != "name" or self.tokens[self.position + 1].kind != "=":
            if given and self.kind in ("name", "number", "("):
                raise self.error(
                    f"only the first argument of {kind}, {first}, can stand without a name. Name this one."
                )
            return first
        name = aliases.get(token.text.lower(), token.text.lower())
        if name not in known:
            near = _near(
                name, {word: word for word in (*known, *aliases)}, otherwise=f"{kind} takes {', '.join(known)}."
            )
            raise self.error(f"{kind} has no argument {token.text}. {near}")
        if name in given:
            raise self.error(f"{name} is given twice.")
        self.take()
        self.take()
        return name

    def argument_value(self, kind: str, name: str, opening: Token) -> Value:
        token = self.token
        value = self.value(opening)
        wanted = ARGUMENTS[kind][name]
        if not wanted.holds(value):
            raise self.error(f"{name} of {kind} takes {wanted.words}, not {render_value(value)}.", token)
        return value

    def value(self, opening: Token) -> Value:
        if self.kind == "number":
            return self.number(self.take())
        if self.kind == "name":
            word = self.take().text.lower()
            return _WORDS.get(word, word)
        if self.kind == "(":
            return self.pair()
        if self.kind in ("->", "]", "|", "end"):
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

    def number(self, token: Token) -> int | float:
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

    def unknown(self, token: Token) -> str:
        if self.inside and token.text.lower() == self.inside.name.text.lower():
            return f"{token.text} names itself. A definition uses only those before it."
        if token.text.lower() in self.book.blocks:
            return f"{token.text} is defined only further on. Put its definition first."
        blocks = [block.name.text for block in self.known_blocks().values()]
        names = {name.upper(): name for name in blocks}
        names |= {name: name for name in (*ARGUMENTS, *JOINS, *sorted(name.upper() for name in self.activations))}
        near = _near(token.text.upper(), names, otherwise=f"Known are {', '.join(names.values())}.")
        return f"unknown layer {token.text}. {near}"


def _near(name: str, names: Mapping[str, str], *, otherwise: str) -> str:
    """Suggest the value of the key that is nearest."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {names[near[0]]}?" if near else otherwise


def _listed(parameters: Sequence[str]) -> str:
    """What a definition takes, such as "2 values, (c, s)"."""
    if not parameters:
        return "no values"
    return f"{len(parameters)} value{'s' * (len(parameters) > 1)}, ({', '.join(parameters)})"
