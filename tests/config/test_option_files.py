"""A config in which options took each other's place is what Hydra composes; or else Hydra composes it."""

import functools
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from conftest import composer_of_options
from convgrid.config import files, register_experiments
from convgrid.config.composer import Composer, find_options
from convgrid.config.hydra_internals import load

SGD = "_target_: own.x\nlr: 0.01\n"


def plain(config: DictConfig) -> tuple[object, object]:
    """All values, and the choices."""
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)
    return values, values.pop("hydra")["runtime"]["choices"]


def write(folder: Path, **texts: str) -> str:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    return str(folder)


@functools.cache
def hydras(folder: str | None, name: str, *line: str) -> DictConfig:
    """What Hydra composes, once for all tests that compare with it."""
    return load(find_options(folder), name, line)


def composed(folder: str | None, *lines: list[str], name: str = "config") -> int:
    """Compose lines one after another, each as Hydra does; how many of them Hydra composed."""
    composer, by_hydra = Composer(name, find_options(folder)), 0
    for line in lines:
        expected = hydras(folder, name, *line)
        with pytest.MonkeyPatch.context() as patch:
            asked = list[object]()
            patch.setattr(
                "convgrid.config.composer.load",
                lambda *given, asked=asked, expected=expected: (asked.append(given), expected)[1],
            )
            assert plain(composer.compose(line)) == plain(expected), line
        assert asked in ([], [(composer.loader, name, line)])  # if Hydra is asked, for the very same
        by_hydra += len(asked)
    return by_hydra


def test_every_option_that_stands_alone_takes_anothers_place() -> None:
    composer = composer_of_options()
    groups = [group for group in composer.compose([]).hydra.runtime.choices if group[:6] != "hydra/"]
    alone = {
        group: [name for name in composer.options(group) if composer.stands_alone(group, name)] for group in groups
    }
    alone = {group: names for group, names in alone.items() if names and group != "sweep"}  # which holds other groups
    assert sum(map(len, alone.values())) >= 100
    lines = [
        [f"{group}={names[number % len(names)]}" for group, names in alone.items()]
        for number in range(max(map(len, alone.values())))
    ]
    assert composed(None, [], *lines) == 1


def test_an_option_that_chooses_others_or_holds_other_groups_is_left_to_hydra() -> None:
    assert composed(None, [], ["arch=alexnet"], ["arch=alexnet", "layer/norm=batch"], ["arch=convnet"]) == 2
    assert composed(None, [], ["sweep=optuna"], ["sweep=optuna", "sweep/sampler=random"], ["sweep=grid"]) == 2


def test_what_hydra_alone_understands_is_left_to_it() -> None:
    assert composed(None, [], ["+seed_of=3"], ["loss='hinge'"], ["loss=hinge", "hydra.verbose=true"]) == 4


def test_an_experiment_keeps_the_keys_that_it_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "EXPERIMENTS", tmp_path)
    start = "# @package _global_\ndefaults:\n  - override /loss: hinge\n"
    write(tmp_path, mine=f"{start}optimizer: {{lr: 0.123}}\nlayer: {{conv: {{kernel_size: 5}}}}\n")
    register_experiments()
    mine = "experiments=mine"
    lines = [
        [mine, "loss=poisson"],
        [mine, "layer/norm=batch"],
        [mine, "optimizer=sgd"],
        [mine, "layer/conv=depthwise"],
    ]
    assert composed(None, [mine], *lines[:2]) == 1
    assert composed(None, [mine], *lines[2:]) == 3


@pytest.mark.parametrize(
    "text",
    [
        "# @package _global_\nschedule: {_target_: own.y}\noptimizer: {lr: 0.5}\n",
        "# @package optimizer\nlr: 0.5\n",
    ],
)
def test_an_option_that_reaches_into_a_group_keeps_its_say(text: str, tmp_path: Path) -> None:
    write(tmp_path, **{"schedule/mine": text})
    assert composed(str(tmp_path), ["schedule=mine"], ["schedule=mine", "optimizer=sgd"]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "defaults:\n  - config\n  - _self_\noptimizer: {lr: 0.5}\n",
        "defaults:\n  - optimizer: adam\n  - trainer: of_${optimizer}\n  - loss: hinge\n",
    ],
)
def test_a_primary_config_keeps_its_say(text: str, tmp_path: Path) -> None:
    write(tmp_path, **{"own": text, "trainer/of_adam": "max_epochs: 3\n", "trainer/of_sgd": "max_epochs: 5\n"})
    assert composed(str(tmp_path), [], ["optimizer=sgd"], name="own") == 2


def test_an_option_starts_from_others_of_its_group_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, **{
        "optimizer/first": SGD, "optimizer/last": "defaults: [first]\nlr: 0.2\nmomentum: 0.9\n",
        "optimizer/before": "defaults: [_self_, last]\nlr: 0.3\nnesterov: true\n",
    })  # fmt: skip
    lines = [[f"optimizer={name}"] for name in ("first", "last", "before")]
    assert composed(str(tmp_path), [], *lines) == 1


def test_an_option_that_starts_from_what_lies_elsewhere_is_left_to_hydra(tmp_path: Path) -> None:
    write(tmp_path, **{"optimizer/first": SGD, "optimizer/parts/first": SGD})
    starts = {"placed": "first@part", "deeper": "parts/first", "another": "/data/digits"}
    for name, start in starts.items():
        write(tmp_path, **{f"optimizer/{name}": f"defaults: ['{start}']\n_target_: own.x\nlr: 0.2\n"})
    mine = [f"optimizer={name}" for name in starts]
    assert composed(str(tmp_path), [], *([each] for each in mine), ["optimizer=sgd"]) == 4
    for each in mine:
        assert composed(str(tmp_path), [each], [each, "loss=hinge"], [each, "data=mnist"]) == 3
