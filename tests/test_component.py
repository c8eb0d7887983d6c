from pathlib import Path
from typing import Any

import pytest

from convgrid.component import Component
from convgrid.errors import ConfigError


def bound(target: str, **options: Any) -> Any:
    return Component("mine", target, options, "optimizer").bind()


def test_a_component_takes_the_pipelines_arguments_in_place_and_the_configs_by_name() -> None:
    assert bound("builtins.sorted", reverse=True)([1, 3, 2]) == [3, 2, 1]


def test_a_class_within_a_class_can_be_named() -> None:
    assert bound("collections.Counter.fromkeys").__class__.__name__ == "partial"


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("nowhere.adam", "No module named 'nowhere'"),
        ("collections.nothing", "module 'collections' has no attribute 'nothing'"),
        ("not a name", "invalid format: 'not a name'"),
    ],
)
def test_a_target_that_cannot_be_imported_is_named_with_its_option(target: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bound(target)
    first, second = str(caught.value).splitlines()
    assert first == f"optimizer=mine names {target}, which cannot be imported: {cause}."
    assert second == "Mend _target_ in the option's file, or add the module's folder to PYTHONPATH."


def test_a_target_that_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer=mine names os\.sep, which is neither a function nor a class\."):
        bound("os.sep")


def test_a_key_that_a_function_does_not_take_is_refused_when_bound() -> None:
    with pytest.raises(ConfigError) as caught:
        bound("convgrid.optimizers.sgd", betas=[0.9, 0.999])
    assert str(caught.value) == (
        "optimizer=mine: convgrid.optimizers.sgd got an unexpected keyword argument 'betas'. "
        "Give it that argument, or drop the key."
    )


def test_what_has_no_signature_is_taken_at_its_word() -> None:
    assert bound("torch.relu").func.__name__ == "relu"


def test_a_component_without_a_group_is_named_alone() -> None:
    with pytest.raises(ConfigError, match=r"^fc names nowhere\.fc,"):
        Component("fc", "nowhere.fc").bind()


def test_a_module_that_fails_to_import_shows_its_own_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module_of_mine.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        bound("broken_module_of_mine.adam")
