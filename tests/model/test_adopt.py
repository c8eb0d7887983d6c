"""`convgrid adopt`: weights of another program become a file that is predicted with and trained from."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from convgrid.cli.main import main
from convgrid.data.embedded import digits
from convgrid.model.adopt import Checked
from convgrid.runs.source import read_metadata

ARCH = ("arch=convnet", "arch.filters=4")
THEIRS = {"conv1": "features.0", "conv2": "features.3", "fc1.1": "classifier.1", "output": "classifier.4"}


@pytest.fixture(scope="module")
def weights(trained_digits: Path) -> dict[str, Tensor]:
    """A trained network's under other names, in the network's order."""
    state = torch.load(trained_digits / "best.ckpt", weights_only=True)["state_dict"]
    inner = {name.removeprefix("predictor.network."): tensor for name, tensor in state.items() if "network." in name}
    return {
        f"module.{next(theirs for ours, theirs in THEIRS.items() if name.startswith(ours))}.{name.rpartition('.')[2]}":
        tensor for name, tensor in inner.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def pixels(trained_digits: Path) -> list[str]:
    """What the network wants of pixels, where white is 16."""
    state = torch.load(trained_digits / "best.ckpt", weights_only=True)["state_dict"]
    mean, std = (state[f"predictor.{name}"][0, 0, 0, 0].item() for name in ("mean", "std"))
    return ["--size", "8", "--mean", str(mean), "--std", str(std), "--scale", "16"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as pictures, in a folder a class."""
    place, part = tmp_path_factory.mktemp("photos"), digits().validation
    assert isinstance(part.images, Tensor)
    for number, (image, target) in enumerate(zip(part.images[:100], part.targets.tolist(), strict=False)):
        folder = place / str(target)
        folder.mkdir(exist_ok=True)
        Image.fromarray((image[0].numpy() * (255 / 16)).round().astype(np.uint8)).save(folder / f"{number}.png")
    return place


def test_adopted_weights_predict_are_trained_from_and_say_what_they_are(
    weights: dict[str, Tensor], pixels: list[str], photos: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"epoch": 9, "state_dict": weights}, "net.pth")
    words = ["adopt", "net.pth", *ARCH, *pixels, "--check", str(photos), "--licence", "MIT"]
    assert main(words) == 0
    said = capsys.readouterr().out
    right, count = int(said.split("  ")[1].split()[0]), int(said.split(" of ")[1].split()[0])
    assert count == 100
    assert right >= 70  # after 6 epochs
    about = read_metadata(Path("net.safetensors"))["about"]
    assert about["licence"] == "MIT"
    assert about["source"] == "net.pth"
    assert about["check"].startswith(f"{right} of 100 images")
    assert len(about["noise"]) == 2

    assert main(["predict", "net.safetensors", str(photos / "3"), "--csv"]) == 0
    told = [line.split(",")[1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert told.count("3") > len(told) / 2

    train = ["run", *ARCH, "arch.weights=net.safetensors", "arch.freeze=features", "trainer.max_epochs=1",
             "tracking=none", "data.limit=100", "trainer=cpu"]  # fmt: skip
    assert main([*train, "dry_run=true"]) == 0
    assert "weights of net.safetensors: 4 of 4 layers" in capsys.readouterr().out
    assert main(train) == 0
    (folder,) = Path("runs").iterdir()
    state = torch.load(folder / "best.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(state["predictor.network.conv2.weight"], weights["module.features.3.weight"])
    assert state["predictor.mean"][0, 0, 0, 0].item() == pytest.approx(float(pixels[3]), rel=1e-5)  # white is 16 here
    assert main(words) == 1
    assert "net.safetensors already exists. Remove it" in capsys.readouterr().err


def test_safetensors_sorts_and_is_put_in_order(
    weights: dict[str, Tensor], pixels: list[str], photos: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, "sorted.safetensors")
    words = ["adopt", "sorted.safetensors", *ARCH, *pixels, "--check", str(photos), "--out"]
    assert main([*words, "own.safetensors"]) == 0
    assert "predicted correctly" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("noise", "that is not far enough above it"),
        ("turned", "that is not far enough above it"),
        (
            "another size",
            "features.3 is a convolution of 9x4x3x3, bias, and conv2, where it would go, is 8x4x3x3",
        ),
        ("lost", "the network has 4 layers with weights, and the file 3: only the network has output"),
        ("torn", "cannot be read"),
        ("code", "cannot be read: Weights only load failed"),
    ],
)
def test_a_file_that_is_not_the_networks_gets_no_name(
    weights: dict[str, Tensor], pixels: list[str], photos: Path, in_tmp: Path, change: str, said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    changed = dict(weights)
    match change:
        case "noise":
            draws = torch.Generator().manual_seed(0)
            changed = {name: torch.randn(tensor.shape, generator=draws) for name, tensor in weights.items()}
        case "turned":  # the shapes fit
            changed["module.classifier.4.weight"] = weights["module.classifier.4.weight"].roll(3, 0)
        case "another size":
            changed["module.features.3.weight"] = torch.zeros(9, 4, 3, 3)
            changed["module.features.3.bias"] = torch.zeros(9)
        case "lost":
            changed = {name: tensor for name, tensor in weights.items() if "classifier.4" not in name}
        case _:
            pass
    torch.save(changed if change != "code" else print, "net.pth")
    if change == "torn":
        Path("net.pth").write_bytes(Path("net.pth").read_bytes()[:200])
    assert main(["adopt", "net.pth", *ARCH, *pixels, "--check", str(photos)]) == 1
    assert said in capsys.readouterr().err
    assert [path.name for path in in_tmp.iterdir()] == ["net.pth"]


def test_a_table_of_images_may_name_several_classes(
    weights: dict[str, Tensor], pixels: list[str], photos: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(weights, "net.pth")
    Path("names.txt").write_text("\n".join("abcdefghij"))
    files = sorted(photos.glob("*/*.png"))
    lines = [f"{file},{'a|b|c' if file.parent.name in '012' else file.parent.name}" for file in files]
    Path("check.csv").write_text("\n".join(["file,class", *lines]))
    words = ["adopt", "net.pth", *ARCH, *pixels, "--classes", "names.txt", "--check", "check.csv"]
    assert main(words) == 0
    assert read_metadata(Path("net.safetensors"))["profile"]["names"] == [*"abcdefghij"]
    Path("check.csv").write_text(f"file,class\n{files[0]},z\n")
    assert main([*words, "--out", "other.safetensors"]) == 1
    assert "z is not a class of --classes, such as a, b, c." in capsys.readouterr().err


def test_mistakes_are_told_before_weights_are_read(
    in_tmp: Path, pixels: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.pth").touch()
    for words, said in (
        (["gone.pth", "arch=resnet18"], "gone.pth: there is no such file."),
        (["net.pth", "arch=resnt18"], "arch=resnt18 is not an option of arch. Did you mean arch=resnet18?"),
        (["net.pth", "arch.m=1"], "Add the network that the weights are of: arch=resnet18"),
    ):
        assert main(["adopt", *words, *pixels, "--check", "photos"]) == 1
        assert said.replace("arch=resnet18?", "resnet18?") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "text", "said"),
    [
        ("--size", "0", "--size: 0 must be pixels, such as 224, or height and width: 192,256"),
        ("--size", "1,2,3", "--size: 1,2,3 must be pixels"),
        ("--mean", "a", "--mean: a must be numbers, such as 0.485,0.456,0.406"),
        ("--std", "1,0,1", "--std: 1,0,1 must be above 0"),
        ("--scale", "nan", "--scale: nan must be above 0"),
    ],
)
def test_numbers_that_cannot_be_are_told(
    pixels: list[str], flag: str, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adopt", "net.pth", *ARCH, *pixels, "--check", "photos", flag, text]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("right", "count", "chance", "is_sure"),
    [(915, 1000, 0.1, True), (300, 400, 0.061, True), (52, 100, 0.5, False), (3, 4, 0.1, False), (400, 800, 0.5, False),
     (150, 1000, 0.1, False)],
)  # fmt: skip
def test_a_check_is_far_above_chance_or_is_none(right: int, count: int, chance: float, is_sure: bool) -> None:
    assert Checked(right, count, chance).is_sure is is_sure


def test_a_file_that_no_longer_predicts_what_it_did_is_refused(
    weights: dict[str, Tensor], pixels: list[str], photos: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(weights, "net.pth")
    assert main(["adopt", "net.pth", *ARCH, *pixels, "--check", str(photos)]) == 0
    tensors, told = load_file("net.safetensors"), json.dumps(read_metadata(Path("net.safetensors")))
    tensors["network.conv1.weight"] += 0.1
    save_file(tensors, "net.safetensors", {"convgrid": told})
    assert main(["predict", "net.safetensors", str(photos / "3")]) == 1
    assert "does not predict what it did when it was written" in capsys.readouterr().err


def test_a_header_that_is_none_is_refused(in_tmp: Path) -> None:
    Path("x.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ValueError, match="a header of"):
        read_metadata(Path("x.safetensors"))
