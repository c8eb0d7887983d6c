"""From override texts to points, against Hydra's own sweeper."""

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from convgrid.config import check
from convgrid.config.composer import find_options
from convgrid.config.grids import union
from convgrid.config.overrides import read
from convgrid.errors import ConfigError, Mistakes
from convgrid.sweep.grid import Axis, axes, points, repetitions, size

LOADER = find_options(None)


def texts(line: str, zips: list[list[str]] | None = None) -> list[list[str]]:
    found: list[Axis] = axes(tuple(read(text, LOADER) for text in line.split()), zips or [])
    made = [[str(override.input_line) for override in point] for point in points(found)]
    assert len(made) == size(found)
    return made


@pytest.mark.parametrize(
    "line",
    [
        "arch.n=1,2,3 arch.m=1,2 optimizer=sgd,adam",
        "arch.n=1 arch.m=2",
        "arch.n=choice(1,2) seed=range(0,4)",
        "seed=range(10,0,-3) optimizer.lr=range(0.1,0.35,0.1)",
        "optimizer=glob(*) loss=glob([hinge,squared*])",
        "optimizer=glob(*,exclude=ada*)",
        "optimizer.lr=tag(log,choice(0.1,1e-5,1e16))",
        "arch.n=sort(3,1,2) arch.m=sort(1,2,3,reverse=true)",
        "optimizer.lr=float(choice(1,2)) arch.n=int(range(1.0,3.0))",
        "arch.pattern='INPUT->FC','INPUT->CONV(6,kernel=5)->FC'",
        'tracking.experiment="a,b",c',
        "optimizer.betas=[0.5,0.6],[0.7,0.8] optimizer={lr:1},{lr:2}",
        "layer.pool.stride=null,2 dry_run=true,false",
        "seed=${arch.n},${arch.m}",
        "arch.n=1,2 arch.m=1,2 arch.n=3,4",
        "arch.n=1,2 arch.m=1 arch.n=5",
        "++arch.n=1,2",
    ],
)
def test_points_are_those_of_hydras_own_sweeper_in_its_order(line: str) -> None:
    overrides = OverridesParser.create(config_loader=LOADER).parse_overrides(line.split())
    assert texts(line) == BasicSweeper.split_arguments(overrides, None)[0]


def test_shuffled_values_are_all_there_in_an_order_that_comes_again() -> None:
    shuffled = texts("seed=shuffle(range(0,20))")
    assert shuffled == texts("seed=shuffle(range(0,20))")
    assert shuffled != texts("seed=range(0,20)")
    assert sorted(shuffled) == sorted(texts("seed=range(0,20)"))


def test_zipped_keys_advance_together_at_the_place_of_the_first() -> None:
    assert texts("arch.n=1,2 optimizer=sgd,adam arch.m=3,4", [["arch.m", "arch.n"]]) == [
        ["arch.m=3", "arch.n=1", "optimizer=sgd"],
        ["arch.m=3", "arch.n=1", "optimizer=adam"],
        ["arch.m=4", "arch.n=2", "optimizer=sgd"],
        ["arch.m=4", "arch.n=2", "optimizer=adam"],
    ]


def test_zipped_keys_of_unequal_length_are_told_with_their_lengths() -> None:
    with pytest.raises(ConfigError, match=r"need equally many values, but have: arch\.n 2, arch\.m 3\.$"):
        texts("arch.n=1,2 arch.m=1,2,3", [["arch.n", "arch.m"]])


def test_a_zip_of_a_key_without_values_in_this_grid_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^sweep\.zip=\[\[arch\.n,arch\.m\]\]: arch\.m has no values\."):
        texts("arch.n=1,2", [["arch.n", "arch.m"]])


def test_a_zip_of_another_grids_keys_changes_nothing() -> None:
    assert texts("arch.k=0,1", [["arch.n", "arch.m"]]) == [["arch.k=0"], ["arch.k=1"]]


def test_an_interval_is_for_a_search() -> None:
    with pytest.raises(ConfigError, match="an interval is for a search"):
        texts("optimizer.lr=interval(0.1,1)")


def test_a_point_is_repeated_for_each_fold_and_in_it_for_each_seed() -> None:
    point = (read("arch.n=1", LOADER),)
    made = [[str(o.input_line) for o in repeated] for repeated in repetitions(point, 7, 2, 2)]
    assert made == [
        ["arch.n=1", "fold=[1,2]", "seed=7"],
        ["arch.n=1", "fold=[1,2]", "seed=8"],
        ["arch.n=1", "fold=[2,2]", "seed=7"],
        ["arch.n=1", "fold=[2,2]", "seed=8"],
    ]
    assert list(repetitions(point, 7, None, None)) == [point]


@pytest.mark.parametrize("value", ["arch.n=1", [1], ["arch.n=1"], [["arch.n=1"], "arch.m=1"], [["arch.n"]], {"a": 1}])
def test_a_union_that_is_none_is_told_with_an_example(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^sweep\.union=.* must be a list of lists of overrides, such as \[\["):
        union(value)


def test_every_grid_of_a_union_is_checked_by_its_own_options() -> None:
    typed = 'sweep.union=[["optimizer=sgd","optimizer.momentum=0.5"],["optimizer.momentum=0.9","arch.n=x"]]'
    with pytest.raises(Mistakes) as caught:
        check(["-m", typed, "seed=0,1"])
    assert str(caught.value).splitlines() == [
        "ConfigError: optimizer.momentum is not a key of optimizer=adam, but of optimizer=rmsprop and sgd. "
        "Use one of them, or leave it out.",
        "ConfigError: arch.n=x must be a whole number, as its default 1.",
    ]
