"""An installed wheel in an empty folder offers the same as a checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("target")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), ".")
    (wheel,) = wheels.glob("convgrid-*.whl")
    pip("install", "--no-deps", "--target", str(target), str(wheel))
    return target


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-m", "convgrid", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_holds_every_option_and_experiment(installed: Path) -> None:
    for folder in ("conf", "experiments"):
        inside = {
            path.relative_to(installed / "convgrid") for path in (installed / "convgrid" / folder).rglob("*.yaml")
        }
        assert inside == {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.yaml")}


def test_the_wheel_holds_the_reports_page(installed: Path) -> None:
    inside = {path.name for path in (installed / "convgrid/compare/report").glob("page.*")}
    assert inside == {"page.css", "page.html", "page.js", "page.py"}


def test_the_wheel_trains_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "run", "optimizer=adam", "trainer=debug", "tracking=none")
    assert done.returncode == 0, done.stderr
    assert "best epoch" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("words", "points"),
    [
        (["experiments=label_normalization"], "to train       12"),
        (["-m", "arch.n=1,2", "hydra.verbose=false"], "points         2"),  # through Hydra's plugin
    ],
)
def test_the_wheel_plans_a_sweep_and_knows_the_experiments(
    installed: Path, tmp_path: Path, words: list[str], points: str
) -> None:
    done = run(installed, tmp_path, "run", "dry_run=true", *words)
    assert done.returncode == 0, done.stderr
    assert points in done.stdout.splitlines()
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_is_none_is_named(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "train")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "usage: convgrid COMMAND ...\nconvgrid: error: 'train' is not a command. Commands: run, "
    )


def test_the_console_script_is_called_convgrid(installed: Path) -> None:
    (entry,) = installed.glob("convgrid-*.dist-info/entry_points.txt")
    assert "convgrid = convgrid.__main__:main" in entry.read_text()
