"""A model in one file: raw images in, predictions out, the same as the trained model's."""

import importlib.util
import json
import logging
import os
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save
from torch import nn

from conftest import compose_settings
from convgrid.cli.main import main
from convgrid.config import CONF
from convgrid.errors import ModelError
from convgrid.layers import l2_pool
from convgrid.model import export_formats
from convgrid.model.agreement import ask
from convgrid.model.answers import answers_of
from convgrid.model.export import write
from convgrid.model.export_formats import InferenceModel, in_process, read
from convgrid.model.trained_model import load
from convgrid.training.setup import read as read_data
from trained_models import SMALL, train, write_arrays


@pytest.mark.parametrize("format_", ["torch_export", "onnx", "safetensors"])
def test_a_file_predicts_the_test_part_as_well_as_the_training_said(
    trained_digits: Path, format_: str, in_tmp: Path, capsys: pytest.CaptureFixture[str], accelerator: str
) -> None:
    trained = trained_digits if accelerator == "cpu" else train(in_tmp, "trainer=gpu")
    capsys.readouterr()
    assert main(["export", str(trained), "--format", format_]) == 0
    first, second = capsys.readouterr().out.splitlines()
    (file,) = (path for path in in_tmp.iterdir() if path.suffix not in (".md", ""))
    assert first.startswith(f"{file.name}  largest difference ")
    assert first.endswith(", the same answer to 64 of 64, on 64 validation images")
    assert second.startswith(f"{file.name}.md  ")
    model, test = read(file), read_data(compose_settings(*SMALL)).test
    assert test is not None
    assert isinstance(test.images, torch.Tensor)
    hits = ask(model, test.images).argmax(1) == test.targets
    metrics = json.loads((trained / "run.json").read_text())["metrics"]
    assert hits.double().mean().item() == pytest.approx(metrics["test/accuracy"], abs=0.01 * (accelerator == "gpu"))
    assert model.predict(test.images[:1]).shape == (1, 10)
    assert {path.name for path in in_tmp.iterdir()} - {"runs"} == {file.name, f"{file.name}.md"}


def test_a_network_that_cannot_be_traced_is_one_line_and_torchs_loggers_are_as_before(
    in_tmp: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_tmp / "mine/activation").mkdir(parents=True)
    (in_tmp / "mine/my_sign.py").write_text("def by_sign(x):\n    return x if x.detach().sum().item() > 0 else -x\n")
    (in_tmp / "mine/activation/by_sign.yaml").write_text("_target_: my_sign.by_sign\n")
    monkeypatch.syspath_prepend(str(in_tmp / "mine"))
    small = [word for word in SMALL if "max_epochs" not in word]
    assert main(["run", "--config-dir", "mine", "activation=by_sign", "trainer.max_epochs=1", *small]) == 0
    levels = {name: logging.getLogger(name).level for name in ("torch.export", "torch.onnx")}
    capfd.readouterr()
    assert main(["export", "last"]) == 1
    told = capfd.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"ModelError: \w+: torch.export cannot trace the network: .*\n", told.err)
    assert {name: logging.getLogger(name).level for name in levels} == levels


@pytest.mark.parametrize(
    ("targets", "overrides", "columns", "answer"),
    [
        (np.arange(60) % 2, ["loss=binary_crossentropy"], ["probability_0", "probability_1"], "class"),
        (np.arange(60) % 2, ["loss=hinge"], ["score_0", "score_1"], "class"),
        (np.arange(60) % 3, ["loss=mean_squared_error"], [f"probability_{k}" for k in range(3)], "class"),
        (
            np.arange(120).reshape(60, 2) % 3 % 2,
            ["data.task=multilabel", "loss=binary_crossentropy"],
            ["probability_0", "probability_1"],
            "labels",
        ),
    ],
)  # fmt: skip
def test_predictions_are_called_what_they_are(
    targets: np.ndarray, overrides: list[str], columns: list[str], answer: str, in_tmp: Path
) -> None:
    folder = train(in_tmp, *write_arrays(in_tmp / "own.npz", targets), "data.limit=0", *overrides)
    model = in_process(load(folder))
    assert (model.meta.columns, model.meta.answer) == (columns, answer)
    found = torch.load(folder / "best.ckpt", weights_only=True)["examples"]
    predictions = ask(model, found["images"])
    torch.testing.assert_close(predictions, found["predictions"])
    if columns[0].startswith("probability") and answer == "class":
        torch.testing.assert_close(predictions.sum(1), torch.ones(len(predictions)))


def test_labels_are_told_above_a_half_or_above_0(in_tmp: Path) -> None:
    targets = np.arange(120).reshape(60, 2) % 3 % 2
    overrides = [*write_arrays(in_tmp / "own.npz", targets), "data.limit=0", "data.task=multilabel"]
    for loss, above in (("binary_crossentropy", 0.6), ("hinge", 0.1)):
        meta = load(train(in_tmp, *overrides, f"loss={loss}")).meta
        assert answers_of(torch.tensor([[above, above - 0.2], [above, above]]), meta) == [["0"], ["0", "1"]]


def test_float_images_stay_float(in_tmp: Path) -> None:
    images = np.random.default_rng(0).normal(size=(60, 4, 6, 6)).astype(np.float32)
    folder = train(in_tmp, *write_arrays(in_tmp / "own.npz", np.arange(60) % 2, images), "data.limit=0", "arch.m=1")
    write(load(folder), "torch_export", in_tmp / "own.pt2", load(folder).images)
    model = read(in_tmp / "own.pt2")
    assert model.meta.profile.dtype == "float32"
    found = torch.load(folder / "best.ckpt", weights_only=True)["examples"]
    assert found["images"].dtype == torch.float32
    torch.testing.assert_close(ask(model, found["images"]), found["predictions"])


def test_a_file_that_predicts_otherwise_leaves_nothing(
    trained_digits: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = export_formats.EXPORT_FORMATS["torch_export"]

    def wrong(file: Path) -> InferenceModel:
        model = program.read(file)
        return replace(model, predict=lambda images: model.predict(images).roll(1, 1))

    monkeypatch.setattr(export_formats, "EXPORT_FORMATS", {})
    monkeypatch.setitem(export_formats.EXPORT_FORMATS, "torch_export", export_formats.Format(program.write, wrong))  # pyright: ignore
    monkeypatch.setattr("convgrid.model.export.EXPORT_FORMATS", export_formats.EXPORT_FORMATS)
    assert main(["export", str(trained_digits)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        "ModelError: The predictions of the exported model differ from those of the trained one by up to "
    )
    assert list(in_tmp.iterdir()) == []


def test_what_cannot_be_written_is_told_before_anything_is_read(
    trained_digits: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_tmp / "there.pt2").write_text("mine")
    run = str(trained_digits)
    monkeypatch.setattr("convgrid.model.export.load", lambda _: pytest.fail("it was read"))
    for argv, message in (
        ([run, "--out", "there.pt2"], "ModelError: there.pt2 already exists. Remove it, or use another --out.\n"),
        (
            [run, "--out", "m.onnx"],
            "ModelError: --out m.onnx must end in .pt2. For another ending, use --format onnx or safetensors.\n",
        ),
        ([run, "--out", "no/m.pt2"], "ModelError: --out no/m.pt2: no is not a folder.\n"),
        (
            [run, "--out", os.fsdecode(b"caf\xe9.pt2")],
            "ModelError: --out caf\\xe9.pt2: its name has bytes that are not UTF-8. Use another --out.\n",
        ),
    ):
        assert main(["export", *argv]) == 1
        assert capsys.readouterr().err == message
    assert (in_tmp / "there.pt2").read_text() == "mine"


def test_onnx_says_how_to_get_what_it_needs(
    trained_digits: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert main(["export", str(trained_digits), "--format", "onnx"]) == 1
    assert capsys.readouterr().err == ("ModelError: The format onnx needs onnxscript: pip install 'convgrid[onnx]'\n")
    assert list(in_tmp.iterdir()) == []


HOSTILE = [
    ("profile.scale", [{}, 1]),
    ("profile.names", "cat"),
    ("plan.layers", {}),
    ("plan.layers.0.component.options.stride", [1, 0]),
    ("plan.layers.0.component.options.out_channels", -1),
    ("plan.layers.0.padding", [0, 0, 0, "x"]),
    ("plan.layers.1.inputs", []),
    ("plan.layers.1.inputs", ["nowhere"]),
    ("slides", [1, 2]),
    ("fit", {"form": "index"}),
]


@pytest.mark.parametrize("suffix", [".pt2", ".onnx", ".safetensors"])
def test_a_file_that_is_none_of_ours_is_named(suffix: str, in_tmp: Path) -> None:
    (in_tmp / f"broken{suffix}").write_bytes(b"no model at all")
    with pytest.raises(ModelError, match=rf"broken{suffix} cannot be read: .+ Export the model again\.$"):
        read(in_tmp / f"broken{suffix}")


def test_a_program_of_somebody_else_is_named(in_tmp: Path) -> None:
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(2),)), in_tmp / "other.pt2")
    with pytest.raises(ModelError, match=r"other\.pt2 was not made by convgrid: it does not say what its images"):
        read(in_tmp / "other.pt2")


@pytest.mark.parametrize("target", ["os.system", "convgrid.layers.torch.hub.load", "torch.nn.init.os.system", "mine.f"])
def test_a_file_of_weights_runs_no_code_but_layers(trained_digits: Path, target: str, in_tmp: Path) -> None:
    model = load(trained_digits)
    write(model, "safetensors", in_tmp / "model.safetensors", model.images)
    known = json.loads(model.meta.dumps())
    known["plan"]["layers"][0]["component"] = {"name": "conv", "target": target, "options": {}, "group": ""}
    (in_tmp / "hostile.safetensors").write_bytes(save({"x": torch.zeros(1)}, {"convgrid": json.dumps(known)}))
    with pytest.raises(
        ModelError, match=rf"^A safetensors file holds weights only, and {re.escape(target)} is your own code"
    ):
        read(in_tmp / "hostile.safetensors")


def changed(known: Any, place: str, value: Any) -> str:
    """A description with another value at a dotted place."""
    *above, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    copied = inner = json.loads(json.dumps(known))
    for part in above:
        inner = inner[part]
    inner[last] = value
    return json.dumps(copied)


def test_a_damaged_or_hostile_file_of_weights_is_one_line(trained_digits: Path, in_tmp: Path) -> None:
    model = load(trained_digits)
    known = json.loads(model.meta.dumps())
    weights = {name: weight.contiguous() for name, weight in model.predictor.state_dict().items()}
    texts = ["{", "[]", "{}", "null", "[" * 9999, *(changed(known, *each) for each in HOSTILE)]
    whole = save(weights, {"convgrid": json.dumps(known)})
    header = [struct.pack("<Q", size) + whole[8:] for size in (0, 3, 2**40, 2**63)]
    contents = [*(save(weights, {"convgrid": text}) for text in texts), *header, whole[:-1], whole[: len(whole) // 2]]
    told = []
    for content in contents:
        (in_tmp / "x.safetensors").write_bytes(content)
        with pytest.raises(ModelError) as caught:
            read(in_tmp / "x.safetensors").predict(model.images[:1])
        told.append(str(caught.value))
    assert {*told[:5]} == {
        f"{in_tmp}/x.safetensors does not say as convgrid does what its images and predictions are. "
        "Export the model again."
    }
    assert [text for text in told if "\n" in text or not text.startswith(f"{in_tmp}/x.safetensors ")] == []
    (in_tmp / "x.safetensors").write_bytes(whole)
    assert read(in_tmp / "x.safetensors").predict(model.images[:1]).shape == (1, 10)


def test_every_layer_activation_and_scale_of_convgrid_may_stand_in_a_file_of_weights() -> None:
    files = [path for group in ("layer", "activation", "target") for path in (CONF / group).rglob("*.yaml")]
    targets = [yaml.safe_load(path.read_text())["_target_"] for path in files if "_target_" in path.read_text()]
    assert len(targets) > 20
    assert [target for target in targets if not export_formats._is_known(target)] == []
    assert export_formats._is_known("torch.nn.RMSNorm")


def test_sums_of_windows_become_means_for_onnx_whose_writer_overlooks_the_divisor() -> None:
    pool = nn.Sequential(l2_pool((1, 1, 1, 1), kernel_size=(3, 2), stride=2))
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    changed = export_formats._with_means(pool)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(changed(images), pool(images))
    has_divisor = [
        [module.divisor_override for module in each.modules() if isinstance(module, nn.AvgPool2d)]
        for each in (pool, changed)
    ]
    assert has_divisor == [[1], [None]]
