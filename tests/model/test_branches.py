"""A trained network with every kind of join goes where a chain's model goes."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convgrid.cli.main import main
from convgrid.model.agreement import ask
from convgrid.model.answers import answers_of
from convgrid.model.card import card
from convgrid.model.export_formats import read
from convgrid.model.trained_model import load
from convgrid.network.graph import Branching
from trained_models import serve, train

PATTERN = """
    scaled(c) = MUL[SKIP | GAP -> FC(2) -> RELU -> FC(c) -> SIGMOID];
    INPUT -> CONV(4) -> SUM[CONV(4) -> NORM -> DROPOUT(0.2) | SKIP] -> RELU
    -> CONCAT[CONV(2, kernel=1) | POOL(3, stride=1, padding=1, type=average) | SKIP] -> scaled(10)
    -> SUM[CONV(12, stride=2, padding=1) -> NORM | SKIP] -> SUM[CONV(14, stride=2, padding=1) | SKIP(pad)] -> FC
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("branches"), f"arch.pattern='{PATTERN}'", "layer/norm=batch")


def test_it_is_trained_and_its_mistakes_are_drawn(trained: Path) -> None:
    assert isinstance(load(trained).predictor.network, Branching)
    assert json.loads((trained / "run.json").read_text())["metrics"]["test/accuracy"] > 0.5  # chance is 0.1
    with Image.open(trained / "misclassified.png") as sheet:
        assert sheet.height > 96


@pytest.mark.parametrize("format_", ["torch_export", "onnx", "safetensors"])
def test_every_format_predicts_as_the_training_did(
    trained: Path, format_: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(trained), "--format", format_]) == 0
    assert "the same answer to 64 of 64, on 64 validation images" in capsys.readouterr().out
    (file,) = (path for path in in_tmp.iterdir() if path.suffix != ".md")
    found = torch.load(trained / "best.ckpt", weights_only=True)["examples"]
    torch.testing.assert_close(ask(read(file), found["images"]), found["predictions"], atol=1e-5, rtol=1e-4)
    if format_ == "torch_export":  # MLflow serves the same program
        table = serve(file, found["images"].numpy())
        assert table["class"].tolist() == answers_of(found["predictions"], load(trained).meta)
        np.testing.assert_allclose(table.drop(columns="class"), found["predictions"], atol=1e-6)


def test_files_are_predicted(trained: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = load(trained).images[:3]
    for number, image in enumerate(images):
        pixels = (image[0].float() * 255 / 16).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(in_tmp / f"{number}.png")
    assert main(["predict", str(trained), "0.png", "1.png", "2.png", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    expected = load(trained).predictor(images)
    found = [[float(row[f"probability_{digit}"]) for digit in range(10)] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_card_counts_it_and_its_code_is_shown(trained: Path) -> None:
    model = load(trained)
    text = card(trained, model.meta, "safetensors", "model.safetensors")
    parameters = sum(weights.numel() for weights in model.predictor.network.parameters())
    assert f"A ConvNet of {parameters:,} parameters" in text
    assert re.search(r"```python\n.*model\.safetensors", text, re.DOTALL)
