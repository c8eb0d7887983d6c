"""An installed wheel in an empty folder offers the same as a checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


LINES = {
    "experiment": ["run", "dry_run=true", "experiments=label_normalization"],
    "sweep": ["run", "dry_run=true", "-m", "arch.n=1,2", "hydra.verbose=false"],  # through Hydra's plugin
    "none": ["train"],
    "training": ["run", "optimizer=adam", "trainer=debug", "tracking=none"],
}
# one process types all lines, each in a folder of its own: it takes seconds to import torch
TYPE = """
import contextlib, io, json, os, sys
from convgrid.__main__ import main
ended = {}
for name, words in json.loads(sys.argv[1]).items():
    os.mkdir(name)
    sys.argv = ["convgrid", *words]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(name), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main()
        except SystemExit as end:
            status = end.code
    ended[name] = [status or 0, out.getvalue(), err.getvalue()]
print(json.dumps(ended))
"""
Ended = dict[str, tuple[int, str, str]]


def python(*arguments: str, **options: Any) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has what pip puts into one: of a wheel without a data folder, what is in it."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("target")
    python("-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels), cwd=ROOT)
    (wheel,) = wheels.glob("convgrid-*-none-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert not any(".data/" in name for name in packed.namelist())
        packed.extractall(target)
    return target


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk")


@pytest.fixture(scope="module")
def ended(installed: Path, desk: Path) -> Ended:
    """What became of each line: exit status, stdout, stderr."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return json.loads(python("-P", "-c", TYPE, json.dumps(LINES), cwd=desk, env=environment).splitlines()[-1])


def test_the_wheel_holds_every_option_and_experiment(installed: Path) -> None:
    for folder in ("conf", "experiments"):
        inside = {
            path.relative_to(installed / "convgrid") for path in (installed / "convgrid" / folder).rglob("*.yaml")
        }
        assert inside == {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.yaml")}


def test_the_wheel_holds_the_reports_page(installed: Path) -> None:
    inside = {path.name for path in (installed / "convgrid/compare/report").glob("page.*")}
    assert inside == {"page.css", "page.html", "page.js", "page.py"}


def test_the_wheel_trains_in_an_empty_folder(ended: Ended, desk: Path) -> None:
    status, out, err = ended["training"]
    assert status == 0, err
    assert "best epoch" in out
    assert [path.name for path in (desk / "training").iterdir()] == ["runs"]


@pytest.mark.parametrize(("name", "points"), [("experiment", "to train       12"), ("sweep", "points         2")])
def test_the_wheel_plans_a_sweep_and_knows_the_experiments(ended: Ended, desk: Path, name: str, points: str) -> None:
    status, out, err = ended[name]
    assert status == 0, err
    assert points in out.splitlines()
    assert list((desk / name).iterdir()) == []


def test_a_command_that_is_none_is_named(ended: Ended) -> None:
    status, _, err = ended["none"]
    assert status == 2
    assert err.startswith("usage: convgrid COMMAND ...\nconvgrid: error: 'train' is not a command. Commands: run, ")


def test_the_console_script_is_called_convgrid(installed: Path) -> None:
    (entry,) = installed.glob("convgrid-*.dist-info/entry_points.txt")
    assert "convgrid = convgrid.__main__:main" in entry.read_text()
