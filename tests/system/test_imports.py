"""Libraries are imported without what they can do without, and nobody else misses it."""

import importlib
import importlib.util
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from convgrid.system.imports import unseen

LEAN = """
import ctypes, sys
import convgrid.sweep.preload
ends_by = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(ends_by))
print("ends by signal", ends_by.value)
print(sorted({"scipy", "matplotlib", "convgrid.sweep.worker"} & {*sys.modules}))
import matplotlib, scipy.special, torch, torchmetrics
print(torchmetrics.MeanMetric()(torch.tensor([1.0, 3.0])).item(), scipy.special.comb(4, 2))
"""


@pytest.fixture
def plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package."""
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "__init__.py").touch()
    (tmp_path / "plots-2.5.dist-info").mkdir()
    (tmp_path / "plots-2.5.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plots\nVersion: 2.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plots", raising=False)
    return "plots"


def test_an_unseen_package_is_not_there_inside_and_is_afterwards(plots: str) -> None:
    with unseen(plots):
        with pytest.raises(ModuleNotFoundError, match="import of plots halted"):
            importlib.import_module(plots)
        assert importlib.util.find_spec(plots) is None
        with pytest.raises(PackageNotFoundError):
            version(plots)
        assert version("pytest") == pytest.__version__
    assert importlib.import_module(plots).__name__ == plots
    assert version(plots) == "2.5"


def test_a_package_that_is_imported_already_is_seen(plots: str) -> None:
    imported = importlib.import_module(plots)
    with unseen(plots):
        assert importlib.import_module(plots) is imported
        assert version(plots) == "2.5"


def test_everything_is_found_again_where_an_import_fails(plots: str) -> None:
    with pytest.raises(ImportError), unseen(plots):
        import convgrid.nowhere  # pyright: ignore[reportMissingImports]  # noqa: F401
    assert version(plots) == "2.5"


def test_the_fork_server_imports_no_scipy_and_ends_with_its_parent_and_what_a_person_imports_is_there() -> None:
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("ends by signal 9\n['convgrid.sweep.worker']\n2.0 6.0\n", "")
