import pytest

from convgrid import errors
from convgrid.errors import ConfigError, ConvgridError, Interrupted, Mistakes, PlanError


def test_a_mistake_is_told_under_its_name() -> None:
    assert ConfigError("arch.m=x must be a whole number.").tell() == "ConfigError: arch.m=x must be a whole number."


def test_several_mistakes_are_told_one_after_the_other_and_each_once() -> None:
    several = Mistakes([ConfigError("one"), PlanError("two"), ConfigError("one")])
    assert several.tell() == "ConfigError: one\nPlanError: two"
    assert str(several) == several.tell()
    assert [type(error) for error in several.errors] == [ConfigError, PlanError, ConfigError]


def test_every_mistake_is_a_value_error_and_an_interruption_is_none() -> None:
    found = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, ConvgridError)]
    assert len(found) == 13
    assert all(issubclass(error, ValueError) for error in found)
    assert issubclass(Interrupted, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        raise Interrupted("Stopped.")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a.png cannot be read: The file ended early.. Give another.",
            "a.png cannot be read: The file ended early. Give another.",
        ),
        ("It failed: no such thing..", "It failed: no such thing."),
        ("data.root=.. holds no folders of classes.", "data.root=.. holds no folders of classes."),
        ("../a.png is missing; 1, 2, ...", "../a.png is missing; 1, 2, ..."),
    ],
)
def test_a_sentence_that_a_library_ended_has_one_full_stop(text: str, told: str) -> None:
    assert str(ConfigError(text)) == told
