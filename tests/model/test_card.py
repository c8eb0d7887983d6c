"""The card says what the folder knows, and its code works."""

import ast
import contextlib
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from convgrid.model.card import card, wilson
from convgrid.model.export import write
from convgrid.model.trained_model import load
from sweep_folders import make_sweep
from trained_models import train, write_arrays


def text_of(folder: Path) -> str:
    return card(folder, load(folder).meta, "torch_export", "model.pt2")


def test_the_card_has_the_runs_own_numbers(trained_digits: Path) -> None:
    text, record = text_of(trained_digits), json.loads((trained_digits / "run.json").read_text())
    for part, prefix, images in (("validation", "best/val/", 270), ("test", "test/", 269)):
        row = next(line for line in text.splitlines() if line.startswith(f"| {part} | {images} |"))
        for name in ("loss", "accuracy", "calibration_error"):
            assert f" {record['metrics'][prefix + name]:.4g} " in row
    assert "| part | images | loss | accuracy | top5 | f1 | calibration_error | auroc |" in text
    assert "It has learned from 200 images, 19 to 21 of each class." in text
    assert "It is the best of 6 epochs, by the validation part" in text
    assert "uint8, (any number, 1, 8, 8), grey, as they are" in text
    assert "The training's pixels were 0 to 16." in text
    assert f"run {trained_digits.name}, " in text
    assert re.search(
        r"It takes \d for \d in [2-9]\d* of \d+ images of the test part: its most frequent mistake\.", text
    )


def test_the_code_of_the_card_runs(trained_digits: Path, in_tmp: Path) -> None:
    model = load(trained_digits)
    write(model, "torch_export", in_tmp / "model.pt2", model.images)
    for format_, file in (("torch_export", "model.pt2"), ("safetensors", "model.safetensors")):
        if not (in_tmp / file).exists():
            write(model, format_, in_tmp / file, model.images)
        (code,) = re.findall(r"```python\n(.*?)```", card(trained_digits, model.meta, format_, file), re.DOTALL)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, {})
        assert re.match(r"\['\d', '\d'\] tensor\(\[\[", out.getvalue())


def test_a_rare_class_scores_and_a_missing_test_part_are_limits(in_tmp: Path) -> None:
    targets = (np.arange(200) % 10 == 0).astype(int)
    folder = train(in_tmp, *write_arrays(in_tmp / "own.npz", targets), "data.limit=0", "loss=hinge")
    text = text_of(folder)
    assert "18 of the rarest class, 1, and 162 of 0: expect it to miss 1 more often." in text
    assert "Its scores rank classes or labels of one image; they do not say how sure it is." in text
    assert "It was never tested on images that no choice was made by." in text
    assert "RGB" in text
    assert text.startswith("# n1 m2 k1 adam, trained on arrays own.npz\n")


def test_numbers_to_predict_have_their_range(in_tmp: Path) -> None:
    targets = np.linspace(10, 50, 60)
    overrides = [*write_arrays(in_tmp / "own.npz", targets), "data.task=regression", "loss=mean_squared_error"]
    text = text_of(train(in_tmp, *overrides, "data.limit=0"))
    assert re.search(r"target: 1\d(\.\d+)? to (49|50)(\.\d+)? in the training. A prediction outside is a guess\.", text)
    assert "Predicts from an image: target." in text


def test_the_winner_of_a_sweep_says_of_how_many_it_was_chosen(trained_digits: Path, in_tmp: Path) -> None:
    folder = Path(shutil.copytree(trained_digits, in_tmp / "runs" / "aaa"))
    shutil.copytree(trained_digits, in_tmp / "runs" / "bbb")
    (folder / "run.json").write_text(json.dumps(json.loads((folder / "run.json").read_text()) | {"sweep": "5eeb"}))
    make_sweep(in_tmp / "sweeps", "5eeb", ["aaa", "bbb", None])
    assert "of 6 epochs and of 2 trials of a sweep" in text_of(folder)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (9, 10), (90, 100), (500, 500)])
def test_the_interval_is_wilsons(hits: int, count: int) -> None:
    interval = binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert wilson(hits / count, count) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_names_of_others_are_neither_marks_nor_tags_nor_code(trained_digits: Path) -> None:
    meta = load(trained_digits).meta
    harmful = (
        "<script>alert(1)</script>",
        "a|b",
        "`c`",
        "\x1b[2J",
        "x\nimport os",
        "# y",
        "=cmd()",
        "&amp;",
        "é_ü",
        "9",
    )
    text = card(trained_digits, replace(meta, profile=replace(meta.profile, names=harmful)), "torch_export", "m.pt2")
    words, _, code = text.partition("```python")
    assert "<script" not in words
    assert "\x1b" not in text
    assert (
        r"&lt;script>alert(1)&lt;/script>, a\|b, \`c\`, \\x1b\[2J, x\\nimport os, \# y, =cmd(), &amp;amp;, é_ü, 9"
        in words
    )
    assert "\nimport os" not in words
    (names,) = [line for line in code.splitlines() if line.startswith("names = ")]
    assert ast.literal_eval(names.removeprefix("names = ")) == [*harmful]
