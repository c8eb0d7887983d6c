"""The predicate of `sweep.where`: what holds, and what is told with a caret."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convgrid.errors import ConfigError
from convgrid.sweep.where import holds, parse_where

NAMES: dict[str, Any] = {
    "arch.n": 2,
    "arch.m": 3,
    "params": 1_500_000,
    "optimizer": "adam",
    "optimizer.lr": 0.001,
    "optimizer.momentum": None,  # adam has none
    "layer.pool": "max",
    "data.shape": [3, 32, 32],
    "dry_run": False,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params < 2e6 and arch.n * arch.m <= 6", True),
        ("params < 2e6 and arch.n * arch.m < 6", False),
        ("1 < arch.n <= arch.m < 4", True),
        ("1 < arch.n < arch.m < 3", False),
        ("arch.n in [1, 2] and arch.m not in (1, 2)", True),
        ("optimizer == 'adam' or arch.n > 9", True),
        ('optimizer in ["sgd", "nadam"]', False),
        ("'ada' in optimizer", True),
        ("layer/pool == 'max' and layer.pool != 'none'", True),
        ("not arch.n > arch.m", True),
        ("max(arch.n, arch.m, 1) - min(arch.n, 5) == 1", True),
        ("abs(arch.n - arch.m) == len([0]) == round(1.4)", True),
        ("round(optimizer.lr * 1234, 2) == 1.23", True),
        ("arch.m ** 2 % 4 == 1 and arch.m // 2 == 1 and arch.m / 2 == 1.5 and -arch.m < +1", True),
        ("len(data.shape) == 3 and data.shape == [3, 32, 32]", True),
        ("dry_run == false and dry_run != true and optimizer.momentum == null", True),
        ("not dry_run", True),
        ("  arch.n == 2\n  and arch.m == 3 ", True),
        # null: the point has no such key
        ("optimizer.momentum > 0", False),
        ("optimizer.momentum <= 0", False),
        ("optimizer.momentum * 2 + 1 > 0", False),
        ("max(optimizer.momentum, 1) > 0", False),
        ("optimizer.momentum == 0.9", False),
        ("optimizer.momentum != 0.9", True),
        ("optimizer.momentum in [0.9, null]", True),
        ("optimizer.momentum and arch.n == 2", False),
        ("0.9 in optimizer.momentum", False),
        ("0.9 not in optimizer.momentum", True),
        ("optimizer != 'sgd' or optimizer.momentum > 0", True),
        # what is to the right is not looked at
        ("arch.n == 2 or 1 / 0 > 0", True),
        ("arch.n == 1 and 1 / 0 > 0", False),
    ],
)
def test_a_predicate_holds_or_not(text: str, expected: bool) -> None:
    assert parse_where(text, NAMES, ["layer/pool"]).holds(NAMES.get) is expected


TOLD = {
    "arch.nn > 1": ("arch.nn is neither a key nor a quantity of the plan. Did you mean arch.n?", 0),
    "1 < arch.n < parms": (
        'parms is neither a key nor a quantity of the plan. Did you mean params? A text needs quotes: "parms".',
        13,
    ),
    "optimizer == sgd": ('sgd is neither a key nor a quantity of the plan. A text needs quotes: "sgd".', 13),
    "'ü' == optimizer.lrr": (
        "optimizer.lrr is neither a key nor a quantity of the plan. Did you mean optimizer.lr?",
        7,
    ),
    "arch.n = 2": ("this cannot be parsed. Compare with ==.", 7),
    "arch.n == 2 && arch.m == 3": ("this cannot be parsed. Write and, or, not.", 13),
    "arch.n <": ("this cannot be parsed.", 8),
    "arch.n + 'a' > 1": ("this calculates with 'a', which is not a number.", 0),
    "1 > 0 and 'a' * 9 > 1": ("this calculates with 'a', which is not a number.", 10),
    "optimizer < 3": ("this compares 'adam' with 3.", 0),
    "3 in arch.n": ("this compares 3 with 2.", 0),
    "1 / (arch.n - 2) > 1": ("this cannot be calculated: division by zero.", 0),
    "2 ** 10 ** 10 > 1": ("this cannot be calculated: the power is too large.", 0),
    "9.0 ** 999 > 1": ("this cannot be calculated: (34, 'Numerical result out of range').", 0),
    "(-8) ** 0.5 > 1": ("this cannot be calculated: the root of a negative number.", 0),
    "round(5, -10 ** 9) > 1": ("round takes up to 100 digits.", 0),
    "len(arch.n) > 1": ("len cannot be evaluated: object of type 'int' has no len().", 0),
}


@pytest.mark.parametrize("text", TOLD)
def test_a_mistake_is_told_with_a_caret(text: str) -> None:
    message, column = TOLD[text]
    with pytest.raises(ConfigError) as caught:
        holds(text, NAMES)
    assert str(caught.value).splitlines() == [f"sweep.where: {message}", f"  {text}", f"  {' ' * column}^"]


@pytest.mark.parametrize(
    "text",
    [
        "().__class__.__bases__",
        "optimizer.upper() == 'ADAM'",
        "open('/etc/passwd')",
        "__import__('os').system('true')",
        "eval('1')",
        "(lambda: 1)() == 1",
        "[x for x in [1]] == [1]",
        "{'a': 1} == 1",
        "f'{arch.n}' == '2'",
        "arch.n if true else arch.m",
        "(n := 1) == 1",
        "data.shape[0] == 3",
        "arch.n is 2",
        "arch.n & 1 == 0",
        "~arch.n == 0",
        "max(*[1], 2) == 2",
        "max(key=1) == 2",
        "max() == 1",
        "b'a' == b'a'",
        "... == 1",
        "1j == 1",
        "await x",
        "yield",
    ],
)
def test_what_is_more_than_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^sweep\.where: (this|max|open|eval|__import__)"):
        parse_where(text, NAMES)


@pytest.mark.parametrize(
    "text", ["(" * 900, "-" * 900 + "1 > 0", "not " * 200 + "true", "1+" * 400 + "1 > 0", "1" * 2000]
)
def test_what_is_too_deep_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^sweep\.where"):
        parse_where(text, NAMES)


def test_a_number_is_no_predicate() -> None:
    with pytest.raises(ConfigError, match=r"^sweep\.where: arch\.n \* 2 is 4, but must be true or false\."):
        holds("arch.n * 2", NAMES)


@given(st.text(alphabet="arch.nm<=!*+-/%()[]'\" 0123456789eandornotin,\n\t\\é", max_size=40))
def test_no_text_whatever_raises_anything_else(text: str) -> None:
    try:
        holds(text, NAMES)
    except ConfigError as error:
        assert str(error).startswith("sweep.where")  # noqa: PT017


NUMBERS = st.integers(-20, 20)


@given(NUMBERS, NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.sampled_from("+-*"))
def test_arithmetic_is_pythons(n: int, m: int, comparison: str, operation: str) -> None:
    expected = eval(f"n {operation} m {comparison} m - 3 * n")
    assert holds(f"n {operation} m {comparison} m - 3 * n", {"n": n, "m": m}) is expected
