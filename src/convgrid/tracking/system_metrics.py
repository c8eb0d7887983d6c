"""How busy the machine is while it trains, as MLflow shows it: processor, memory, disk, network, NVIDIA's GPUs."""

import json
import threading
from contextlib import suppress
from pathlib import Path

from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from convgrid.runs.trial import SYSTEM_LOG, now

PERIOD = 10.0  # seconds between two samples, as MLflow takes them


class Watch:
    """Writes a sample into a folder's `system.jsonl` every ten seconds, and one when it is stopped.

    Args:
        folder: Of the run, or of the sweep, whose trials share the machine.
    """

    def __init__(self, folder: Path) -> None:
        self._file, self._stopped = folder / SYSTEM_LOG, threading.Event()
        self._monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor(), *_gpus()]
        self._collect()  # the processor's use is that since the last time
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample, and end."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()

    def _watch(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._stopped.wait(PERIOD)
            line = json.dumps({"time": now(), "metrics": self._collect()})
            with suppress(OSError), self._file.open("a", encoding="utf-8") as file:  # the disk may be full
                file.write(f"{line}\n")

    def _collect(self) -> dict[str, float]:
        metrics = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            metrics |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return metrics


def _gpus() -> list[GPUMonitor]:
    try:
        return [GPUMonitor()]
    except Exception:  # there is none, or NVIDIA's library is missing: MLflow asks in this way, too
        return []
