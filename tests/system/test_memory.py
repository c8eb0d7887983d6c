"""What Python's garbage collector does while libraries are imported."""

import gc
from collections.abc import Iterator

import pytest

from convgrid.system.memory import uncollected


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    yield
    gc.enable()


def test_nothing_is_collected_inside_and_everything_afterwards() -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        kept = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)  # what was made inside is not looked at again


def test_the_collector_is_back_where_an_import_fails() -> None:
    with pytest.raises(ImportError), uncollected():
        import convgrid.nowhere  # pyright: ignore[reportMissingImports]  # noqa: F401
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()
