"""A model over larger images: the map's numbers, its picture, its files, and the programs that make it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import convgrid
from convgrid.cli.main import main
from convgrid.model.agreement import ask
from convgrid.model.class_map_overlay import COLOURS, Classes, overlay
from convgrid.model.export_formats import in_process, read
from convgrid.model.trained_model import load
from convgrid.network.sliding import step_of
from trained_models import PHOTOS, train, write_arrays

Typed = Callable[..., tuple[int, str, str]]
VALID = "arch.pattern='INPUT -> CONV(4, padding=valid, stride=2) -> RELU -> FC'"
JOINS = "arch.pattern='INPUT -> CONV(4, stride=2) -> SUM[CONV(4) -> NORM(batch) | SKIP] -> RELU -> FC(6) -> RELU -> FC'"
OWN = ("data.limit=0", "trainer.max_epochs=1")


@pytest.fixture
def typed(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    def type_(*argv: object) -> tuple[int, str, str]:
        status = main([*map(str, argv)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return type_


@pytest.fixture(scope="module", params=[VALID, JOINS], ids=["valid", "joins"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    return train(folder, *write_arrays(folder / "own.npz", np.arange(60) % 3), *OWN, request.param)


def photo(height: int = 21, width: int = 30) -> np.ndarray:
    """Colours that are other ones at each place, not noise: classes form areas."""
    y, x = np.mgrid[:height, :width]
    return np.stack([8 * x, 12 * y, 255 * (x // 6 % 2)], -1).clip(0, 255).astype(np.uint8)


def test_a_map_is_written_as_a_picture_and_as_a_table_of_the_windows(run: Path, typed: Typed, in_tmp: Path) -> None:
    Image.fromarray(photo()).save("photo.png")
    status, out, err = typed("predict", run, "photo.png", "--map")
    assert status == 0
    model, pads = in_process(load(run)), "SUM[" in str(load(run).meta.plan.pattern)
    assert out.startswith("photo.png  photo.map.png  photo.map.csv  ")
    assert out.endswith(f" of {5 * 10} places\n")
    assert ("(it pads), so that places differ from crops: " in err) == pads
    table = pd.read_csv("photo.map.csv", dtype={"class": str})
    assert [*table.columns[:7]] == ["row", "column", "left", "top", "right", "bottom", "class"]
    assert table.iloc[13, :6].tolist() == [1, 3, 6, 2, 18, 14]  # a step of 2, windows of 12
    best = table.filter(like="probability_").idxmax(axis=1)
    assert [f"probability_{name}" for name in table["class"]] == best.tolist()
    np.testing.assert_allclose(table.filter(like="probability_").sum(axis=1), 1, atol=1e-5)
    crops = [photo()[row.top : row.bottom, row.left : row.right] for row in table.itertuples()]
    expected = ask(model, torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2))
    if not pads:
        np.testing.assert_allclose(table.filter(like="probability_"), expected, atol=1e-4)
    with Image.open("photo.map.png") as picture:
        assert picture.height >= 512 / 30 * 21


def test_the_same_map_in_python_of_a_file_and_of_arrays_in_any_layout(run: Path, in_tmp: Path) -> None:
    Image.fromarray(photo()).save("photo.png")
    model = convgrid.load(run)
    (made,) = model.map("photo.png")
    assert made.predictions.shape == (5, 10, 3)
    for array in (photo(), photo()[None], photo().transpose(2, 0, 1)):
        torch.testing.assert_close(model.map(array)[0].predictions, made.predictions)
    assert model.map("photo.png").frame.index.unique().tolist() == ["photo.png"]
    assert {path.name for path in model.map(photo()).save(in_tmp)} == {"0.map.png", "0.map.csv"}
    own = photo(*PHOTOS[1:])  # of the network's own size: one place, which says what predict says
    np.testing.assert_allclose(
        model.map(own).frame.iloc[0, 7:].astype(float), model.predict(own).iloc[0, 1:], atol=1e-5
    )


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_photos_of_any_kind_are_taken(run: Path, typed: Typed, mode: str) -> None:
    grey = Image.fromarray(photo()).convert("L")
    (Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)).save("p.png")
    assert typed("predict", run, "p.png", "--map")[0] == 0
    grey.convert("RGB").save("rgb.png")
    assert typed("predict", run, "rgb.png", "--map")[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("p.map.csv"), pd.read_csv("rgb.map.csv"))


def test_small_and_broken_photos_are_named_and_the_others_mapped(run: Path, typed: Typed, in_tmp: Path) -> None:
    Image.fromarray(photo(11, 40)).save("small.png")
    Image.fromarray(photo()).save("photo.png")
    (in_tmp / "broken.png").write_bytes(b"no picture")
    status, out, err = typed("predict", run, "small.png", "broken.png", "photo.png", "--map")
    assert status == 1
    assert out.startswith("photo.png  ")
    assert (
        "small.png: 40x11 pixels, and a map needs at least the 12x12 of the network. Use a larger image, or predict "
        "it without a map.\n" in err
    )
    assert "broken.png: not a readable image\n" in err
    with pytest.raises(convgrid.ConvgridError, match="images: 40x11 pixels, and a map needs at least the 12x12"):
        convgrid.load(run).map(photo(11, 40))


def test_maps_of_one_name_are_refused_before_any_is_written(run: Path, typed: Typed, in_tmp: Path) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Image.fromarray(photo()).save(f"{folder}/1.png")
    status, _, err = typed("predict", run, "a", "b", "--map")
    assert (status, [*in_tmp.glob("*.csv")]) == (1, [])
    assert err == "ModelError: 2 images are named 1, and their maps would be one file. Map them one by one.\n"


@pytest.mark.parametrize(
    ("run", "format_"),
    [(VALID, "torch_export"), (JOINS, "onnx")],
    ids=["valid-torch_export", "joins-onnx"],
    indirect=["run"],
)
def test_an_exported_map_takes_any_size_and_predicts_as_its_run(run: Path, typed: Typed, format_: str) -> None:
    suffix = {"torch_export": "pt2", "onnx": "onnx"}[format_]
    status, out, _ = typed("export", run, "--map", "--format", format_, "--out", f"map.{suffix}")
    assert status == 0
    assert "largest difference" in out
    file, original = read(Path(f"map.{suffix}")), in_process(load(run))
    for size in ((12, 12), (12, 31), (40, 13), (33, 34)):
        pixels = torch.from_numpy(photo(*size)).permute(2, 0, 1)[None].contiguous()
        torch.testing.assert_close(file.map(pixels), original.map(pixels), rtol=1e-3, atol=1e-4)
        assert file.map(pixels).shape == (1, 3, (size[0] - 12) // 2 + 1, (size[1] - 12) // 2 + 1)
    images = load(run).images[:3]
    torch.testing.assert_close(file.predict(images), original.predict(images), rtol=1e-3, atol=1e-4)
    card = Path(f"map.{suffix}.md").read_text()
    assert "(any number, 3, at least 12, at least 12)" in card
    assert "is 2 c to the right and 2 r down" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    exec(code, {})


def test_a_class_that_a_spreadsheet_would_run_has_an_apostrophe_in_the_table(run: Path, in_tmp: Path) -> None:
    (made,) = convgrid.load(run).map(photo())
    profile = replace(made.meta.profile, names=("=1+1", "@a", "-b"))
    replace(made, meta=replace(made.meta, profile=profile)).save()
    table = pd.read_csv("0.map.csv")
    assert {*table["class"]} <= {"'=1+1", "'@a", "'-b"}


def test_files_without_a_map_say_what_to_use(run: Path, typed: Typed) -> None:
    status, _, err = typed("export", run, "--map", "--format", "safetensors")
    assert (status, err.partition(" ")[2]) == (
        1, "--map: a safetensors file holds the layers, and maps larger images as it is. Leave --map out.\n",
    )  # fmt: skip
    Image.fromarray(photo()).save("photo.png")
    assert typed("export", run, "--format", "safetensors", "--out", "one.safetensors")[0] == 0
    assert typed("predict", "one.safetensors", "photo.png", "--map")[0] == 0
    assert typed("export", run, "--out", "one.pt2")[0] == 0
    status, _, err = typed("predict", "one.pt2", "photo.png", "--map")
    assert status == 1
    assert "holds a program for images of one size. Use the run instead, or export it with --map" in err


def test_labels_are_mapped_and_numbers_have_a_table_only(in_tmp: Path, typed: Typed) -> None:
    Image.fromarray(photo()).save("photo.png")
    labels = np.arange(120).reshape(60, 2) % 3 % 2
    multilabel = ["data.task=multilabel", "loss=binary_crossentropy", VALID]
    folder = train(in_tmp, *write_arrays(in_tmp / "labels.npz", labels), *OWN, *multilabel)
    assert typed("predict", folder, "photo.png", "--map")[0] == 0
    table = pd.read_csv("photo.map.csv", keep_default_na=False, dtype=str)
    for _, row in table.iterrows():
        above = [name for name in "01" if float(row[f"probability_{name}"]) > 0.5]
        assert row["labels"] == ", ".join(above)
    numbers = ["data.task=regression", "loss=mean_absolute_error", VALID]
    folder = train(in_tmp, *write_arrays(in_tmp / "numbers.npz", np.arange(60.0)), *OWN, *numbers)
    status, _, err = typed("predict", folder, "photo.png", "--map")
    assert status == 1
    assert "--map draws classes or labels, and this model predicts numbers. In Python," in err
    maps = convgrid.load(folder).map("photo.png")
    crop = convgrid.load(folder).predict(photo()[2:14, 6:18])
    assert maps[0].frame.loc[13, "target"] == pytest.approx(crop.loc[0, "target"], rel=1e-4)
    assert [path.name for path in maps.save()] == ["photo.map.csv"]
    assert step_of(load(folder).meta.plan) == (2, 2)


def test_the_picture_colours_the_middle_of_each_window_and_leaves_none_bare() -> None:
    chosen = np.array([[0, 0, 1], [0, 0, -1]])
    picture = np.asarray(
        overlay(np.full((8, 10), 255, np.uint8), Classes(chosen, np.ones((2, 3)), "ab", (6, 6), (2, 2)))
    )
    assert picture.shape[0] == 8 * 52  # 512 / 10, rounded up
    colours = [np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) for colour in COLOURS[:2]]
    mixed = [0.75 * colour + 0.25 * 255 for colour in colours]

    def at(x: float, y: float) -> np.ndarray:
        return picture[round(52 * y), round(52 * x)].astype(float)

    np.testing.assert_allclose(at(3.5, 3.5), mixed[0], atol=1)  # place 0, 0 fills 2 to 4
    np.testing.assert_allclose(at(7.5, 3.5), mixed[1], atol=1)
    np.testing.assert_allclose(at(7.5, 5.5), 255)  # none
    np.testing.assert_allclose(at(9, 7), 255)  # outside of all middles
