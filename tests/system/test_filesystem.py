"""A database on a network file system is told about, before anything is written to it."""

import io
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from rich.console import Console

from convgrid.system.filesystem import network_filesystem
from convgrid.terminal import show_store

MOUNTS = [  # as psutil 7.2 gives them; the last line is mounted over another
    *(("/", "ext4"), ("/home", "nfs4"), ("/home/scratch", "xfs"), ("/project", "ext4"), ("/homes", "tmpfs")),
    ("/project", "lustre"),
]


@pytest.fixture(autouse=True)
def mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    partitions = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in MOUNTS]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: partitions if all else [])


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ann/mlflow.db", "nfs4"),
        ("/home/scratch/mlflow.db", None),
        ("/homes/mlflow.db", None),
        ("/project/a/mlflow.db", "lustre"),
        ("/mlflow.db", None),
    ],
)
def test_the_innermost_mount_says_where_a_file_lies(path: str, kind: str | None) -> None:
    assert network_filesystem(Path(path)) == kind


def test_a_store_on_a_network_file_system_is_told_in_a_line_with_what_to_use_instead() -> None:
    printed = io.StringIO()
    show_store("sqlite:////home/ann/mlflow.db", "convgrid", Console(file=printed, width=500))
    assert printed.getvalue().splitlines()[1] == (
        "The database lies on a network file system (nfs4), where sqlite cannot lock it safely. "
        "Use it from one machine at a time, or name a server: tracking.uri=http://HOST:PORT."
    )
    printed.truncate(0)
    for uri in ("sqlite:////home/scratch/mlflow.db", "http://127.0.0.1:5000"):
        show_store(uri, "convgrid", Console(file=printed))
        assert "network" not in printed.getvalue()
