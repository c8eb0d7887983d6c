"""`convgrid features`: a table and a map of what a network sees, with whatever names in it harmless."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from conftest import NO_BROWSER
from convgrid.cli.main import main
from convgrid.model.feature_map.drawing import DOT_STYLES, draw
from convgrid.model.feature_map.page import map_page
from convgrid.model.feature_map.projection import chosen, neighbours_agree, pca, tsne
from convgrid.model.trained_model import load
from convgrid.objective.predictor import Predictor

HOSTILE = "<img src=x onerror=alert(1)>\"'"


@pytest.fixture
def run(trained_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, whose folder may be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(trained_digits, tmp_path / "run"))


def test_features_are_the_last_layers_but_one_of_all_parts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", str(run), "--map", "pca"]) == 0
    said = capsys.readouterr().out
    table = np.load(run / "features" / "features.npz")
    assert set(table) == {"features", "targets", "parts", "classes", "files", "layer"}
    counts = {part: int((table["parts"] == part).sum()) for part in ("train", "validation", "test")}
    assert counts == {"train": 200, "validation": 270, "test": 269}
    assert table["features"].shape == (739, 128)
    assert table["classes"].tolist() == [str(digit) for digit in range(10)]
    predictor = load(run).predictor
    assert isinstance(predictor, Predictor)
    with torch.inference_mode():
        scores = predictor.network.get_submodule("output")(torch.from_numpy(table["features"]))
    validation = table["parts"] == "validation"
    right = (scores.argmax(1).numpy() == table["targets"])[validation].mean()
    known = re.search(r'"best/val/accuracy": ([\d.]+)', (run / "run.json").read_text())
    assert known
    assert right == pytest.approx(float(known[1]))
    assert re.search(r"features\.npz  739 images, 128 numbers each, of relu\d", said)
    with Image.open(run / "features" / "pca.png") as picture:
        assert picture.size[0] > 1000
    page = (run / "features" / "pca.html").read_text()
    assert page.count('data-s="') == 739
    assert "data:image/jpeg;base64," in page
    assert not re.search(r"(src|href)=\"?(https?:)?//", page)


def test_images_that_are_given_have_the_groups_that_are_predicted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "new" / f"<b>{number}.png")
    out = tmp_path / "out"
    assert main(["features", str(run), str(tmp_path / "new"), "--map", "tsne", "--out", str(out)]) == 0
    table = np.load(out / "features.npz")
    assert [Path(file).name for file in table["files"]] == [f"<b>{number}.png" for number in range(4)]
    assert table["features"].shape == (4, 128)
    page = (out / "tsne.html").read_text()
    assert "&lt;b&gt;2.png" in page
    assert "<b>2.png" not in page
    assert "nearest" not in capsys.readouterr().out


def test_without_a_map_the_table_is_all(run: Path) -> None:
    assert main(["features", str(run)]) == 0
    assert [file.name for file in (run / "features").iterdir()] == ["features.npz"]


def test_what_cannot_be_is_refused(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (run / "features").write_text("a file")
    assert main(["features", str(run)]) == 1
    assert re.search(r"DiskError: .*features cannot be written: File exists\.", capsys.readouterr().err)
    assert main(["features", str(run), str(run / "config.yaml")]) == 1
    assert "ModelError: None of the images can be read." in capsys.readouterr().err


@pytest.mark.parametrize("project", [pca, tsne])
def test_groups_far_apart_stay_apart(project: object) -> None:
    draws = np.random.default_rng(0)
    features = np.concatenate([draws.normal(0, 1, (30, 70)) + 40 * centre for centre in range(3)]).astype(np.float32)
    points = project(features)  # pyright: ignore[reportCallIssue]
    assert points.shape == (90, 2)
    nearest = NearestNeighbors(n_neighbors=4).fit(points).kneighbors(points, return_distance=False)
    assert (nearest // 30 == np.arange(90)[:, None] // 30).mean() > 0.95


def test_a_map_has_a_part_of_many_images_always_the_same() -> None:
    places = chosen(5000)
    assert len(set(places)) == 3000
    assert places.tolist() == sorted(places)
    assert places.tolist() == chosen(5000).tolist()


def test_the_nearest_vote() -> None:
    draws = np.random.default_rng(0)
    known, asked = draws.normal(size=(60, 5)), draws.normal(size=(20, 5))
    classes, answers = draws.integers(0, 2, 60), draws.integers(0, 2, 20)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (known, asked)]
    nearest = (-unit[1] @ unit[0].T).argsort(1)[:, :10]
    votes = classes[nearest].mean(1) > 0.5  # of a tie, the first class
    assert neighbours_agree(known, classes, asked, answers) == (votes == answers).mean()


def test_of_many_groups_the_most_frequent_have_a_look() -> None:
    groups = [f"class {number}" for number in range(20) for _ in range(40 - number)]
    points = np.random.default_rng(0).normal(size=(len(groups), 2))
    drawing = draw(points, groups, groups, "words")
    dots = [mark for mark in drawing.marks if getattr(mark, "setting", 0)]
    looks = {group: (dot.paint, dot.hollow) for group, dot in zip(groups, dots, strict=True)}  # pyright: ignore
    assert len({looks[f"class {number}"] for number in range(len(DOT_STYLES) - 1)}) == len(DOT_STYLES) - 1
    assert {looks[f"class {number}"] for number in range(len(DOT_STYLES) - 1, 20)} == {("other", False)}
    assert [dot.setting for dot in dots] == list(range(1, len(groups) + 1))  # pyright: ignore


def test_the_page_shows_the_image_under_the_pointer_and_runs_nothing_of_others(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip(NO_BROWSER)
    images = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime", "blue")]
    drawing = draw(
        np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), ["a", HOSTILE, "a"], ["one", HOSTILE, "three"], "map"
    )
    file = tmp_path / "page.html"
    file.write_text(map_page(HOSTILE, {"data": HOSTILE}, drawing, images))
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        page, faults = browser.new_page(), []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.goto(file.as_uri())
        page.locator("circle[data-s='2']").hover()
        page.wait_for_selector("#tip:not([hidden])")
        assert page.locator("#tip span").inner_text() == HOSTILE
        red, green, blue, _ = page.evaluate(
            "() => [...document.querySelector('canvas').getContext('2d').getImageData(40, 40, 1, 1).data]"
        )
        assert green > 200
        assert max(red, blue) < 60
        browser.close()
    assert faults == []
