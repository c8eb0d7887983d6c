"""The pattern language: what reads, what it expands to, and where the caret stands when it cannot be parsed."""

import itertools
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convgrid.errors import ConfigError, PatternError
from convgrid.network.pattern import (
    MAX_DEPTH,
    MAX_LAYERS,
    Group,
    Join,
    Layer,
    Node,
    Pattern,
    Step,
    error_at,
    parse,
    render,
)

ACTIVATIONS = frozenset(
    [
        "softmax",
        "elu",
        "selu",
        "softplus",
        "softsign",
        "relu",
        "tanh",
        "sigmoid",
        "hard_sigmoid",
        "exponential",
        "linear",
    ]
)
DEFAULT = "INPUT -> [[CONV -> NORM? -> ACT]*N -> POOL? -> DROPOUT?]*M -> [FC -> ACT -> DROPOUT?]*K -> FC"
CS231N = "INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC"


def read(text: str) -> Pattern:
    return parse(text, activations=ACTIVATIONS)


def expand(text: str, n: int = 1, m: int = 1, k: int = 1, absent: Collection[str] = ()) -> tuple[Layer, ...]:
    return chain_of(read(text).expand(n=n, m=m, k=k, absent=absent))


def chain_of(steps: Sequence[Step]) -> tuple[Layer, ...]:
    """The same, of a pattern without joins."""
    assert all(isinstance(step, Layer) for step in steps)
    return tuple(step for step in steps if isinstance(step, Layer))


def names(layers: Sequence[Layer]) -> str:
    return " ".join((layer.activation or layer.kind).upper() for layer in layers)


def refused(text: str, n: int = 1, m: int = 1, k: int = 1) -> str:
    with pytest.raises(PatternError) as caught:
        expand(text, n, m, k)
    return str(caught.value)


def args_of(layer: str) -> dict[str, object]:
    return dict(read(f"INPUT -> {layer} -> FC").layers[0].args)


# What reads, and what it expands to.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INPUT -> FC", "FC"),
        ("INPUT -> CONV -> RELU -> FC", "CONV RELU FC"),
        ("INPUT -> [CONV -> RELU -> POOL]*2 -> FC -> RELU -> FC", "CONV RELU POOL CONV RELU POOL FC RELU FC"),
        (
            "INPUT -> [CONV -> RELU -> CONV -> RELU -> POOL]*3 -> [FC -> RELU]*2 -> FC",
            "CONV RELU CONV RELU POOL CONV RELU CONV RELU POOL CONV RELU CONV RELU POOL FC RELU FC RELU FC",
        ),
    ],
)
def test_the_four_patterns_of_cs231n_read_word_for_word(text: str, expected: str):
    assert names(expand(text)) == expected
    assert read(text).counts == frozenset()


@pytest.mark.parametrize(("n", "m", "k"), list(itertools.product(range(4), repeat=3)))
@pytest.mark.parametrize("pool", ["present", "absent"])
def test_the_general_pattern_expands_for_every_n_m_k_down_to_0(n: int, m: int, k: int, pool: str):
    block = "CONV RELU " * n + "POOL " * (pool == "present")
    layers = expand(CS231N, n, m, k, () if pool == "present" else ("POOL",))
    assert names(layers) == block * m + "FC RELU " * k + "FC"


@pytest.mark.parametrize(("n", "m", "k"), list(itertools.product(range(3), repeat=3)))
@pytest.mark.parametrize(
    "absent", [(), ("NORM",), ("POOL",), ("DROPOUT",), ("NORM", "DROPOUT"), ("NORM", "POOL", "DROPOUT")]
)
def test_the_default_pattern_keeps_an_optional_layer_exactly_when_its_group_is_there(
    n: int, m: int, k: int, absent: tuple[str, ...]
):
    norm, pool, dropout = ("" if kind in absent else f"{kind} " for kind in ("NORM", "POOL", "DROPOUT"))
    expected = (f"CONV {norm}ACT " * n + pool + dropout) * m + f"FC ACT {dropout}" * k + "FC"
    assert names(expand(DEFAULT, n, m, k, absent)) == expected


def test_the_default_pattern_without_norm_and_dropout_is_the_one_of_cs231n():
    default = expand(DEFAULT, 2, 3, 1, absent=("NORM", "DROPOUT"))
    assert names(default).replace("ACT", "RELU") == names(expand(CS231N, 2, 3, 1))


def test_a_pattern_knows_which_counts_it_uses():
    assert read(DEFAULT).counts == {"n", "m", "k"}
    assert read("INPUT -> [[CONV]*2]*m -> FC").counts == {"m"}


def test_the_layers_of_a_pattern_are_those_written_with_groups_entered_once():
    written = read("INPUT -> [[CONV]*0 -> POOL?]*5 -> FC").layers
    assert [layer.kind for layer in written] == ["CONV", "POOL", "FC"]
    assert [layer.optional for layer in written] == [False, True, False]
    assert [layer.column for layer in written] == [11, 22, 34]


def test_groups_know_their_count_and_column():
    group = read("INPUT -> [CONV -> [RELU]*k]*3 -> FC").nodes[0]
    assert group == Group((Layer("CONV"), Group((Layer("ACT", activation="relu"),), "k")), 3)
    assert isinstance(group, Group)
    assert group.column == 9


def test_columns_do_not_count_in_equality():
    assert Layer("CONV", column=3) == Layer("CONV", column=9)
    assert Group((Layer("CONV"),), 2, column=3) == Group((Layer("CONV"),), 2, column=9)


@pytest.mark.parametrize(
    "text", ["input->[conv->Relu]*n->fc", "INPUT\n\t-> [ CONV\r\n-> RELU ] * N\n->FC\n", "INPUT→[CONV→RELU]*N→FC"]
)
def test_case_white_space_and_line_breaks_are_free(text: str):
    assert read(text).nodes == read("INPUT -> [CONV -> RELU]*N -> FC").nodes


def test_act_is_the_groups_choice_and_a_name_is_that_activation():
    act, named = read("INPUT -> ACT -> HARD_SIGMOID -> FC").layers[:2]
    assert (act.kind, act.activation) == ("ACT", None)
    assert (named.kind, named.activation) == ("ACT", "hard_sigmoid")


def test_layer_names_are_reserved_before_activations():
    assert parse("INPUT -> POOL -> FC", activations=["pool"]).layers[0] == Layer("POOL")


def test_an_activation_of_the_users_own_is_a_layer():
    assert parse("INPUT -> SQUAREPLUS -> FC", activations=["squareplus"]).layers[0].activation == "squareplus"


def test_gap_makes_the_vector_that_fc_act_norm_and_dropout_may_follow():
    assert names(expand("INPUT -> CONV -> GAP -> NORM -> RELU -> DROPOUT -> FC -> NORM? -> ACT -> FC")) == (
        "CONV GAP NORM RELU DROPOUT FC NORM ACT FC"
    )


def test_an_optional_layer_that_stays_is_required_in_the_expansion():
    assert [layer.optional for layer in expand("INPUT -> POOL? -> POOL?(3) -> FC")] == [False, False, False]


def test_an_optional_layer_with_arguments_and_a_required_one_stay_though_their_group_is_none():
    layers = expand("INPUT -> POOL? -> POOL?(3) -> POOL -> DROPOUT(0.1)? -> FC", absent=("POOL", "DROPOUT"))
    assert layers == expand("INPUT -> POOL(3) -> POOL -> DROPOUT(0.1) -> FC")


# Arguments.


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("CONV(64)", {"filters": 64}),
        (
            "CONV(64, kernel=5, stride=2, padding=same)",
            {"filters": 64, "kernel_size": 5, "stride": 2, "padding": "same"},
        ),
        ("CONV(kernel_size=(3, 5), dilation=(1,2))", {"kernel_size": (3, 5), "dilation": (1, 2)}),
        ("CONV(stride=(2, 1), padding=VALID)", {"stride": (2, 1), "padding": "valid"}),
        ("CONV(padding=(0, 1), groups=4, bias=False)", {"padding": (0, 1), "groups": 4, "bias": False}),
        ("CONV(groups=Depthwise)", {"groups": "depthwise"}),
        ("CONV(filters = 8, padding = -1)", {"filters": 8, "padding": -1}),
        ("CONV()", {}),
        ("POOL(3, stride=2)", {"kernel_size": 3, "stride": 2}),
        ("POOL((2, 3), padding=1, ceil_mode=true)", {"kernel_size": (2, 3), "padding": 1, "ceil_mode": True}),
        ("POOL(size=3)", {"kernel_size": 3}),
        ("POOL(kernel=3)", {"kernel_size": 3}),
        ("FC(4096)", {"width": 4096}),
        ("FC(width=10)", {"width": 10}),
        ("DROPOUT(0.5)", {"p": 0.5}),
        ("DROPOUT(rate=.5)", {"p": 0.5}),
        ("DROPOUT(p=5e-1)", {"p": 0.5}),
        ("DROPOUT(0)", {"p": 0}),
    ],
)
def test_arguments_have_torchs_names_with_shorthands_and_one_positional(layer: str, expected: dict[str, object]):
    args = args_of(layer)
    assert args == expected
    assert [type(value) for value in args.values()] == [type(value) for value in expected.values()]


def test_arguments_come_in_canonical_order_however_written():
    assert list(args_of("CONV(bias=true, stride=2, kernel=3, filters=8)")) == [
        "filters",
        "kernel_size",
        "stride",
        "bias",
    ]


@pytest.mark.parametrize(
    ("layer", "value", "message"),
    [
        ("CONV(32.0)", "32.0", "filters of CONV takes an integer, or x6 for six times its input's channels, not 32.0."),
        ("CONV(many)", "many", "filters of CONV takes an integer, or x6 for six times its input's channels, not many."),
        ("CONV(true)", "true", "filters of CONV takes an integer, or x6 for six times its input's channels, not true."),
        (
            "CONV((3, 5))",
            "(3",
            "filters of CONV takes an integer, or x6 for six times its input's channels, not (3, 5).",
        ),
        ("CONV(kernel=3.5)", "3.5", "kernel_size of CONV takes an integer or a pair such as (3, 5), not 3.5."),
        ("CONV(stride=same)", "same", "stride of CONV takes an integer or a pair such as (3, 5), not same."),
        ("CONV(dilation=1e0)", "1e0", "dilation of CONV takes an integer or a pair such as (3, 5), not 1.0."),
        (
            "CONV(padding=full)",
            "full",
            "padding of CONV takes same, valid, an integer or a pair such as (1, 2), not full.",
        ),
        ("CONV(groups=(1, 2))", "(1", "groups of CONV takes an integer or depthwise, not (1, 2)."),
        ("CONV(groups=deep)", "deep", "groups of CONV takes an integer or depthwise, not deep."),
        ("CONV(bias=1)", "1", "bias of CONV takes true or false, not 1."),
        ("POOL(true)", "true", "kernel_size of POOL takes an integer or a pair such as (3, 5), not true."),
        ("POOL(ceil_mode=0)", "0", "ceil_mode of POOL takes true or false, not 0."),
        ("DROPOUT(half)", "half", "p of DROPOUT takes a number, not half."),
        ("DROPOUT(false)", "false", "p of DROPOUT takes a number, not false."),
        ("FC(0.5)", "0.5", "width of FC takes an integer, not 0.5."),
    ],
)
def test_a_value_of_the_wrong_type_names_the_argument_and_what_it_takes(layer: str, value: str, message: str):
    text = f"INPUT -> {layer} -> FC"
    caret = text.index(value, text.index("(") + 1)
    assert refused(text) == f"arch.pattern: {message}\n  {text}\n  {' ' * caret}^"


# Mistakes. The caret is written into each text as ^, in front of the character it points at.


START = "a pattern starts with INPUT, outside any group: INPUT -> FC is the shortest."
END = "a pattern ends in FC, the output layer, outside any group. Add -> FC."
WIDTH = "the last FC is the output layer: the data and the loss decide its width. Write FC, or add -> FC."
LINK = "no activation follows the last FC: the loss supplies the link."
MISSING_LAYER = "a layer is missing after {}. Name one, or remove the arrow."
MISSING_VALUE = "a value is missing here: a number, a word, or a pair such as (3, 5)."
UNCLOSED = "[ is not closed. Add ]*2, or the count you mean."
EMPTY = "the group is empty. Put a layer into it, or remove it."
ROUND = "( stands only after the name of a layer, for its arguments. A group is written [ ... ]*2."
NO_COUNT = "a group needs a count, such as ]*2 or ]*N."
COUNT = "A count is an integer of 0 or more, or N, M or K."
PRODUCT = "counts cannot be multiplied. Nest the groups instead: [[ ... ]*2]*N."
OPTIONAL = "? stands only after POOL, NORM or DROPOUT, once."
PAIR = "a pair is two integers, such as (3, 5)."
UNNAMED = "only the first argument of {}, can stand without a name. Name this one."
VECTOR = "{} needs a volume, but an earlier {} leaves a vector. After FC or GAP come only FC, ACT, NORM and DROPOUT."
NOTHING = "{} means nothing here. Layers are joined by ->, groups are [ ... ]*2."


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        # the ends of a pattern
        ("^", START),
        ("^CONV -> FC", START),
        ("^[INPUT -> CONV]*2 -> FC", START),
        ("INPUT -> ^INPUT -> FC", "INPUT stands only at the start."),
        ("INPUT -> [^INPUT]*1 -> FC", "INPUT stands only at the start."),
        ("INPUT^(3) -> FC", "INPUT takes no arguments."),
        ("^INPUT", END),
        ("INPUT -> ^CONV", END),
        ("INPUT -> CONV -> ^RELU", END),
        ("INPUT -> FC -> ^DROPOUT", END),
        ("INPUT -> ^[FC]*2", END),
        ("INPUT -> ^FC(10)", WIDTH),
        ("INPUT -> FC -> ^Softmax", LINK + " Remove SOFTMAX, or add -> FC."),
        ("INPUT -> FC -> ^ACT", LINK + " Remove ACT, or add -> FC."),
        # names
        ("INPUT -> ^CNV -> FC", "unknown layer CNV. Did you mean CONV?"),
        ("INPUT -> ^rleu -> FC", "unknown layer rleu. Did you mean RELU?"),
        ("INPUT -> ^MAXPOOL -> FC", "unknown layer MAXPOOL. Did you mean POOL?"),
        # arrows
        ("INPUT -> CONV ^RELU -> FC", "-> is missing before RELU."),
        ("INPUT -> CONV ^[RELU]*2 -> FC", "-> is missing before [."),
        ("INPUT -> [CONV]*2 ^RELU -> FC", "-> is missing before RELU."),
        ("INPUT -> [CONV ^RELU]*2 -> FC", "-> is missing before RELU."),
        ("INPUT -> ^-> FC", MISSING_LAYER.format("->")),
        ("INPUT -> FC ->^", MISSING_LAYER.format("->")),
        ("INPUT -> [CONV -> ^]*2 -> FC", MISSING_LAYER.format("->")),
        ("INPUT -> [^-> CONV]*2 -> FC", MISSING_LAYER.format("[")),
        ("INPUT ^- > FC", NOTHING.format("'-'")),
        ("INPUT -> CONV(6^: 5) -> FC", NOTHING.format("':'")),
        ("INPUT -> CONV(6^; 5) -> FC", "a comma or ) is missing before ;."),
        # brackets
        ("INPUT -> ^[CONV -> FC", UNCLOSED),
        ("INPUT -> ^[", UNCLOSED),
        ("INPUT -> ^[[CONV]*2 -> FC", UNCLOSED),
        ("INPUT -> CONV^] -> FC", "] closes no group: no [ is open."),
        ("INPUT -> [CONV]*2^] -> FC", "] closes no group: no [ is open."),
        ("INPUT -> ^[]*2 -> FC", EMPTY),
        ("INPUT -> [^[ ]*2]*2 -> FC", EMPTY),
        ("INPUT -> ^(CONV)*2 -> FC", ROUND),
        ("INPUT -> CONV^) -> FC", ") closes nothing: no ( is open."),
        ("INPUT -> CONV(8)^(3) -> FC", ROUND),
        # counts
        ("INPUT -> [CONV^] -> FC", NO_COUNT),
        ("INPUT -> [CONV^]2 -> FC", NO_COUNT),
        ("INPUT -> [CONV]* ^-> FC", "a count is missing after *. " + COUNT),
        ("INPUT -> [CONV]*^(2) -> FC", "a count is missing after *. " + COUNT),
        ("INPUT -> [CONV]*^-1 -> FC", "-1 is not a count. " + COUNT),
        ("INPUT -> [CONV]*^2.0 -> FC", "2.0 is not a count. " + COUNT),
        ("INPUT -> [CONV]*^1e3 -> FC", "1e3 is not a count. " + COUNT),
        ("INPUT -> [CONV]*^L -> FC", "L is not a count. " + COUNT),
        ("INPUT -> [CONV]*2^*N -> FC", PRODUCT),
        ("INPUT -> [CONV]*N^*M -> FC", PRODUCT),
        ("INPUT -> [CONV]*2^N -> FC", PRODUCT),
        ("INPUT -> [CONV]*N ^2 -> FC", PRODUCT),
        ("INPUT -> CONV^*2 -> FC", "* stands only after a group: [ ... ]*2."),
        ("INPUT -> [CONV]*^" + "9" * 5000 + " -> FC", "this number is too large."),
        # the question mark
        ("INPUT -> CONV^? -> FC", OPTIONAL),
        ("INPUT -> FC(3)^? -> FC", OPTIONAL),
        ("INPUT -> RELU^? -> FC", OPTIONAL),
        ("INPUT -> GAP^? -> FC", OPTIONAL),
        ("INPUT -> FC^?", OPTIONAL),
        ("INPUT -> POOL?^? -> FC", OPTIONAL),
        ("INPUT -> POOL?(3)^? -> FC", OPTIONAL),
        ("INPUT -> [POOL]*2^? -> FC", OPTIONAL),
        # arguments
        ("INPUT -> CONV^(8, kernel=3 -> FC", "( is not closed. Add )."),
        ("INPUT -> [CONV^(8]*2 -> FC", "( is not closed. Add )."),
        ("INPUT -> CONV^(kernel=", "( is not closed. Add )."),
        ("INPUT -> CONV(8 ^RELU) -> FC", "a comma or ) is missing before RELU."),
        ("INPUT -> CONV(8 ^kernel=3) -> FC", "a comma or ) is missing before kernel."),
        ("INPUT -> CONV(8^=3) -> FC", "a comma or ) is missing before =."),
        ("INPUT -> CONV(8,^) -> FC", MISSING_VALUE),
        ("INPUT -> CONV(^, 8) -> FC", MISSING_VALUE),
        ("INPUT -> CONV(filters=^) -> FC", MISSING_VALUE),
        ("INPUT -> CONV(kernel=^[3, 5]) -> FC", MISSING_VALUE),
        ("INPUT -> CONV(kernel=(3, ^5.0)) -> FC", PAIR),
        ("INPUT -> CONV(kernel=(^)) -> FC", PAIR),
        ("INPUT -> CONV(kernel=(3^)) -> FC", ", is missing here: " + PAIR),
        ("INPUT -> CONV(kernel=(3, 5^, 7)) -> FC", ") is missing here: " + PAIR),
        ("INPUT -> CONV(8, ^5) -> FC", UNNAMED.format("CONV, filters")),
        ("INPUT -> CONV(8, ^(3, 5)) -> FC", UNNAMED.format("CONV, filters")),
        ("INPUT -> POOL(stride=2, ^3) -> FC", UNNAMED.format("POOL, kernel_size")),
        ("INPUT -> CONV(^kernl=3) -> FC", "CONV has no argument kernl. Did you mean kernel?"),
        ("INPUT -> DROPOUT(^xyz=3) -> FC", "DROPOUT has no argument xyz. DROPOUT takes p."),
        ("INPUT -> CONV(8, ^filters=8) -> FC", "filters is given twice."),
        ("INPUT -> CONV(kernel=3, ^kernel_size=3) -> FC", "kernel_size is given twice."),
        ("INPUT -> CONV -> GAP^(3) -> FC", "GAP takes no arguments."),
        ("INPUT -> ACT^(3) -> FC", "ACT takes no arguments."),
        ("INPUT -> relu^(0.1) -> FC", "RELU takes no arguments."),
        ("INPUT -> CONV ^3 -> FC", "3 stands alone. Arguments go in parentheses: CONV(3)."),
        ("INPUT -> CONV^, 3 -> FC", ", stands only between the parentheses of a layer."),
        ("INPUT -> DROPOUT(^1e999) -> FC", "this number is too large."),
        # after FC or GAP
        ("INPUT -> FC -> ^CONV -> FC", VECTOR.format("CONV", "FC")),
        ("INPUT -> GAP -> RELU -> ^POOL -> FC", VECTOR.format("POOL", "GAP")),
        ("INPUT -> GAP -> ^GAP -> FC", VECTOR.format("GAP", "GAP")),
        ("INPUT -> [^CONV -> FC]*2 -> FC", VECTOR.format("CONV", "FC")),
    ],
)  # fmt: skip
def test_a_mistake_has_its_own_message_and_a_caret_under_the_column(marked: str, message: str):
    text, caret = marked.replace("^", "", 1), marked.index("^")
    assert refused(text) == f"arch.pattern: {message}\n  {text}\n  {' ' * caret}^"


def test_a_name_that_is_near_to_none_lists_the_layers_and_the_activations():
    message = refused("INPUT -> QQ -> FC").splitlines()[0]
    assert message.startswith(
        "arch.pattern: unknown layer QQ. Known are INPUT, CONV, POOL, NORM, ACT, DROPOUT, FC, GAP, SKIP, SUM, CONCAT, "
        "MUL, ELU,"
    )
    assert "HARD_SIGMOID" in message


def test_the_order_after_fc_counts_in_the_expansion_and_not_in_the_text():
    assert names(expand("INPUT -> [CONV -> FC]*1 -> FC")) == "CONV FC FC"
    assert names(expand("INPUT -> [FC]*K -> CONV -> FC", k=0)) == "CONV FC"
    assert names(expand("INPUT -> FC -> POOL? -> FC", absent=("POOL",))) == "FC FC"
    assert "POOL needs a volume" in refused("INPUT -> FC -> POOL? -> FC")


def test_a_mistake_in_a_pattern_of_several_lines_shows_its_line():
    text = "INPUT\n\t-> [CONV -> RELU]*2\n\t-> CNV -> FC\n"
    assert refused(text) == "arch.pattern: unknown layer CNV. Did you mean CONV?\n   -> CNV -> FC\n      ^"


def test_a_mistake_at_the_end_points_after_the_last_character_and_not_after_white_space():
    assert refused("INPUT ->\n\n  ").splitlines()[1:] == ["  INPUT ->", "          ^"]


def test_a_long_line_is_shown_whole():
    text = "INPUT -> " + "CONV -> " * 100 + "CNV -> FC"
    assert refused(text).splitlines()[1] == "  " + text


def test_other_modules_can_point_at_a_column_of_a_pattern():
    error = error_at("INPUT -> POOL\r\n-> FC", 18, "no.")
    assert str(error) == "arch.pattern: no.\n  -> FC\n     ^"


def nested(depth: int) -> str:
    return "INPUT -> " + "[" * depth + "CONV" + "]*1" * depth + " -> FC"


def test_groups_nest_to_the_limit_and_no_deeper():
    assert names(expand(nested(MAX_DEPTH))) == "CONV FC"
    assert f"groups are nested more than {MAX_DEPTH} deep." in refused(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("text", [nested(1000), "INPUT -> " + "[" * 1000, "[" * 1000, "INPUT -> CONV" + "(" * 1000])
def test_a_thousand_brackets_are_a_mistake_and_no_crash(text: str):
    assert refused(text).startswith("arch.pattern: ")


@pytest.mark.parametrize("group", ["[CONV]*9999", "[[ACT]*9999]*1", "[[[CONV -> ACT]*99]*50 -> CONV]*1 -> [ACT]*98"])
def test_an_expansion_of_exactly_the_limit_is_made(group: str):
    assert len(expand(f"INPUT -> {group} -> FC")) == MAX_LAYERS


@pytest.mark.parametrize(
    ("text", "column", "lower"),
    [
        ("INPUT -> [CONV]*10000 -> FC", 25, "a count"),
        ("INPUT -> [CONV]*N -> FC", 9, "arch.n"),
        ("INPUT -> [[CONV]*N]*9 -> FC", 10, "arch.n"),
        ("INPUT -> [[ACT]*99 -> [CONV]*9999]*M -> FC", 22, "arch.m"),
        ("INPUT -> " + "[" * 20 + "CONV" + "]*99" * 20 + " -> FC", 26, "a count"),
    ],
)
def test_an_expansion_beyond_the_limit_is_refused_before_it_is_made(text: str, column: int, lower: str):
    message = refused(text, n=10**12)
    assert message.startswith(f"arch.pattern: this expands to more than {MAX_LAYERS} layers. Lower {lower}.\n")
    assert message.splitlines()[2] == " " * (column + 2) + "^"


def test_a_group_of_count_0_hides_what_would_be_too_large_in_it():
    assert names(expand("INPUT -> [[CONV]*99999]*0 -> FC")) == "FC"


def test_a_vast_count_of_nothing_is_nothing():
    text = f"INPUT -> [[POOL?]*N]*{10**20} -> [[POOL?]*{10**20} -> ACT]*1 -> FC"
    assert names(expand(text, n=10**30, absent=("POOL",))) == "ACT FC"


@pytest.mark.parametrize("name", ["n", "m", "k"])
def test_a_negative_count_names_its_key(name: str):
    with pytest.raises(ConfigError, match=rf"^arch\.{name}=-2 must be 0 or more\.$"):
        read(DEFAULT).expand(n=-2 if name == "n" else 1, m=-2 if name == "m" else 1, k=-2 if name == "k" else 1)


# Stages.


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("INPUT -> CONV -> CONV -> FC", [0, 0]),
        ("INPUT -> [CONV -> CONV -> POOL]*3 -> FC", [0, 0, 1, 1, 2, 2]),
        ("INPUT -> [[CONV]*2 -> POOL]*2 -> FC", [0, 0, 1, 1]),
        ("INPUT -> CONV -> [CONV]*2 -> CONV -> FC", [0, 0, 1, 2]),
        ("INPUT -> [CONV]*2 -> [CONV -> ACT]*2 -> FC", [0, 1, 2, 3]),
        ("INPUT -> [CONV]*1 -> [POOL -> ACT]*3 -> [CONV]*1 -> CONV -> FC", [0, 1, 2]),
        ("INPUT -> [CONV]*0 -> CONV -> FC", [0]),
        ("INPUT -> [[CONV]*0 -> POOL]*3 -> CONV -> FC", [0]),
    ],
)
def test_the_stage_counts_the_turns_of_outermost_groups_that_hold_convs(text: str, stages: list[int]):
    assert [layer.stage for layer in expand(text) if layer.kind == "CONV"] == stages


def test_every_layer_of_a_turn_is_of_its_stage():
    assert [layer.stage for layer in expand("INPUT -> [CONV -> ACT -> POOL?]*2 -> ACT -> FC")] == [
        0,
        0,
        0,
        1,
        1,
        1,
        2,
        2,
    ]


# Properties over random trees, against twins that share no code with the module.

FLAGS = st.booleans()
INTEGERS = st.integers(-(10**9), 10**9)
SIZES = INTEGERS | st.tuples(INTEGERS, INTEGERS)
PADDINGS = SIZES | st.sampled_from(["same", "valid"])
ARGUMENTS = {
    "CONV": {
        "filters": INTEGERS, "kernel_size": SIZES, "stride": SIZES, "padding": PADDINGS, "dilation": SIZES,
        "groups": INTEGERS | st.just("depthwise"), "bias": FLAGS,
    },
    "POOL": {"kernel_size": SIZES, "stride": SIZES, "padding": PADDINGS, "ceil_mode": FLAGS},
    "DROPOUT": {"p": INTEGERS | st.floats(allow_nan=False, allow_infinity=False)},
    "FC": {"width": INTEGERS},
}  # fmt: skip
ALIASES = {("CONV", "kernel_size"): "kernel", ("POOL", "kernel_size"): "size", ("DROPOUT", "p"): "rate"}
COUNTS = st.fixed_dictionaries({"n": st.integers(0, 3), "m": st.integers(0, 3), "k": st.integers(0, 3)})
ABSENT = st.sets(st.sampled_from(["POOL", "NORM", "DROPOUT"]))


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    kind = draw(st.sampled_from(["CONV", "POOL", "NORM", "ACT", "DROPOUT", "FC", "GAP"]))
    values = draw(st.fixed_dictionaries({}, optional=ARGUMENTS.get(kind, {})))
    args = tuple((name, values[name]) for name in ARGUMENTS.get(kind, {}) if name in values)
    activation = draw(st.none() | st.sampled_from(sorted(ACTIVATIONS))) if kind == "ACT" else None
    optional = kind in ("POOL", "NORM", "DROPOUT") and draw(st.booleans())
    return Layer(kind, args, activation, optional=optional)


def groups(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    counts = st.integers(0, 3) | st.sampled_from(["n", "m", "k"])
    return st.builds(Group, st.lists(children, min_size=1, max_size=4).map(tuple), counts)


TREES = st.lists(st.recursive(layers(), groups, max_leaves=8), max_size=5).map(lambda nodes: (*nodes, Layer("FC")))


@st.composite
def written(draw: st.DrawFn, nodes: Sequence[Node]) -> str:
    """Write a tree in one of the many ways the language allows."""
    space = st.sampled_from(["", " ", "\n", "\t ", "\r\n"])
    case = st.sampled_from([str.upper, str.lower, str.title])

    def join(parts: Sequence[str]) -> str:
        return "".join(part + draw(space) for part in parts)

    def value(value: object) -> str:
        if isinstance(value, tuple):
            return join(["(", str(value[0]), ",", str(value[1]), ")"])
        return draw(case)(str(value)) if isinstance(value, bool | str) else str(value)

    def arguments(layer: Layer) -> list[str]:
        args = draw(st.permutations(layer.args))
        parts = []
        for position, (name, content) in enumerate(args):
            bare = position == 0 and name == next(iter(ARGUMENTS[layer.kind])) and draw(st.booleans())
            alias = draw(st.sampled_from([name, ALIASES.get((layer.kind, name), name)]))
            parts += [","] * (position > 0) + ([] if bare else [alias, "="]) + [value(content)]
        return ["(", *parts, ")"] if parts else []

    def node(node: Node) -> str:
        assert not isinstance(node, Join)
        if isinstance(node, Group):
            return join(["[", sequence(node.nodes), "]", "*", draw(case)(str(node.count))])
        mark, args = ["?"] * node.optional, arguments(node)
        return join([draw(case)(node.activation or node.kind), *(mark + args if draw(st.booleans()) else args + mark)])

    def sequence(nodes: Sequence[Node]) -> str:
        return draw(st.sampled_from(["->", " -> ", "\n-> ", "→"])).join(map(node, nodes))

    return draw(case)("INPUT") + draw(space) + "->" + sequence(nodes)


def naive_paths(
    nodes: Sequence[Node], counts: Mapping[str, int], absent: Collection[str]
) -> list[tuple[tuple[int, int], Layer]]:
    """Every layer of the expansion with (index of the top-level node, its turn; -1 outside groups)."""
    paths = []
    for index, top in enumerate(nodes):
        stack: list[tuple[int, Node]] = [(-2, top)]
        while stack:
            turn, node = stack.pop()
            if isinstance(node, Layer):
                if not (node.optional and node.kind in absent and node.args == ()):
                    paths.append(((index, max(turn, -1)), node))
                continue
            assert isinstance(node, Group)
            count = node.count if isinstance(node.count, int) else counts[node.count]
            copies = [(repeat if turn == -2 else turn, child) for repeat in range(count) for child in node.nodes]
            stack += reversed(copies)
    return paths


def takes_a_vector(kinds: Sequence[str]) -> bool:
    """Whether nothing over height and width follows the first FC or GAP."""
    first = min((kinds.index(kind) for kind in ("FC", "GAP") if kind in kinds), default=len(kinds))
    return set(kinds[first + 1 :]) <= {"FC", "ACT", "NORM", "DROPOUT"}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), nodes=TREES)
def test_a_random_tree_written_in_any_way_reads_back_to_itself(data: st.DataObject, nodes: tuple[Node, ...]):
    text = data.draw(written(nodes))
    pattern = read(text)
    assert pattern.nodes == nodes
    for layer in pattern.layers:
        assert text[layer.column :].upper().startswith((layer.activation or layer.kind).upper())


@settings(max_examples=80, deadline=None)
@given(nodes=TREES, counts=COUNTS, absent=ABSENT)
def test_a_random_tree_expands_and_counts_its_stages_as_the_naive_twins_do(
    nodes: tuple[Node, ...], counts: dict[str, int], absent: set[str]
):
    pattern = Pattern("INPUT", nodes)
    twin = naive_paths(nodes, counts, absent)
    if not takes_a_vector([layer.kind for _, layer in twin]):
        with pytest.raises(PatternError, match="needs a volume"):
            pattern.expand(**counts, absent=absent)
        return
    with_convs = {path for path, layer in twin if layer.kind == "CONV" and path[1] >= 0}
    expected = [
        (layer.kind, layer.args, layer.activation, sum(turn < path for turn in with_convs)) for path, layer in twin
    ]
    expanded = chain_of(pattern.expand(absent=absent, **counts))
    assert [(layer.kind, layer.args, layer.activation, layer.stage) for layer in expanded] == expected
    assert not any(layer.optional for layer in expanded)


@settings(max_examples=60, deadline=None)
@given(nodes=TREES, counts=COUNTS, absent=ABSENT)
def test_an_expansion_is_printed_as_a_pattern_that_reads_back_to_the_same_layers(
    nodes: tuple[Node, ...], counts: dict[str, int], absent: set[str]
):
    chain = [layer for _, layer in naive_paths(nodes, counts, absent) if layer.kind not in ("CONV", "POOL", "GAP")]
    volume = [layer for _, layer in naive_paths(nodes, counts, absent) if layer.kind in ("CONV", "POOL")]
    pattern = Pattern("INPUT", (Group((*volume, Layer("ACT")), 2), *chain))
    expanded = chain_of(pattern.expand(**counts, absent=absent))
    again = expand(render(expanded), 1, 1, 1, absent=("POOL", "NORM", "DROPOUT"))
    assert [(layer.kind, layer.args, layer.activation) for layer in again] == [
        (layer.kind, layer.args, layer.activation) for layer in expanded
    ]
    assert render(again) == render(expanded)


def test_a_printed_pattern_uses_the_short_forms():
    convolution = "INPUT -> CONV(32, kernel=3, padding=same, bias=false) -> RELU"
    text = convolution + " -> POOL((2, 3), stride=2) -> DROPOUT(0.5) -> FC(9) -> ACT -> FC"
    assert render(expand(text)) == text


def test_layers_as_written_are_printed_with_their_question_marks():
    assert render(read("INPUT -> pool(3)? -> norm? -> fc").layers) == "INPUT -> POOL?(3) -> NORM? -> FC"


PIECES = [
    *["INPUT", "CONV", "POOL", "NORM", "RELU", "ACT", "FC", "GAP", "->", " -> ", "[", "]", "]*", "*", "N", "2", "-1"],
    *[
        "1.5",
        "(",
        ")",
        ",",
        "=",
        "?",
        "kernel",
        "same",
        "true",
        "(3,5)",
        "x",
        "é",
        " ",
        "\n",
        "\t",
        "\r",
        "\x1b",
        "\u2028",
    ],
]


def check_garbage(text: str) -> None:
    try:
        expand(text)
    except PatternError as error:
        message, line, caret = str(error).split("\n")
        assert message.startswith("arch.pattern: ")
        assert line[2:].isprintable()
        assert len(line) - 2 in map(len, text.split("\n"))
        assert caret == " " * (len(caret) - 1) + "^"
        assert 2 <= caret.index("^") <= len(line)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join) | st.text(max_size=30))
def test_garbage_only_ever_raises_a_pattern_error_with_its_caret_in_the_line(text: str):
    check_garbage(text)
    check_garbage("INPUT -> " + text)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(DEFAULT)), st.integers(0, 8), st.sampled_from(["", *PIECES]))
def test_a_damaged_pattern_only_ever_raises_a_pattern_error_with_its_caret_in_the_line(
    start: int, size: int, piece: str
):
    check_garbage(DEFAULT[:start] + piece + DEFAULT[start + size :])


def test_the_module_imports_neither_torch_nor_hydra():
    code = "import sys, convgrid.network.pattern; print({'torch', 'hydra', 'omegaconf', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
