"""`mlflow models serve` on a digits model and on a regression: it answers as the trained model does, and how fast.

Usage: python benchmarks/serving.py [--python FRESH/bin/python]

Trains both in a folder of its own, and serves each on loopback, in this environment or in another one that has no
convgrid: python -m venv FRESH && FRESH/bin/pip install mlflow==... numpy==... pandas==... torch==...
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from convgrid.model.agreement import ask
from convgrid.model.answers import answers_of
from convgrid.model.export_formats import InferenceModel, in_process
from convgrid.model.trained_model import is_close, load
from convgrid.runs.find import find_model

RUN = Path(__file__).parents[1] / "run.py"
MODELS = {"digits": [], "angle": ["data=digits_angle", "loss=mean_squared_error"]}
STORE = "sqlite:///mlflow.db"
REQUESTS = 20
SECONDS = 120  # that a server has to start


def main() -> None:
    """Train, serve, ask, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="of the environment that serves")
    python = Path(parser.parse_args().python).absolute()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, overrides in MODELS.items():
            command = [sys.executable, str(RUN), "trainer.max_epochs=5", f"tracking.register={name}", *overrides]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            trained = load(find_model("last"))
            with served(f"models:/{name}/1", python) as address:
                show(name, address, in_process(trained), trained.images)


@contextlib.contextmanager
def served(model: str, python: Path) -> Iterator[str]:
    """Serve a model until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["models", "serve", "-m", model, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"MLFLOW_TRACKING_URI": STORE, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    with Path("serve.log").open("w") as log:
        command = [str(python), "-m", "mlflow", *words]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + SECONDS
        while not is_up(port):
            if time.monotonic() > deadline or server.poll() is not None:
                sys.exit(Path("serve.log").read_text())
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def is_up(port: int) -> bool:
    """Whether the server answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping") as answer:
        return answer.status == 200
    return False


def post(address: str, images: torch.Tensor) -> list[dict[str, Any]]:
    """Ask the server."""
    content = json.dumps({"inputs": images.tolist()}).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["predictions"]


def show(name: str, address: str, model: InferenceModel, images: torch.Tensor) -> None:
    """Compare answers, and time requests of one image and of many."""
    meta, rows, expected = model.meta, post(address, images), ask(model, images)
    found = torch.tensor([[row[column] for column in meta.columns] for row in rows])
    same = meta.answer is None or [row[meta.answer] for row in rows] == answers_of(expected, meta)
    assert is_close(found, expected)
    assert same
    print(f"{name:<7} {len(images)} validation images served, largest difference {(found - expected).abs().max():.1g}")
    print(f"        {json.dumps(rows[0])[:100]}")
    for count in (1, len(images)):
        times = []
        for _ in range(REQUESTS):
            began = time.perf_counter()
            post(address, images[:count])
            times.append(1e3 * (time.perf_counter() - began))
        print(f"        request of {count:>2}: median {statistics.median(times):.1f} ms")


if __name__ == "__main__":
    assert shutil.which("bash"), "mlflow models serve starts its server by bash"
    main()
