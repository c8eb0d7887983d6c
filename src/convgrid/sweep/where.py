"""The predicate of `sweep.where`: arithmetic and comparisons over config keys and the plan's quantities.

Python's parser reads it, but nothing of it is run as Python: only the nodes below mean anything.
"""

import ast
import functools
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from convgrid.config import nearest_key
from convgrid.errors import ConfigError

Lookup = Callable[[str], Any]  # of a name; None where this point has no such key
Compiled = Callable[[Lookup], Any]
Number = int | float

MAX_WHERE_LENGTH = 1000
MOST_DEPTH = 50
MOST_BITS = 1024  # of a power; 2**10**10 would fill the memory
MOST_DIGITS = 100

WHITE = re.compile(r"\s")
WORDS = {"true": True, "false": False, "null": None}
ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
COMPARISONS: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {"abs": abs, "len": len, "max": max, "min": min, "round": round}
MEANT = f"Use keys, numbers, texts, lists, + - * / // % **, < <= == != in, and or not, {' '.join(FUNCTIONS)}."


@dataclass(frozen=True)
class Where:
    """A predicate that reads.

    Args:
        compiled: Its value for a point.
    """

    text: str
    compiled: Compiled

    def holds(self, lookup: Lookup) -> bool:
        """Evaluate the predicate.

        A key that a point does not have is null; arithmetic with null is null, and null is not less or more than
        anything.

        Args:
            lookup: The value of a name; None where the point has no such key.

        Returns:
            Whether the point is kept.

        Raises:
            ConfigError: If a value has a type that does not fit, or the predicate is neither true nor false.
        """
        value = self.compiled(lookup)
        if value is not None and not isinstance(value, bool):
            raise ConfigError(f"sweep.where: {self.text} is {value!r}, but must be true or false. Compare it: > 0.")
        return bool(value)


def parse_where(text: str, known: Collection[str], groups: Collection[str] = ()) -> Where:
    """Read a predicate.

    Args:
        text: Such as "params < 2e6 and arch.n * arch.m <= 6".
        known: Names that it may use: dotted keys, groups with dots, quantities of the plan.
        groups: Config groups, of which "layer/pool" may be written for "layer.pool".

    Returns:
        The predicate.

    Raises:
        ConfigError: If it cannot be parsed, with a caret under the column.

    Example:
        >>> names = ["arch.n", "arch.m", "optimizer"]
        >>> where = parse_where("arch.n * arch.m <= 6 and optimizer in ['sgd', 'adam']", names)
        >>> where.holds({"arch.n": 2, "arch.m": 3, "optimizer": "sgd"}.get)
        True
    """
    return Where(text, _Reader(text, known, groups).compiled())


def holds(text: str, names: Mapping[str, Any]) -> bool:
    """Evaluate a predicate once.

    Args:
        names: All that it may use, by name.

    Returns:
        Whether it is true.

    Raises:
        ConfigError: If it cannot be parsed, or a value does not fit.

    Example:
        >>> holds("arch.k > 0", {"arch.k": 0})
        False
    """
    return parse_where(text, names).holds(names.get)


class _Reader:
    """From Python's syntax tree to nested functions, refusing all that is not in the tables above."""

    def __init__(self, text: str, known: Collection[str], groups: Collection[str]) -> None:
        self.text, self.known = text, known
        self.words = WHITE.sub(" ", text)
        for group in sorted((name for name in groups if "/" in name), key=len, reverse=True):
            self.words = self.words.replace(group, group.replace("/", "."))  # as long, so columns stay

    def compiled(self) -> Compiled:
        if len(self.text) > MAX_WHERE_LENGTH:
            raise ConfigError(f"sweep.where is longer than {MAX_WHERE_LENGTH} characters.")
        start = len(self.words) - len(self.words.lstrip())  # Python would take it for an indent
        try:
            return self._compile(ast.parse(self.words[start:], mode="eval").body)
        except SyntaxError as error:
            column = start + (error.offset or len(self.words) - start + 1) - 1  # 0: at the end
            raise self._error(column, _hint(self.words)) from None
        except (ValueError, MemoryError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError("sweep.where cannot be parsed: it is nested too deeply.") from None

    def _compile(self, node: ast.expr, depth: int = 0) -> Compiled:
        if depth > MOST_DEPTH:
            raise self._at(node, f"this is nested more than {MOST_DEPTH} deep.")
        inside = functools.partial(self._compile, depth=depth + 1)
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return lambda _: value
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                parts = [inside(item) for item in items]
                return lambda lookup: [part(lookup) for part in parts]
            case ast.BoolOp(op=op, values=items):
                return self._logic(isinstance(op, ast.And), [inside(item) for item in items])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = inside(operand)
                return lambda lookup: not inner(lookup)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                sign = operator.neg if isinstance(op, ast.USub) else operator.pos
                return self._numbers(node, sign, [inside(operand)])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                inner = [inside(left), inside(right)]
                return self._numbers(node, _power if isinstance(op, ast.Pow) else ARITHMETIC[type(op)], inner)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in COMPARISONS for op in ops):
                return self._comparison(node, [type(op) for op in ops], [inside(n) for n in (left, *others)])
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS and args:
                return self._call(node, name, [inside(arg) for arg in args])
        raise self._at(node, f"this is not allowed here. {MEANT}")

    def _name(self, node: ast.expr) -> Compiled:
        name = ast.unparse(node)
        if name in WORDS:
            word = WORDS[name]
            return lambda _: word
        if not re.fullmatch(r"\w+(\.\w+)*", name):
            raise self._at(node, "this is not allowed here: a key is letters and dots, such as arch.n.")
        if name not in self.known:
            quotes = "" if "." in name else f' A text needs quotes: "{name}".'
            hint = nearest_key(name, self.known) + quotes
            raise self._at(node, f"{name} is neither a key nor a quantity of the plan.{hint}")
        return lambda lookup: lookup(name)

    def _logic(self, every: bool, parts: list[Compiled]) -> Compiled:
        if every:
            return lambda lookup: all(part(lookup) for part in parts)
        return lambda lookup: any(part(lookup) for part in parts)

    def _numbers(self, node: ast.expr, function: Callable[..., Any], parts: list[Compiled]) -> Compiled:
        def compute(lookup: Lookup) -> Any:
            values = [part(lookup) for part in parts]
            if None in values:
                return None
            wrong = [value for value in values if not isinstance(value, Number)]
            if wrong:
                raise self._at(node, f"this calculates with {wrong[0]!r}, which is not a number.")
            try:
                return function(*values)
            except ArithmeticError as error:
                raise self._at(node, f"this cannot be calculated: {error}.") from None

        return compute

    def _comparison(self, node: ast.expr, ops: list[type], parts: list[Compiled]) -> Compiled:
        def compare(lookup: Lookup) -> bool:
            left = parts[0](lookup)
            for op, part in zip(ops, parts[1:], strict=True):
                right = part(lookup)
                if not self._compared(node, op, left, right):
                    return False
                left = right
            return True

        return compare

    def _compared(self, node: ast.expr, op: type, left: Any, right: Any) -> bool:
        if op not in (ast.Eq, ast.NotEq) and (right is None or (left is None and op not in (ast.In, ast.NotIn))):
            return op is ast.NotIn
        try:
            return COMPARISONS[op](left, right)
        except TypeError:
            raise self._at(node, f"this compares {left!r} with {right!r}.") from None

    def _call(self, node: ast.expr, name: str, parts: list[Compiled]) -> Compiled:
        def call(lookup: Lookup) -> Any:
            values = [part(lookup) for part in parts]
            if None in values:
                return None
            if (
                name == "round"
                and len(values) > 1
                and not (isinstance(values[1], int) and abs(values[1]) < MOST_DIGITS)
            ):
                raise self._at(node, f"round takes up to {MOST_DIGITS} digits.")
            try:
                return FUNCTIONS[name](*values)
            except (TypeError, ValueError, ArithmeticError) as error:
                raise self._at(node, f"{name} cannot be evaluated: {error}.") from None

        return call

    def _at(self, node: ast.expr, message: str) -> ConfigError:
        words = self.words.lstrip()
        before = len(self.words) - len(words) + len(words.encode()[: node.col_offset].decode())
        return self._error(before, message)

    def _error(self, column: int, message: str) -> ConfigError:
        return ConfigError(f"sweep.where: {message}\n  {WHITE.sub(' ', self.text)}\n  {' ' * column}^")


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > MOST_BITS:
        raise OverflowError("the power is too large")
    result = base**exponent
    if isinstance(result, complex):
        raise ArithmeticError("the root of a negative number")
    return result


def _hint(text: str) -> str:
    if re.search(r"(?<![=<>!])=(?!=)", text):
        return "this cannot be parsed. Compare with ==."
    if re.search(r"&&|\|\||!(?!=)", text):
        return "this cannot be parsed. Write and, or, not."
    return "this cannot be parsed."
