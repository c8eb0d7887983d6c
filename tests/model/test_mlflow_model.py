"""A trial's model stands in MLflow, and needs nothing of convgrid there."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from convgrid.config import check
from convgrid.errors import ConfigError
from convgrid.model import mlflow_model as module
from convgrid.model.answers import answers_of
from convgrid.model.mlflow_model import store as store_model
from convgrid.model.mlflow_parts import make
from convgrid.model.trained_model import load
from convgrid.tracking.learning_curves import draw_curves
from convgrid.tracking.writer import Writer
from forks import fork
from sweep_folders import make_sweep


def ask_elsewhere(uri: str, address: str, images: str, answer: str) -> None:
    """What somebody else does with the model: MLflow's own calls, where there is no convgrid."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "convgrid"]:
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]  (it cannot be imported)
    mlflow.set_tracking_uri(uri)
    table = mlflow.pyfunc.load_model(address).predict(np.load(images))
    Path(answer).write_text(json.dumps({"columns": [*table.columns], "rows": table.values.tolist()}))


def own(store: str) -> str:
    client = MlflowClient(store)
    found = client.get_experiment_by_name("own")
    return found.experiment_id if found else client.create_experiment("own")


def new_run(store: str) -> str:
    return MlflowClient(store).create_run(own(store)).info.run_id


@pytest.fixture(scope="module")
def parts(trained_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make(trained_digits, folder := tmp_path_factory.mktemp("parts"))
    return folder


@pytest.fixture
def made_once(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is stored when: what is stored is made once for all of them."""
    monkeypatch.setattr(module, "make", lambda _, folder: shutil.copytree(parts, folder, dirs_exist_ok=True))


def test_a_stranger_gets_classes_and_probabilities_of_any_number_of_images(
    trained_digits: Path, store: str, in_tmp: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_id = new_run(store)
    address = store_model(trained_digits, store, run_id, register="digits")
    assert address == "models:/digits/1"
    assert capfd.readouterr() == ("", "")
    model = load(trained_digits)
    images = model.images[:7]
    np.save(in_tmp / "images.npy", images)
    stranger = fork(ask_elsewhere, store, address, "images.npy", "answer.json")
    stranger.join()
    assert stranger.exitcode == 0
    said = json.loads(Path("answer.json").read_text())
    expected = model.predictor(images)
    assert said["columns"] == ["class", *(f"probability_{digit}" for digit in range(10))]
    assert [row[0] for row in said["rows"]] == answers_of(expected, model.meta)
    np.testing.assert_allclose([row[1:] for row in said["rows"]], expected, atol=1e-6)


def test_the_model_says_what_it_takes_and_needs_and_holds_no_pickle(trained_digits: Path, store: str) -> None:
    run_id = new_run(store)
    model_id = store_model(trained_digits, store, run_id).removeprefix("models:/")
    client = MlflowClient(store)
    logged = client.get_logged_model(model_id)
    assert (logged.name, logged.source_run_id, logged.model_type) == ("model", run_id, "classification")
    assert logged.params["optimizer"] == "adam"
    mlflow.set_tracking_uri(store)
    loaded = mlflow.pyfunc.load_model(f"models:/{model_id}")
    signature = loaded.metadata.signature
    assert signature is not None
    (images,), columns = signature.inputs.inputs, signature.outputs.input_names()
    assert (images.type, images.shape) == (np.dtype("uint8"), (-1, 1, 8, 8))
    assert columns == ["class", *(f"probability_{digit}" for digit in range(10))]
    np.testing.assert_array_equal(loaded.input_example, load(trained_digits).images[:2])
    for count in (1, 3):
        table = loaded.predict(load(trained_digits).images[:count].numpy())
        assert [*table] == columns
    needs = Path(mlflow.pyfunc.get_model_dependencies(f"models:/{model_id}")).read_text().split()
    assert {line.partition("==")[0] for line in needs} == {"mlflow", "numpy", "pandas", "torch"}
    folder = Path(download_artifacts(f"models:/{model_id}"))
    assert {path.name for path in (folder / "artifacts").iterdir()} == {"model_card.md", "program.pt2"}
    assert f'load_model("models:/{model_id}")' in (folder / "artifacts" / "model_card.md").read_text()
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".pth")]


@pytest.mark.usefixtures("made_once")
def test_a_repeated_call_adds_nothing_and_leaves_the_run_as_it_is(
    trained_digits: Path, store: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(trained_digits, in_tmp / "runs" / "abc"))
    run_id, client = new_run(store), MlflowClient(store)
    client.set_terminated(run_id, "KILLED", 1000)
    first = store_model(folder, store, run_id)
    with monkeypatch.context() as patch:
        patch.setattr(module, "make", lambda *_: pytest.fail("it was made again"))
        assert store_model(folder, store, run_id) == first
        for _ in range(2):
            assert store_model(folder, store, run_id, register="digits") == "models:/digits/1"
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time) == ("KILLED", 1000)
    assert run.outputs is not None
    assert [f"models:/{output.model_id}" for output in run.outputs.model_outputs] == [first]
    best = torch.load(folder / "best.ckpt", weights_only=True)
    torch.save(best | {"again": 1}, folder / "best.ckpt")  # trained anew
    assert store_model(folder, store, run_id, register="digits") == "models:/digits/2"


@pytest.mark.usefixtures("made_once")
def test_what_breaks_off_is_done_by_the_next_call(
    trained_digits: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = new_run(store)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", lambda *_: (_ for _ in ()).throw(OSError("no network")))
        with pytest.raises(OSError, match="no network"):
            store_model(trained_digits, store, run_id)
    assert store_model(trained_digits, store, run_id, register="digits") == "models:/digits/1"
    found = MlflowClient(store).search_logged_models([MlflowClient(store).get_run(run_id).info.experiment_id])
    assert sorted(str(model.status) for model in found) == ["FAILED", "READY"]


def test_parts_that_another_process_made_are_stored_where_there_is_no_torch(
    trained_digits: Path, parts: Path, store: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(trained_digits, in_tmp / "runs" / "abc"))
    (stub := in_tmp / "stub" / "torch").mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ImportError('torch is imported')")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(stub.parent), *filter(None, [os.environ.get("PYTHONPATH")])]))
        writer = Writer(store, "own", make_sweep(in_tmp / "sweeps", "s1", ["abc"]))
    draw_curves(folder)
    writer.tell(folder, whole=True, parts=parts)
    assert (writer.close(60), writer.notes()) == ([], [])
    mlflow.set_tracking_uri(store)
    (model,) = mlflow.search_logged_models(output_format="list", experiment_ids=[own(store)])
    images = load(folder).images
    table = mlflow.pyfunc.load_model(model.model_uri).predict(images.numpy())
    np.testing.assert_allclose(table.iloc[:, 1:], load(folder).predictor(images), atol=1e-6)
    described = (Path(download_artifacts(model.model_uri)) / "artifacts" / "model_card.md").read_text()
    assert f'load_model("models:/{model.model_id}")' in described


@pytest.mark.usefixtures("made_once")
def test_the_runs_metrics_are_the_models_and_stand_once(trained_digits: Path, store: str, in_tmp: Path) -> None:
    folder = Path(shutil.copytree(trained_digits, in_tmp / "runs" / "abc"))
    record = json.loads((folder / "run.json").read_text()) | {"ended": 5000}
    (folder / "run.json").write_text(json.dumps(record))
    run_id, client = new_run(store), MlflowClient(store)
    point = record["metrics"]["test/accuracy"]
    client.log_metric(run_id, "test/accuracy", point, 5000, record["best_epoch"])  # as the writer sends it
    model = store_model(folder, store, run_id).removeprefix("models:/")
    assert [value.value for value in client.get_metric_history(run_id, "test/accuracy")] == [point]
    assert {metric.key: metric.value for metric in client.get_logged_model(model).metrics or []} == record["metrics"]


@pytest.mark.parametrize("name", ["''", "a/b", "a:b", "7"])
def test_a_name_that_the_registry_refuses_is_told_first(name: str) -> None:
    typed = re.escape(name.strip("'"))
    with pytest.raises(ConfigError, match=rf"^tracking\.register={typed} must be a name without / and :, such as"):
        check([f"tracking.register={name}"])
