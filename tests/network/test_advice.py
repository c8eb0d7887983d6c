"""CS231n's rules of sizes, each broken and kept."""

import pytest

from convgrid.network.advice import advice, precision_advice
from networks import lay_out


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("INPUT -> CONV(1) -> POOL -> FC(256) -> FC", None),
        (
            "INPUT -> CONV(4) -> FC(256) -> FC",  # 262,400 of 262,400 + 112 + 2,570
            "fc1 holds 98 % of all parameters. Use GAP or one more POOL before it, or fewer units than 256.",
        ),
        (
            "INPUT -> CONV(4, kernel=9) -> GAP -> FC",  # 81 / 9
            "conv1 slides 9x9 over 16x16, which costs 9 times what 3x3 does. Use kernel=3 for it.",
        ),
        ("INPUT -> CONV(4, kernel=8, padding=0) -> GAP -> FC", None),
        ("INPUT -> [POOL]*3 -> CONV(4) -> GAP -> FC", None),  # 3x3 over 2x2 is as small as a kernel gets
        (
            "INPUT -> POOL(3) -> GAP -> FC",  # 5 windows of 3 see 15 of 16
            "pool1 never looks at the last row and column of its 16x16 input. "
            "Use padding=same for it, or an image whose sides it divides.",
        ),
        ("INPUT -> POOL(3, padding=same) -> GAP -> FC", None),
        ("INPUT -> POOL(3, stride=2, padding=1) -> GAP -> FC", None),  # its last window ends with the image
        ("INPUT -> FC", None),  # has no hidden layer
    ],
)
def test_a_rule_that_is_broken_is_told_with_its_cost_and_a_way_out(pattern: str, line: str | None) -> None:
    assert advice(lay_out(pattern)) == ([] if line is None else [line])


def test_the_first_three_lines_are_enough() -> None:
    assert len(advice(lay_out("INPUT -> [CONV(1, kernel=13)]*4 -> GAP -> FC"))) == 3


WIDE = "INPUT -> [CONV(64) -> RELU]*2 -> GAP -> FC"  # 3 * 9 * 64 * 256 + 64 * 9 * 64 * 256 = 9,879,552 a 16x16 image
LINE = (
    "This CPU has {}: trainer.precision=bf16-mixed takes about 0.6 to 0.9 of the time. It multiplies numbers of "
    "8 significant bits instead of 24; weights keep 24."
)


@pytest.mark.parametrize(
    ("pattern", "batch_size", "flags", "named"),
    [
        (WIDE, 11, {"avx2", "avx512_bf16"}, "avx512_bf16"),
        (WIDE, 11, {"avx512_bf16", "amx_bf16", "amx_tile"}, "amx_bf16"),
        (WIDE, 10, {"avx512_bf16"}, None),  # 98,795,520
        (WIDE, 11, {"avx2", "avx512f"}, None),
        ("INPUT -> [FC(4096) -> RELU]*2 -> FC", 99, {"avx512_bf16"}, None),
        (WIDE.replace("GAP", "CONV(64, groups=64) -> GAP"), 99, {"avx512_bf16"}, None),
        (WIDE.replace("GAP", "NORM(local_response) -> GAP"), 99, {"avx512_bf16"}, None),
    ],
)
def test_bfloat16_is_named_where_a_cpu_has_it_and_plain_convolutions_take_the_time(
    pattern: str, batch_size: int, flags: set[str], named: str | None
) -> None:
    assert precision_advice(lay_out(pattern), batch_size, flags) == ([] if named is None else [LINE.format(named)])
