"""What the user calls weights, before they are read."""

import shutil
from pathlib import Path

import pytest

from convgrid.runs.source import pinned


def test_last_is_what_was_trained_last_when_it_was_typed(trained_digits: Path, in_tmp: Path) -> None:
    """A search that goes on asking would otherwise take its own trials for it."""
    assert pinned(["arch.weights=last"]) == ["arch.weights=last"]  # there is none yet, which is told later
    shutil.copytree(trained_digits, Path("runs") / "abc")
    words = ["-m", "arch.weights=null,last", "data.root=last", "arch.weights=lasting"]
    assert pinned(words) == ["-m", "arch.weights=null,runs/abc/best.ckpt", "data.root=last", "arch.weights=lasting"]


@pytest.mark.parametrize("name", ["arch.weights", "arch.weights=", "arch.weights=imagenet", "+arch.weights=last"])
def test_other_words_stay_as_they_are(name: str) -> None:
    assert pinned([name]) == [name]
