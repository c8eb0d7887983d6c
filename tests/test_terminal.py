import io
from collections.abc import Callable, Sequence

import pytest
from rich.console import Console

from convgrid import terminal
from convgrid.config import Settings, architecture
from convgrid.network.plan import Plan, plan
from convgrid.system import device
from convgrid.terminal import epoch_line, plan_notes, show_plan, show_result

SettingsMaker = Callable[..., Settings]
VGG16 = (
    "INPUT -> [CONV(64) -> RELU]*2 -> POOL -> [CONV(128) -> RELU]*2 -> POOL -> [CONV(256) -> RELU]*3 -> POOL -> "
    "[[CONV(512) -> RELU]*3 -> POOL]*2 -> [FC(4096) -> RELU]*2 -> FC"
)


def planned(settings: SettingsMaker, *overrides: str, shape: tuple[int, ...] = (1, 8, 8), classes: int = 10) -> Plan:
    return plan(architecture(settings(*overrides)), shape, classes)


def printed(show: Callable[[Console], None], width: int = 80) -> list[str]:
    file = io.StringIO()
    show(Console(file=file, width=width))
    return file.getvalue().splitlines()


def lines_of(network: Plan, width: int = 80) -> list[str]:
    return printed(lambda console: show_plan(network, console), width)


def test_a_plan_shows_every_layer_with_its_costs_and_their_totals(settings: SettingsMaker) -> None:
    assert lines_of(planned(settings)) == [
        "INPUT 1x8x8",
        "layer  arguments      output parameters multiply-adds   memory  sees",
        "conv1  3x3, padding 1 32x8x8        320        18,432  8.0 KiB   3x3",
        "relu1                 32x8x8          0             0  8.0 KiB   3x3",
        "pool1  2x2            32x4x4          0             0  2.0 KiB   4x4",
        "conv2  3x3, padding 1 64x4x4     18,496       294,912  4.0 KiB   8x8",
        "relu2                 64x4x4          0             0  4.0 KiB   8x8",
        "pool2  2x2            64x2x2          0             0  1.0 KiB 10x10",
        "fc1                   128        32,896        32,768    512 B 14x14",
        "relu3                 128             0             0    512 B 14x14",
        "output                10          1,290         1,280     40 B 14x14",
        "total                            53,002       347,392 28.0 KiB",
        "one image: multiply-adds forward, memory of the outputs in float32, pixels seen",
        "INPUT -> CONV(32) -> ACT -> POOL -> CONV(64) -> ACT -> POOL -> FC(128) -> ACT -> FC",
    ]


def test_a_plan_with_joins_says_what_a_layer_takes_where_that_is_not_the_line_above(settings: SettingsMaker) -> None:
    pattern = "INPUT -> CONV(4) -> SUM[SKIP | CONV(8)] -> CONCAT[SKIP | POOL(1) | RELU] -> FC"
    assert lines_of(planned(settings, f"arch.pattern='{pattern}'"))[1:-3] == [
        "layer   arguments      output parameters multiply-adds   memory  sees from",
        "conv1   3x3, padding 1 4x8x8          40         2,304  1.0 KiB   3x3",
        "conv2   3x3, padding 1 8x8x8         296        18,432  2.0 KiB   5x5",
        "conv3   1x1            8x8x8          40         2,048  2.0 KiB   3x3 conv1",
        "sum1                   8x8x8           0             0  2.0 KiB   5x5 conv3, conv2",
        "pool1   1x1            8x8x8           0             0  2.0 KiB   5x5",
        "relu1                  8x8x8           0             0  2.0 KiB   5x5 sum1",
        "concat1                24x8x8          0             0  6.0 KiB   5x5 sum1, pool1, relu1",
        "output                 10         15,370        15,360     40 B 12x12",
    ]


def test_a_plan_marks_what_is_frozen_and_counts_what_is_trained_apart(settings: SettingsMaker) -> None:
    lines = lines_of(planned(settings, "arch.pattern='INPUT -> CONV(4) -> GAP -> FC'", "arch.freeze=features"))
    assert lines[1:-1] == [
        "layer  arguments      output parameters multiply-adds  memory  sees",
        "conv1  3x3, padding 1 4x8x8          40         2,304 1.0 KiB   3x3 frozen",
        "gap1                  4               0             0    16 B 10x10 frozen",
        "output                10             50            40    40 B 10x10",
        "total                                90         2,344 1.1 KiB",
        "one image: multiply-adds forward, memory of the outputs in float32, pixels seen",
        "frozen up to gap1: 50 of 90 parameters are trained",
    ]


def test_vgg16_fits_80_columns(settings: SettingsMaker) -> None:
    lines = lines_of(planned(settings, f"arch.pattern='{VGG16}'", shape=(3, 224, 224), classes=1000))
    assert len(lines) == 2 + 36 + 3
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-3].split() == ["total", "138,357,544", "15,470,264,320", "109.3", "MiB"]


@pytest.mark.parametrize("width", [20, 80, 300])
def test_the_pattern_is_one_line_to_copy_on_any_screen(settings: SettingsMaker, width: int) -> None:
    network = planned(settings, "arch.n=3", "layer/norm=batch")
    lines = lines_of(network, width)
    assert lines[-1] == network.pattern
    assert len(lines[-1]) > 80
    assert [line for line in lines if "…" in line] == []


@pytest.mark.parametrize(
    ("overrides", "drivers", "told"),
    [
        ((), (), True),
        (("trainer=cpu",), ("/",), True),
        ((), ("/",), False),  # with a GPU's driver in sight, auto may mean that
        (("trainer=gpu",), (), False),
        (("trainer.precision=bf16-mixed",), (), False),
    ],
)
def test_a_faster_precision_is_named_only_to_those_who_train_on_a_cpu_without_it(
    settings: SettingsMaker,
    monkeypatch: pytest.MonkeyPatch,
    overrides: Sequence[str],
    drivers: Sequence[str],
    told: bool,
) -> None:
    monkeypatch.setattr(terminal, "cpu_flags", lambda: {"avx512_bf16"})
    monkeypatch.setattr(device, "DRIVERS", drivers)
    made = settings("arch.filters=128", *overrides)
    notes = plan_notes(planned(settings, "arch.filters=128"), made)
    assert any("trainer.precision=bf16-mixed" in note for note in notes) == told


def test_unusual_arguments_are_shown_and_folded_between_arguments(settings: SettingsMaker) -> None:
    chosen = [
        "layer/conv=depthwise", "layer.conv.kernel_size=[3,4]", "layer.conv.bias=false", "layer.conv.dilation=[1,2]",
        "layer.pool.kernel_size=3", "layer.pool.stride=2", "layer.pool.ceil_mode=true", "layer/norm=group",
        "layer/dropout=spatial",
    ]  # fmt: skip
    lines = lines_of(planned(settings, *chosen, shape=(1, 64, 64)))
    assert max(map(len, lines[:-1])) <= 80
    arguments = [line[10:].split("  ")[0].strip() for line in lines]
    text = "\n".join(lines)
    assert "3x4, dilation 1x2," in text
    assert "groups 32," in text
    assert "bias no" in text
    assert "padding 1x3" in text
    assert "stride 2" in text
    assert "num_groups 8" in text
    assert "p 0.25" in text
    assert not [line for line in arguments if line.endswith(("padding", "stride", "bias"))]


def test_padding_that_differs_by_side_shows_both(settings: SettingsMaker) -> None:
    lines = lines_of(planned(settings, "arch.pattern='INPUT -> CONV(2, kernel=[2,3]) -> FC'".replace("[2,3]", "(2,3)")))
    assert lines[2].startswith("conv1  2x3, padding 0+1x1+1 2x8x8")


def test_a_result_is_a_line_for_each_thing_and_never_folded() -> None:
    long = "make ui, or mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:////a/long/way/to/the/mlflow.db"
    lines = printed(lambda console: show_result({"best epoch": "3 of 5", "dashboard": long}, console))
    assert lines == ["best epoch  3 of 5", f"dashboard   {long}"]


def test_further_lines_of_a_result_stand_below_the_first() -> None:
    lines = printed(lambda console: show_result({"a": "1\n2", "bcd": ""}, console))
    assert lines == ["a    1", "     2", "bcd"] or lines == ["a    1", "     2", "bcd  "]


def test_a_result_is_shown_as_it_is_not_as_markup() -> None:
    lines = printed(lambda console: show_result({"folder": "runs/[bold]x[/bold] :smile:"}, console))
    assert lines == ["folder  runs/[bold]x[/bold] :smile:"]


def test_an_epochs_line_has_its_numbers_in_four_digits() -> None:
    line = epoch_line(7, 120, {"train/loss": 1 / 3, "val/loss": 12345.678, "val/accuracy": 1.0}, 61.239)
    assert line == "epoch   7/120  train/loss 0.3333  val/loss 1.235e+04  val/accuracy 1  61.24 s"
