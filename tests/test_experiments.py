"""Every file of experiments/ is a question with a command, a cost and a result, and every one of its points plans."""

import re
from pathlib import Path

import pytest

from convgrid.cli.main import main
from convgrid.config import files

ROOT = Path(__file__).parents[1]
PATHS = sorted(files.EXPERIMENTS.glob("*.yaml"))
POINTS = {
    "activations": 33, "asha_fashion_mnist": 36, "bottleneck_features": 6, "case_studies": 15, "cifar10_transfer": 3,
    "depth_vs_width": 48, "fashion_mnist": 1, "fine_tuning": 3, "how_many_photos": 30, "label_normalization": 12,
    "losses": 51, "nmk_grid": 36, "optimizers": 63, "optuna_digits": 40, "racing_digits": 36,
    "resnet20_cifar10": 1, "very_little_data": 1,
}  # fmt: skip
PARTS = ("Question", "Command", "Cost", "Result")


def header(path: Path) -> dict[str, str]:
    """The parts of the comment at a file's start; their lines are indented alike."""
    lines = path.read_text().splitlines()
    comment = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    assert comment.pop(0) == "# @package _global_"
    parts: dict[str, str] = {}
    for line in comment:
        name, text = re.fullmatch(r"# (?:(\w+):)? +(.+)", line).groups()  # pyright: ignore[reportOptionalMemberAccess]
        parts[name or list(parts)[-1]] = f"{parts.get(name or list(parts)[-1], '')}\n{text}".strip()
    return parts


def test_every_experiment_has_its_number_of_points() -> None:
    assert {path.stem for path in PATHS} == set(POINTS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_header_has_question_command_cost_and_result(path: Path) -> None:
    parts = header(path)
    assert tuple(parts) == PARTS
    assert parts["Question"].endswith("?")
    assert re.search(rf"\bpython run\.py experiments={path.stem}\b", parts["Command"])
    assert re.search(r"\d (s|min|h)\b", parts["Cost"])
    assert re.search(r"\bseeds? 0(, 1, 2)?\b", parts["Result"])
    assert re.search(r"convgrid \d+\.\d+\.\d+.*torch \d+\.\d+", parts["Result"])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_point_of_an_experiment_plans(path: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"experiments={path.stem}", "dry_run=true"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    count = POINTS[path.stem]
    assert re.search(
        rf"^to train +{count}( to \d+)?$|, {count} trials$" if count > 1 else r"^INPUT \dx\d+x\d+$",
        told.out,
        re.MULTILINE,
    ), told.out
