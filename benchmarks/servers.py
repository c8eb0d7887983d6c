"""Real MLflow servers that die, are slow or stay away, with real runs and sweeps: nothing is lost, nobody waits.

Usage: python benchmarks/servers.py

A server (sqlite, artifact proxy) is killed in the middle of a single run and of a sweep, and started again; what it
holds at the end is compared with a server that lived. Then a server behind a proxy that delays each request by two
seconds, and one that is started only afterwards, for `convgrid sync`.
"""

import contextlib
import hashlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow.tracking import MlflowClient

ROOT = Path(__file__).parents[1]
RUN = [sys.executable, str(ROOT / "run.py")]
SYNC = [sys.executable, "-m", "convgrid", "sync"]
SINGLE = ["trainer.max_epochs=150", "data.limit=400"]
SWEEP = ["-m", "arch.n=1,2", "sweep.seeds=2", "trainer.max_epochs=60", "data.limit=400", "sweep.workers=2"]
# What is another place or time, not another result.
VOLATILE = re.compile(
    r"convgrid\.folder|command|convgrid\.command|mlflow\.user|mlflow\.source.*|mlflow\.parentRunId|.*\.git\..*"
)
ITS_OWN = ("environment.json", "config.yaml", "sweep.json", "learning_curves.png", "best.ckpt")  # name times and places
DELAY = 2.0  # seconds


class Server:
    """A process of its own, killed and started again on the same port and files."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> "Server":
        """Return once it answers."""
        words = ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        words += ["--artifacts-destination", f"{self._folder}/artifacts", "--port", str(self.port), "--workers", "1"]
        log = (self._folder / "server.log").open("ab")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", *words]
        self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return self
            time.sleep(0.2)
        raise TimeoutError(f"{self._folder}/server.log says why")

    def kill(self) -> None:
        """As a machine that loses power."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def free_port() -> int:
    """Find one; another process may be faster."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def slowed(port: int) -> Iterator[int]:
    """Pass on what comes in, each request after a delay; give the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            while True:
                for side in select.select([client, server], [], [])[0]:
                    read = side.recv(65536)
                    if not read:
                        return
                    if side is client and re.match(rb"(GET|POST|PUT|PATCH|DELETE) ", read):
                        time.sleep(DELAY)
                    (server if side is client else client).sendall(read)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def train(folder: Path, uri: str, words: Sequence[str]) -> "subprocess.Popen[str]":
    """Start a run or a sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "out.txt").open("w")
    return subprocess.Popen([*RUN, *words, f"tracking.uri={uri}"], cwd=folder, stdout=log, stderr=log, text=True)


def has_epochs(folder: Path, count: int) -> bool:
    """Whether a run of a folder has trained so far."""
    return any(len(file.read_text().splitlines()) >= count for file in folder.glob("runs/*/metrics.jsonl"))


def content(uri: str) -> dict[str, Any]:
    """All that a server has of its runs, by the trial or sweep; times and places left out."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("convgrid")
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        name = run.data.tags.get("convgrid.trial") or run.data.tags["convgrid.sweep"]
        files = [file.path for file in client.list_artifacts(run.info.run_id)]
        with tempfile.TemporaryDirectory() as place:
            fetched = {file: client.download_artifacts(run.info.run_id, file, place) for file in files}
            digests = {
                file: "" if file in ITS_OWN else hashlib.sha256(Path(path).read_bytes()).hexdigest()
                for file, path in fetched.items()
            }
        models = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{run.info.run_id}'")
        metrics = {
            key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
            if not key.startswith("trials/")
        }
        inputs = run.inputs.dataset_inputs if run.inputs else []
        assert name not in found, f"{name} is there twice"
        found[name] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": {key: value for key, value in run.data.params.items() if key != "tracking.uri"},
            "tags": {key: value for key, value in run.data.tags.items() if not VOLATILE.fullmatch(key)},
            "metrics": metrics,
            "artifacts": digests,
            "data": [each.dataset.digest for each in inputs],
            "models": [(model.name, str(model.status)) for model in models],
        }
    return found


def compare(words: Sequence[str], epochs: int, place: Path) -> tuple[bool, str]:
    """Train with a server that lives and with one that is killed: whether they hold the same."""
    lived, killed = (Server(folder).start() for folder in folders(place, "lived", "killed"))
    try:
        assert train(place / "a", lived.uri, words).wait(300) == 0, (place / "a" / "out.txt").read_text()
        training = train(place / "b", killed.uri, words)
        while not has_epochs(place / "b", epochs):
            time.sleep(0.05)
        killed.kill()
        time.sleep(3)
        still = training.poll() is None
        killed.start()
        assert training.wait(300) == 0, (place / "b" / "out.txt").read_text()
        first, second = content(lived.uri), content(killed.uri)
        return first == second, f"{len(first)} runs, {'still training' if still else 'trained'} when it came back"
    finally:
        lived.kill()
        killed.kill()


def folders(place: Path, *names: str) -> list[Path]:
    """Make them."""
    made = [place / name for name in names]
    for folder in made:
        folder.mkdir(parents=True)
    return made


def seconds_shown(folder: Path) -> float:
    """What the run says that its training took."""
    found = re.search(r"^time +([\d.]+) s", (folder / "out.txt").read_text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def main() -> None:
    """Try everything."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, words, epochs in (("single run", SINGLE, 20), ("sweep", SWEEP, 20)):
            is_equal, told = compare(words, epochs, place / name.replace(" ", ""))
            print(f"{name}, server killed and restarted: {'equal' if is_equal else 'DIFFERENT'} ({told})", flush=True)
        (own,) = folders(place, "server")
        server = Server(own).start()
        try:
            assert train(place / "fast", server.uri, SINGLE).wait(300) == 0
            with slowed(server.port) as port:
                started = time.monotonic()
                assert train(place / "slow", f"http://127.0.0.1:{port}", SINGLE).wait(300) == 0
                taken = time.monotonic() - started
            times = [seconds_shown(place / name) for name in ("fast", "slow")]
            line = f"{times[0]:.1f} s, with {DELAY:g} s a request {times[1]:.1f} s ({taken:.0f} s with all else)"
            print(f"training with a fast server {line}", flush=True)
        finally:
            server.kill()
        away = place / "away"
        started = time.monotonic()
        assert train(away, server.uri, SINGLE).wait(300) == 0
        print(f"server away: exit 0 after {time.monotonic() - started:.0f} s", flush=True)
        server.start()
        try:
            for _ in range(2):
                print(
                    subprocess.run(SYNC, cwd=away, capture_output=True, text=True, check=True).stdout.strip(),
                    flush=True,
                )
        finally:
            server.kill()


if __name__ == "__main__":
    main()
