"""The plan of a sweep says what features it computes, and how long that takes."""

import json
from pathlib import Path

import pytest

from conftest import compose_settings
from convgrid.config import architecture, flatten
from convgrid.features.cache import Cache
from convgrid.network.plan import plan
from convgrid.runs.files import write
from convgrid.runs.trial import DATA
from convgrid.sweep.interfaces import Trial
from convgrid.sweep.once import features_once
from convgrid.training.recording import profile
from convgrid.training.setup import read
from sweep_folders import finish, make_trial


def trial(*overrides: str) -> Trial:
    settings = compose_settings("arch.freeze=features", *overrides)
    return Trial((), settings, plan(architecture(settings), settings.data.shape, 10), "", "", {})


def remember(like: Trial, name: str = "abc") -> None:
    """An earlier trial on the same data, of 1,797 images."""
    values = {**dict(flatten(like.settings.values)), **like.settings.choices}
    folder = make_trial(Path("runs"), name, params={key: str(value) for key, value in values.items()})
    finish(folder)
    write(folder / DATA, json.dumps(profile(like.settings, read(like.settings)).dump()))


@pytest.fixture
def empty(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_tmp / "cache"))
    return in_tmp


def test_without_frozen_layers_or_with_augmentation_nothing_is_computed_once(empty: Path) -> None:
    assert features_once([trial("arch.freeze=none"), trial("augment=keras_blog")]) == ""
    assert features_once([]) == ""


def test_an_earlier_trial_on_the_same_data_tells_how_many_images_there_are(empty: Path) -> None:
    heads = [trial(f"arch.k={k}", f"seed={seed}", "data.batch_size=50") for k in (0, 1) for seed in (0, 1)]
    assert features_once(heads) == "of all images, once"
    remember(trial("data.limit=50"))
    assert features_once(heads) == "of all images, once"
    remember(trial("optimizer=sgd", "data.split_seed=4"), "def")
    assert features_once(heads) == "of 1,797 images: about 0 s, once, unless they are in the cache"
    several = [*heads, trial("arch.freeze=conv1")]
    assert "once for each of 2 networks or data sets" in features_once(several)
    assert features_once([*heads, trial("data.limit=50")]) == "of all images, once for each of 2 networks or data sets"


def test_views_are_looked_at_each(empty: Path) -> None:
    remember(trial())
    viewed = trial("augment=keras_blog", "data.views=3")
    assert features_once([viewed]).startswith("of 4,313 images: ")  # 1,797 and twice 1,258 of training


def test_the_last_features_tell_how_long_it_takes(empty: Path) -> None:
    chosen = trial()
    remember(chosen)
    cost = sum(layer.multiply_adds for layer in chosen.plan.layers[: chosen.plan.num_frozen])
    header = f'{{"__metadata__":{{"multiply-adds a second":"{cost * 1797 // 30}"}}}}'.encode()
    with Cache().writing("ab", 2**10) as place:
        place.write_bytes(len(header).to_bytes(8, "little") + header)
    assert features_once([chosen]) == "of 1,797 images: about 30 s, once, unless they are in the cache"
