"""The cache of features: bounded, shared, and torn files are not taken for whole ones."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import Timeout
from safetensors.torch import load_file

from convgrid.errors import ConfigError
from convgrid.features.cache import Cache
from convgrid.features.mapped import num_bytes, read, write

ROWS = torch.arange(12.0).view(4, 3)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "features", limit=1000)


def keep(cache: Cache, key: str, rows: torch.Tensor = ROWS) -> Path:
    with cache.writing(key, num_bytes(rows.shape, rows.dtype)) as place:
        write(place, rows.shape, rows.dtype, rows.split(3), {"images": str(len(rows))})
    found = cache.find(key)
    assert found is not None
    return found


def fail_after(place: Path) -> None:
    place.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_kept_is_read_again_and_is_a_safetensors_file(cache: Cache, kind: torch.dtype) -> None:
    path = keep(cache, "ab", ROWS.to(kind))
    found = read(path)
    assert found.dtype == kind
    assert torch.equal(found, ROWS.to(kind))
    assert found.data_ptr() % 64 == 0
    assert torch.equal(load_file(path)["features"], ROWS.to(kind))
    assert [entry.about for entry in cache.entries()] == [{"images": "4"}]


def test_a_mapped_file_can_be_removed_while_it_is_used(cache: Cache) -> None:
    found = read(keep(cache, "ab"))
    assert [entry.path.name for entry in cache.clear()] == ["ab.safetensors"]
    assert cache.entries() == []
    assert cache.find("ab") is None
    assert torch.equal(found, ROWS)


@pytest.mark.parametrize("harm", ["cut", "empty", "other", "longer", "header"])
def test_a_torn_file_is_not_taken_for_features(cache: Cache, harm: str) -> None:
    path = keep(cache, "ab")
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-1],
            "empty": b"",
            "other": b"\x02" + bytes(7) + b"{}",
            "longer": content + b"1",
            "header": b"\xff" * 8 + content,
        }[harm]
    )
    with pytest.raises(ValueError, match=r"torn|does not hold|JSON|codec|Expecting|decode"):
        read(path)


def test_the_least_recently_used_files_go(cache: Cache) -> None:
    big = torch.zeros(100)  # 400 bytes and a header: two of them fit
    cache.limit = 1200
    for key in ("aa", "bb"):
        keep(cache, key, big)
    now = time.time()
    os.utime(cache.folder / "aa.safetensors", (now - 10, now - 10))
    os.utime(cache.folder / "bb.safetensors", (now - 20, now - 20))
    assert cache.find("bb") is not None  # which is a use of it
    keep(cache, "cc", big)
    assert {entry.path.stem for entry in cache.entries()} == {"bb", "cc"}
    with pytest.raises(OSError, match=r"0\.0 GiB are more than CONVGRID_CACHE_GIB="), cache.writing("dd", 1201):
        pass
    assert {entry.path.stem for entry in cache.entries()} == {"bb", "cc"}


def test_what_fails_halfway_leaves_nothing_and_what_a_killed_process_left_goes(cache: Cache) -> None:
    with pytest.raises(OSError, match="No space left"), cache.writing("ab", 8) as place:
        fail_after(place)
    assert list(cache.folder.glob("*.safetensors")) == []
    killed, at_work = cache.folder / "partial.cd.safetensors", cache.folder / "partial.ef.safetensors"
    for file in (killed, at_work):
        file.write_bytes(b"half")
    with cache.lock("ef"):
        keep(cache, "ab")
        assert not killed.exists()
        assert at_work.exists()
        with pytest.raises(Timeout), cache.lock("ef", timeout=0):
            pass
    assert [entry.path.stem for entry in cache.entries()] == ["ab"]


def test_the_environment_says_where_and_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CONVGRID_CACHE_GIB", "0.5")
    assert Cache().limit == 2**29
    assert Cache().folder == tmp_path / "convgrid" / "features"
    monkeypatch.delenv("CONVGRID_CACHE_GIB")
    assert Cache().limit == 10 * 2**30
    for text in ("much", "-1", "nan"):
        monkeypatch.setenv("CONVGRID_CACHE_GIB", text)
        with pytest.raises(ConfigError, match=rf"^CONVGRID_CACHE_GIB={text} is not a size in GiB\. Give a number"):
            Cache()


def test_rows_are_written_as_they_lie(cache: Cache) -> None:
    rows = torch.from_numpy(np.arange(24, dtype=np.float32).reshape(2, 3, 4)).permute(0, 2, 1)
    path = cache.folder.with_suffix(".safetensors")
    write(path, rows.shape, rows.dtype, [rows], {})
    assert torch.equal(read(path), rows)
