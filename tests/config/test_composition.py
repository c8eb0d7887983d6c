"""Points composed once for each choice of options are, key for key, what Hydra composes for each point."""

import copy
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

from convgrid.config import Composition, Settings, files, from_hydra, register_experiments
from convgrid.config.composer import Composer, find_options
from convgrid.config.overrides import quoted, read
from convgrid.errors import ConfigError

# Some keys are set to what no option has, so that a stale value cannot pass.
GROUPS = {
    "arch": ["convnet", "linear", "lenet5", "resnet32"],  # these two choose other groups
    "layer/pool": ["max", "average", "none"],
    "layer/norm": ["none", "batch", "group", "layer"],
    "layer/dropout": ["none", "plain", "spatial"],
    "activation": ["relu", "tanh", "elu"],
    "loss": ["categorical_crossentropy", "squared_hinge"],
    "optimizer": ["sgd", "adam", "rmsprop"],
    "schedule": ["constant", "cosine"],
    "data": ["digits", "mnist", "random"],
    "augment": ["none", "cifar"],
    "trainer": ["auto", "debug"],
}
KEYS = {
    "seed": ["7", "${arch.n}", "${data.split_seed}"],
    "arch.n": ["3", "${seed}"],
    "arch.m": ["0", "4"],
    "arch.growth": ["1", "1.5"],
    "arch.pattern": ["INPUT -> CONV(6, kernel=5) -> RELU -> FC", "INPUT -> [CONV -> ACT]*N -> FC"],
    "arch": ["{k:5}", "{k:6,hidden:7}"],
    "layer.conv.kernel_size": ["[3,5]", "5"],
    "layer.pool.stride": ["null", "2"],
    "layer.norm.eps": ["0.5"],
    "optimizer.lr": ["1e-2", "1", "${regularization.l1}"],
    "optimizer.momentum": ["0.9"],
    "optimizer.betas": ["[0.5,0.6]"],
    "optimizer": ["{lr:0.3}"],
    "data.root": ["null", "/some where/else", "${oc.env:HOME}/x"],
    "data.shape": ["[1,16,16]"],
    "data.batch_size": ["64", "${arch.filters}"],
    "trainer.max_epochs": ["3"],
    "objective": ["{mode:max}"],
    "sweep.zip": ["[[a,b]]"],
}
EXPERIMENT = """# @package _global_
defaults:
  - override /optimizer: sgd
  - override /layer/norm: batch
optimizer: {lr: 0.123, momentum: 0.5}
arch: {m: 1, hidden: 99}
data: {batch_size: 11}
"""


@pytest.fixture
def own_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with an option that refers, one that sets keys of another group, and an experiment."""
    monkeypatch.setattr(files, "EXPERIMENTS", tmp_path)
    (tmp_path / "mine.yaml").write_text(EXPERIMENT)
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "refers.yaml").write_text(
        "_target_: own.x\nlr: ${regularization.l2}\nmomentum: ${.lr}\nbetas: [0.1, 0.2]\n"
    )
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule" / "reaches.yaml").write_text(
        "# @package _global_\nschedule: {_target_: own.y, warmup_epochs: 1.0}\nregularization: {l1: 0.25}\n"
    )
    (tmp_path / "augment").mkdir()
    (tmp_path / "augment" / "brings.yaml").write_text("defaults:\n  - custom\n  - _self_\nflip_horizontal: 0.125\n")
    register_experiments()
    return str(tmp_path)


ONLY_IN = {
    "layer.pool.stride": ("layer/pool", {"max", "average"}),
    "layer.norm.eps": ("layer/norm", {"batch", "group", "layer"}),
    "optimizer.momentum": ("optimizer", {"sgd", "rmsprop", "refers"}),
    "optimizer.betas": ("optimizer", {"adam", "refers"}),
    "data.root": ("data", {"mnist"}),
}


def by_hydra(composed: DictConfig, keys: Sequence[Override]) -> Settings | str:
    """What Hydra makes of the options, with the keys set as it sets them: in the order given."""
    cfg = copy.deepcopy(composed)
    ConfigLoaderImpl._apply_overrides_to_config(list(keys), cfg)
    try:
        return from_hydra(cfg, cfg.hydra)
    except ConfigError as error:
        return str(error)


def drawn_keys(draw: random.Random, choices: Mapping[str, str]) -> list[str]:
    """Keys that the choices have, some of them twice."""
    known = [key for key in KEYS if key not in ONLY_IN or choices[ONLY_IN[key][0]] in ONLY_IN[key][1]]
    keys = draw.choices(known, k=draw.randint(0, 6))
    return [quoted(f"{key}={draw.choice(KEYS[key])}", multirun=False) for key in keys]


@pytest.mark.parametrize(("own", "seed"), [(False, 0), (True, 1)])
def test_a_points_settings_are_those_that_hydra_composes(own: bool, seed: int, own_options: str) -> None:
    loader = find_options(own_options if own else None)
    made, draw, groups = Composition(Composer("config", loader)), random.Random(seed), dict(GROUPS)
    if own:
        groups |= {"optimizer": ["refers", "adam", "sgd"], "schedule": ["reaches", "cosine"]}
        groups |= {"augment": ["brings", "none"], "experiments": ["mine"]}
    compared, references, refused = 0, 0, 0
    for names in [draw.sample(list(groups), draw.randint(0, 4)) for _ in range(3)]:
        for _ in range(2):  # the same groups with other options, as in a sweep
            options = [f"{name}={draw.choice(groups[name])}" for name in names]
            composed = loader.load_configuration("config", options, RunMode.RUN)
            plain = by_hydra(composed, [])
            assert isinstance(plain, Settings)
            for keys in [[], *(drawn_keys(draw, plain.choices) for _ in range(4))]:
                point = [read(text, loader) for text in draw.sample(options, len(options)) + keys]
                expected = by_hydra(composed, point[len(options) :])
                if isinstance(expected, str):
                    with pytest.raises(ConfigError):
                        made.settings(point)
                    refused += 1
                    continue
                settings, kept = made.settings(point)
                assert json.dumps(settings.values, sort_keys=True) == json.dumps(expected.values, sort_keys=True), keys
                assert settings.choices == expected.choices
                assert len(kept) == len(point)
                compared += 1
                references += any("${" in text for text in keys)
    assert compared + refused == 30
    assert compared > 20
    assert references > 4
