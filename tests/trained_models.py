"""Trials trained in a moment, in a folder of their own."""

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from pandas import DataFrame
from rich.console import Console

from conftest import compose_settings
from convgrid.system.imports import import_lightning

import_lightning()
from convgrid.training.trial import run  # noqa: E402  (as in a run: without what its import would take longer with)

SMALL = ("tracking=none", "trainer.max_epochs=6", "optimizer.lr=0.01", "arch.filters=4", "data.limit=200")
PHOTOS = (3, 12, 12)  # channels, height, width


def train(folder: Path, *overrides: str) -> Path:
    """Train in a folder, and give the trial's."""
    with contextlib.chdir(folder):
        before = {*Path("runs").glob("*")}
        run(compose_settings(*SMALL, *overrides), Console(file=io.StringIO()))
        (made,) = {*Path("runs").glob("*")} - before
    return folder / made


def serve(program: Path, images: np.ndarray) -> DataFrame:
    """What MLflow's model answers by a program, without MLflow's loading of it."""
    from convgrid.model.mlflow_serving import Predictions  # MLflow takes 2 s to import

    model = Predictions()
    model.load_context(SimpleNamespace(artifacts={"program": program}))
    return model.predict(None, images)


def write_arrays(file: Path, targets: np.ndarray, images: np.ndarray | None = None) -> list[str]:
    """An .npz of noise, or of images given; the overrides that read it."""
    noise = np.random.default_rng(0).integers(0, 256, (len(targets), *PHOTOS), dtype=np.uint8)
    images = noise if images is None else images
    np.savez(file, images=images, targets=targets)
    return ["data=arrays", f"data.path={file}", f"data.shape=[{','.join(map(str, images.shape[1:]))}]"]
