"""`convgrid cache` says what features take on the disk, and removes them."""

import os
import time
from pathlib import Path

import pytest

from convgrid.cli.main import main
from convgrid.features.cache import Cache


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = Cache(limit=2**30)
    header = b'{"__metadata__":{"images":"2800","network":"lite0\\u001b up to act49"}}'
    with cache.writing("ab", 2**20) as place:
        place.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2**20))
    (cache.folder / "cd.safetensors").write_bytes(b"nothing")
    os.utime(cache.folder / "ab.safetensors", (time.time() - 600.5, time.time() - 600.5))
    return cache


def test_files_are_listed_with_the_last_used_first_and_cleared(
    files: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache"]) == 0
    head, other, features = capsys.readouterr().out.splitlines()
    assert head == f"{files.folder}: 2 files, 1.0 MiB of at most 10.0 GiB"
    assert other == "    0.0 MiB          ? images  used    0 s ago  'of another program'"
    assert features == "    1.0 MiB      2,800 images  used 10 min ago  'lite0\\x1b up to act49'"  # escaped
    assert main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"{files.folder}: removed 2 files, 1.0 MiB\n"
    assert main(["cache", "list"]) == 0
    assert capsys.readouterr().out == f"{files.folder}: 0 files, 0.0 MiB of at most 10.0 GiB\n"
