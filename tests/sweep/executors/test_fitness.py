"""A node of other code, or without the data, is told so."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch

from convgrid.config import Settings
from convgrid.sweep.executors import fitness
from convgrid.sweep.executors.fitness import code, faults, own_modules, paths_read

SettingsMaker = Callable[..., Settings]


def test_the_code_is_convgrids_source_and_the_versions_of_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = code()
    assert (found["torch"], found["numpy"]) == (torch.__version__.partition("+")[0], numpy.__version__)
    assert found["Python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert {"lightning", "pillow", "scikit-learn"} <= found.keys()
    assert not {"ruff", "pytest", "onnx"} & found.keys()  # of extras
    assert faults(found, {}, []) == ""
    other = {**found, "torch": "1.0", "convgrid": "123456789abc"}
    assert faults(other, {}, []) == (
        f"its code differs: convgrid is another, torch {found['torch']} instead of 1.0. "
        "Start it with the scheduler's Python environment"
    )
    code.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.0+cu130")
    monkeypatch.setattr(fitness, "version", lambda name: "2.0+cu130")
    assert code()["torch"] == "2.0"  # built for a GPU, it is the same
    code.cache_clear()


def test_a_changed_source_file_is_other_code(tmp_path: Path) -> None:
    (tmp_path / "package" / "inner").mkdir(parents=True)
    files = [tmp_path / "package" / name for name in ("__init__.py", "inner/a.py")]
    for file in files:
        file.write_text("x = 1\n")
    digests = [fitness._digest(tmp_path / "package")]
    files[1].write_text("x = 2\n")
    digests.append(fitness._digest(tmp_path / "package"))
    files[1].rename(files[1].with_name("b.py"))
    digests.append(fitness._digest(tmp_path / "package"))
    (tmp_path / "package" / "notes.txt").write_text("no code")
    assert len({*digests}) == 3
    assert fitness._digest(tmp_path / "package") == digests[2]


def test_the_users_own_modules_count_and_are_not_imported(
    settings: SettingsMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "never_imported.py"
    file.write_text("raise AssertionError\n")
    made = settings()
    own = Settings(
        {**made.values, "activation": {"_target_": "never_imported.Act"}, "loss": {"_target_": "torch.nn.GELU"}},
        made.choices,
        made.folders,
    )
    here = own_modules([own])
    assert here == {"never_imported": fitness._digest(file)}
    assert faults(code(), here, []) == ""
    file.write_text("x = 1\n")
    assert faults(code(), here, []).startswith("its code differs: never_imported, of your own, is another.")
    file.unlink()
    assert faults(code(), here, []).startswith("its code differs: never_imported, of your own, is another.")


def test_secrets_of_the_environment_must_be_set_there(settings: SettingsMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "1234")
    made = settings()
    made = Settings({**made.values, "mine": {"token": "${oc.env:MY_TOKEN}"}}, made.choices, made.folders)
    assert fitness.secrets_of([made]) == ["MY_TOKEN"]
    assert faults(code(), {}, [], ["MY_TOKEN"]) == ""
    monkeypatch.delenv("MY_TOKEN")
    told = "the environment variable MY_TOKEN is not set there. Set it: secrets are not sent"
    assert faults(code(), {}, [], ["MY_TOKEN"]) == told


def test_data_and_weights_must_be_there(settings: SettingsMaker, in_tmp: Path) -> None:
    (in_tmp / "photos").mkdir()
    made = settings("data=image_folder", f"data.root={in_tmp}/photos", "arch.weights=last")
    read = paths_read([made, made])
    assert read == [str(in_tmp / "photos")]  # `last` is no file
    assert faults(code(), {}, read) == ""
    (in_tmp / "photos").rmdir()
    assert faults(code(), {}, read) == f"{in_tmp}/photos is missing there. Put the data where all nodes see it"


def test_a_folder_that_is_empty_where_nothing_is_mounted_is_missing_data(settings: SettingsMaker, in_tmp: Path) -> None:
    for name in ("cats", "dogs"):
        (in_tmp / "photos" / name).mkdir(parents=True)
    read = paths_read([settings("data=image_folder", f"data.root={in_tmp}/photos")])
    assert faults(code(), {}, read) == ""
    for name in ("cats", "dogs"):
        (in_tmp / "photos" / name).rmdir()
    assert faults(code(), {}, read) == f"{in_tmp}/photos/cats is missing there. Put the data where all nodes see it"
