"""Definitions and joins in the language: what they stand for, and where the caret stands when they cannot be parsed."""

import random

import pytest

from convgrid.errors import PatternError
from convgrid.network.pattern import MAX_LAYERS, Group, Join, Layer, Node, Pattern, parse, render
from networks import ACTIVATIONS, Random

RELU = Layer("ACT", activation="relu")


def read(text: str) -> Pattern:
    return parse(text, activations=ACTIVATIONS)


def nodes(text: str) -> tuple[Node, ...]:
    return read(f"INPUT -> {text} -> FC").nodes[:-1]


def written_out(text: str, n: int = 1, m: int = 1, k: int = 1, absent: tuple[str, ...] = ()) -> str:
    return render(read(text).expand(n=n, m=m, k=k, absent=absent))


def conv(filters: int) -> Layer:
    return Layer("CONV", (("filters", filters),))


# Joins.


def test_a_join_holds_its_paths_in_their_order():
    assert nodes("SUM[CONV(8) -> RELU | SKIP]") == (Join("SUM", ((conv(8), RELU), (Layer("SKIP"),))),)
    assert nodes("concat [ conv(8)|relu | skip ]") == (Join("CONCAT", ((conv(8),), (RELU,), (Layer("SKIP"),))),)


def test_joins_groups_and_joins_hold_each_other():
    inner = Join("MUL", ((Layer("SKIP"),), (Layer("GAP"),)))
    expected = Group((Join("SUM", ((Group((inner, RELU), "m"),), (Layer("SKIP", (("how", "pad"),)),))),), "n")
    assert nodes("[SUM[[MUL[SKIP | GAP] -> RELU]*M | SKIP(pad)]]*N") == (expected,)


def test_counts_and_optional_layers_work_inside_joins():
    text = "INPUT -> [SUM[[CONV -> NORM? -> ACT]*N -> DROPOUT? | POOL?]]*M -> FC"
    assert read(text).counts == {"n", "m"}
    twice = "SUM[CONV -> ACT -> CONV -> ACT | POOL]"
    assert written_out(text, n=2, m=2, absent=("NORM", "DROPOUT")) == f"INPUT -> {twice} -> {twice} -> FC"


def test_a_path_that_nothing_is_left_of_is_a_skip():
    assert (
        written_out("INPUT -> SUM[[CONV]*N | NORM?] -> FC", n=0, absent=("NORM",)) == "INPUT -> SUM[SKIP | SKIP] -> FC"
    )


def test_the_stages_count_the_convs_of_joins():
    pattern = read("INPUT -> [SUM[CONV -> [CONV]*2 | SKIP] -> POOL]*2 -> [RELU]*2 -> CONCAT[CONV | SKIP] -> FC")
    stages: list[int] = []
    for step in pattern.expand(n=1, m=1, k=1):
        if isinstance(step, Join):
            stages += [layer.stage for layer in step.steps[0] if isinstance(layer, Layer)]
    assert stages == [0, 0, 0, 1, 1, 1, 2]


def test_layers_in_joins_count_towards_the_most():
    half = MAX_LAYERS // 2
    fits = f"INPUT -> SUM[[RELU]*{half - 1} | [RELU]*{half - 1}] -> FC"
    (join, output) = read(fits).expand(n=1, m=1, k=1)
    assert isinstance(join, Join)
    assert [len(path) for path in join.paths] == [half - 1, half - 1]
    assert output == Layer("FC")
    with pytest.raises(PatternError, match="expands to more than 10000 layers"):
        read(f"INPUT -> SUM[[RELU]*{half} | [RELU]*{half}] -> FC").expand(n=1, m=1, k=1)
    with pytest.raises(PatternError, match="expands to more than 10000 layers"):
        read("INPUT -> [SUM[[RELU]*99 | SKIP]]*100 -> FC").expand(n=1, m=1, k=1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SUM[CONV -> NORM | SKIP]", True),
        ("SUM[SKIP(pad) | [CONV -> NORM?]*N -> DROPOUT?]", True),
        ("[CONCAT[CONV | SUM[CONV -> NORM | SKIP] -> RELU]]*M", True),
        ("SUM[CONV -> NORM -> RELU | SKIP]", False),
        ("SUM[CONV -> NORM | CONV -> NORM]", False),
        ("CONCAT[CONV -> NORM | SKIP] -> NORM", False),
    ],
)
def test_a_pattern_knows_whether_a_norm_ends_a_residual_path(text: str, found: bool):
    assert read(f"INPUT -> {text} -> FC").has_residual_norm == found


# Definitions.


def test_a_definition_stands_for_its_elements_with_the_values_in_their_places():
    text = "block(c, s) = CONV(c, stride=s) -> RELU;\n INPUT -> block(8, 1) -> Block(16, (2, 3)) -> FC"
    assert written_out(text) == "INPUT -> CONV(8, stride=1) -> RELU -> CONV(16, stride=(2, 3)) -> RELU -> FC"


def test_a_value_may_be_a_number_a_word_a_pair_an_activation_or_a_count():
    text = (
        "b(c, pad, act, r) = [CONV(c, padding=pad) -> act]*r; INPUT -> b(x2, valid, tanh, 2) -> b(4, 1, ACT, k) -> FC"
    )
    twice = "CONV(x2, padding=valid) -> TANH"
    assert written_out(text, k=1) == f"INPUT -> {twice} -> {twice} -> CONV(4, padding=1) -> ACT -> FC"


def test_a_definition_may_use_those_before_it():
    text = """
        cbr(c, k) = CONV(c, kernel=k) -> NORM -> RELU;
        two(c) = CONCAT[cbr(c, 1) | cbr(c, 3) | SKIP];
        four = [two(8)]*2;
        INPUT -> four -> GAP -> FC"""
    one = "CONCAT[CONV(8, kernel=1) -> NORM -> RELU | CONV(8, kernel=3) -> NORM -> RELU | SKIP]"
    assert written_out(text) == f"INPUT -> {one} -> {one} -> GAP -> FC"


def test_the_name_of_an_argument_is_never_replaced():
    text = "b(kernel, stride) = CONV(kernel=kernel, stride=stride); INPUT -> b(5, 2) -> FC"
    assert written_out(text) == "INPUT -> CONV(kernel=5, stride=2) -> FC"


def test_a_definition_outside_groups_takes_the_current_stage():
    text = "a = CONV -> CONV; INPUT -> [a]*2 -> a -> FC"
    assert [step.stage for step in read(text).expand(n=1, m=1, k=1) if isinstance(step, Layer)][:-1] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_definitions_that_double_and_double_end_in_a_mistake_and_not_in_memory():
    doubles = "".join(f"b{i} = {' -> '.join([f'b{i - 1}'] * 9)};\n" for i in range(1, 19))
    with pytest.raises(PatternError, match="have more than 10000 layers"):
        read(f"b0 = RELU;\n{doubles}INPUT -> b18 -> FC")


# Mistakes. The caret is written into each text as ^, in front of the character it points at.

TWO_PATHS = "SUM joins two paths or more: SUM[CONV -> RELU | SKIP]."
IN_BRACKETS = "{} joins paths in brackets: {}[CONV -> RELU | SKIP]."
PATH = "a path is missing here. Write SKIP where the input goes on as it is."
OUTSIDE = "SKIP stands only as a path of a join: SUM[CONV -> RELU | SKIP]."
ALONE = "SKIP is a path by itself. Remove it here, or what follows it."
BAR = "| stands only between the paths of a join: SUM[CONV | SKIP]."
MIXED = (
    "{} joins a volume with the vector that {} leaves in another path. "
    "End every path in a volume or every path in a vector; MUL scales a volume by a vector."
)
VECTOR = "CONV needs a volume, but an earlier {} leaves a vector. After FC or GAP come only FC, ACT, NORM and DROPOUT."


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        # joins
        ("INPUT -> ^SUM -> FC", IN_BRACKETS.format("SUM", "SUM")),
        ("INPUT -> ^concat(3) -> FC", IN_BRACKETS.format("CONCAT", "CONCAT")),
        ("INPUT -> ^SUM[CONV] -> FC", TWO_PATHS),
        ("INPUT -> SUM[^] -> FC", PATH),
        ("INPUT -> SUM[CONV | ^] -> FC", PATH),
        ("INPUT -> SUM[CONV ^CONV | SKIP] -> FC", "-> is missing before CONV."),
        ("INPUT -> SUM[CONV -> ^| SKIP] -> FC", "a layer is missing after ->. Name one, or remove the arrow."),
        ("INPUT -> SUM^[CONV | SKIP", "[ is not closed. Add ]."),
        ("INPUT -> SUM[CONV^; SKIP] -> FC", "; stands only at the end of a definition, before INPUT."),
        ("INPUT -> CONV ^| CONV -> FC", BAR),
        ("INPUT -> [CONV ^| CONV]*2 -> FC", BAR),
        ("INPUT -> SUM[CONV^(8 | SKIP] -> FC", "( is not closed. Add )."),
        ("INPUT -> SUM[CONV | SKIP]^*2 -> FC", "* stands only after a group: [ ... ]*2."),
        ("INPUT -> ^SUM[CONV | SKIP]", "a pattern ends in FC, the output layer, outside any group. Add -> FC."),
        ("INPUT -> SUM[^INPUT | SKIP] -> FC", "INPUT stands only at the start."),
        # SKIP
        ("INPUT -> ^SKIP -> FC", OUTSIDE),
        ("INPUT -> SUM[CONV -> ^SKIP | CONV] -> FC", OUTSIDE),
        ("INPUT -> SUM[[^SKIP]*2 | CONV] -> FC", OUTSIDE),
        ("a = ^SKIP; INPUT -> SUM[CONV | a] -> FC", OUTSIDE),
        ("INPUT -> SUM[CONV | ^SKIP -> CONV] -> FC", ALONE),
        ("INPUT -> CONCAT[CONV | ^SKIP(pad)] -> FC", "SKIP(pad) stands only in a SUM. In CONCAT, write SKIP."),
        ("INPUT -> SUM[CONV | SKIP(^crop)] -> FC", "how of SKIP takes pad, not crop."),
        # volumes and vectors
        ("INPUT -> ^SUM[FC | SKIP] -> FC", MIXED.format("SUM", "FC")),
        ("INPUT -> ^CONCAT[CONV | GAP] -> FC", MIXED.format("CONCAT", "GAP")),
        ("INPUT -> SUM[FC -> ^CONV | SKIP] -> FC", VECTOR.format("FC")),
        ("INPUT -> SUM[FC(9) | GAP -> FC(9)] -> ^CONV -> FC", VECTOR.format("FC")),
        ("INPUT -> GAP -> SUM[^CONV | SKIP] -> FC", VECTOR.format("GAP")),
        # definitions
        ("a = ^a -> CONV; INPUT -> a -> FC", "a names itself. A definition uses only those before it."),
        ("a = ^b; b = CONV; INPUT -> a -> b -> FC", "b is defined only further on. Put its definition first."),
        ("^a = CONV; INPUT -> FC", "a is defined, but never used. Use it, or remove its definition."),
        ("^a = RELU; b = a; INPUT -> FC", "a is defined, but never used. Use it, or remove its definition."),
        ("a = CONV; ^A = RELU; INPUT -> a -> FC", "A is defined twice. Give one of them another name."),
        ("^relu = CONV; INPUT -> FC", "relu is the name of a layer already. Give the definition another name."),
        ("^Sum(a) = CONV; INPUT -> FC", "Sum is the name of a layer already. Give the definition another name."),
        ("a = CONV ^INPUT -> a -> FC", "; is missing here, at the end of a's definition."),
        ("a = CONV^", "; is missing here, at the end of a's definition."),
        ("^a = ; INPUT -> a -> FC", "a is empty. Put a layer into it, or remove its definition."),
        ("a = CONV ->^; INPUT -> a -> FC", "a layer is missing after ->. Name one, or remove the arrow."),
        ("a = CONV^]; INPUT -> a -> FC", "] closes no group: no [ is open."),
        ("a(^) = CONV; INPUT -> a -> FC", "the name of a parameter is missing here, as in block(filters, size) = ..."),
        ("a(c, ^c) = CONV; INPUT -> a(1) -> FC", "c is a parameter twice. Give one of them another name."),
        ("a(c ^d) = CONV; INPUT -> a(1) -> FC", "a comma or ) is missing here."),
        ("a(c) = CONV(c); INPUT -> ^a -> FC", "a takes 1 value, (c), not 0."),
        ("a(c, s) = CONV(c); INPUT -> ^a(8) -> FC", "a takes 2 values, (c, s), not 1."),
        ("a(c) = CONV(c); INPUT -> ^a(8, 9) -> FC", "a takes 1 value, (c), not 2."),
        ("a = CONV; INPUT -> ^a(8) -> FC", "a takes no values, not 1."),
        ("a(c) = CONV(c); INPUT -> ^a() -> FC", "a takes 1 value, (c), not 0."),
        ("a(c) = CONV(c); INPUT -> a(8, ^) -> FC",
         "a value is missing here: a number, a word, or a pair such as (3, 5)."),
        ("a(c) = CONV(c); INPUT -> a(8 ^9) -> FC", "a comma or ) is missing before 9."),
        ("a(c) = CONV(c); INPUT -> a^(8 -> FC", "( is not closed. Add )."),
        ("a(c) = CONV(c); INPUT -> a(^many) -> FC",
         "filters of CONV takes an integer, or x6 for six times its input's channels, not many."),
        ("block = CONV; INPUT -> block -> ^blok -> FC", "unknown layer blok. Did you mean block?"),
        ("^a -> INPUT", "a pattern starts with INPUT, outside any group: INPUT -> FC is the shortest."),
        ("INPUT -> FC^;", "; stands only at the end of a definition, before INPUT."),
    ],
)  # fmt: skip
def test_a_mistake_has_its_own_message_and_a_caret_under_the_column(marked: str, message: str):
    text, caret = marked.replace("^", "", 1), marked.index("^")
    with pytest.raises(PatternError) as caught:
        read(text).expand(n=1, m=1, k=1)
    assert str(caught.value) == f"arch.pattern: {message}\n  {text}\n  {' ' * caret}^"


def test_a_mistake_in_a_definition_shows_its_line_and_one_in_a_value_the_line_that_gives_it():
    lines = ["b(c) = CONV(c) -> NROM;", "INPUT -> b(8) -> FC"]
    with pytest.raises(PatternError) as caught:
        read("\n".join(lines))
    assert str(caught.value).splitlines()[1:] == [f"  {lines[0]}", " " * (2 + lines[0].index("NROM")) + "^"]
    lines = ["b(c) = CONV(c);", "INPUT -> b(same) -> FC"]
    with pytest.raises(PatternError) as caught:
        read("\n".join(lines))
    assert str(caught.value).splitlines()[1:] == [f"  {lines[1]}", " " * (2 + lines[1].index("same")) + "^"]


PIECES = [
    *"|;=[](),",
    " -> ",
    "]*2",
    "SUM",
    "CONCAT[",
    "SKIP",
    "SKIP(pad)",
    "a",
    "a(8)",
    "INPUT",
    "\n",
    "FC",
    "CONV(x2)",
]


def test_a_damaged_pattern_only_ever_raises_a_pattern_error_with_its_caret_in_the_line():
    draws = random.Random(0)
    raised = 0
    for seed in range(300):
        text = Random(random.Random(seed)).pattern()
        at = draws.randrange(len(text))
        damaged = text[:at] + draws.choice(PIECES) + text[at + draws.randrange(6) :]
        try:
            read(damaged).expand(n=1, m=1, k=1)
        except PatternError as error:
            raised += 1
            message, line, caret = str(error).split("\n")
            assert message.startswith("arch.pattern: ")
            assert line[2:] in damaged.split("\n")
            assert 2 <= caret.index("^") <= len(line)
    assert raised > 100
