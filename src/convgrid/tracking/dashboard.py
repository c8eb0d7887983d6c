"""MLflow's dashboard on loopback, opened where the last sweep's trials stand side by side."""

import json
import os
import socket
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from convgrid.config.address import database, without_password
from convgrid.errors import TrackingError
from convgrid.runs.sweep import SWEEP, SWEEPS, TRACKED_SWEEP, read_sweep_or_tell
from convgrid.runs.trial import read_tracked
from convgrid.system.mlflow_database import make_sound

if TYPE_CHECKING:
    from convgrid.tracking.store import Store

LOCALHOST = "127.0.0.1"
LAST_PORT = 65535
SHARED = "mlflow.sharedViewState."  # an experiment's tag, by which MLflow keeps a view under a key
MOST_RUNS_SHOWN = 100  # runs in a chart


def share_view(store: "Store", sweep: Mapping[str, Any]) -> str:
    """Keep a view of a sweep's trials in its experiment, with what varies and what is best as columns and charts.

    Args:
        store: Where the sweep is.
        sweep: What its `sweep.json` holds.

    Returns:
        The view's place behind the server's address.
    """
    key = f"sweep-{sweep['id']}"
    store.client.set_experiment_tag(store.experiment_id, SHARED + key, json.dumps(shared_view(sweep)))
    return f"/#/experiments/{store.experiment_id}/runs?viewStateShareKey={key}&compareRunsMode=CHART"


def shared_view(sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Choose what MLflow's dashboard shows of a sweep, in the words in which it keeps a shared view.

    Args:
        sweep: What its `sweep.json` holds.

    Returns:
        The filter, the order, the columns and the charts.
    """
    metric, mode = sweep["objective"]
    best, keys = f"best/{metric}", list(sweep["varying"])
    columns = [("params", key) for key in keys]
    columns += [
        ("metrics", best),
        ("params", "plan.parameters"),
        ("params", "plan.multiply_adds"),
        ("attributes", "Duration"),
    ]
    section = _id(sweep, "section")
    charts = [
        {"type": "PARALLEL", "selectedParams": keys, "selectedMetrics": [best], "showAllRuns": True,
         "displayName": f"{best} by what varies"},
        {"type": "BAR", "metricKey": best, "displayName": best},
        {"type": "LINE", "metricKey": metric, "selectedMetricKeys": [metric], "displayName": metric,
         "useGlobalXaxisKey": True, "xAxisKey": "step", "useGlobalLineSmoothing": True, "lineSmoothness": 0},
    ]  # fmt: skip
    shown = {"metricSectionId": section, "runsCountToCompare": MOST_RUNS_SHOWN, "deleted": False, "isGenerated": False}
    return {
        "searchFilter": f"tags.`convgrid.sweep.{sweep['id']}` = 'member'",
        "orderByKey": f"metrics.`{best}`",
        "orderByAsc": mode == "min",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"{kind}.`{name}`" for kind, name in columns],
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [{**chart, **shown, "uuid": _id(sweep, str(chart["type"]))} for chart in charts],
        "compareRunSections": [
            {"uuid": section, "name": "The sweep", "display": True, "isReordered": True, "deleted": False}
        ],
        "isAccordionReordered": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }  # fmt: skip


def _id(sweep: Mapping[str, Any], part: str) -> str:
    """The same each time that a view is made."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"convgrid {sweep['id']} {part}").hex


def check_store(uri: str, port: int) -> None:
    """Refuse a store that is missing, and a port that cannot be used.

    Raises:
        TrackingError: If either is so.
    """
    if not 1 <= port <= LAST_PORT:  # 0 is any free one, whose address could not be told
        raise TrackingError(f"--port {port} is not a port: ports go from 1 to {LAST_PORT}.")
    file = database(uri)
    if file is not None and not file.exists():
        raise TrackingError(
            f"{file.absolute()} is missing: nothing has been tracked yet. Train something: python run.py"
        )
    if file is not None:
        make_sound(file)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError as error:
            raise TrackingError(f"--port {port} cannot be used: {error.strerror}. Give another one.") from None


def last_sweep(uri: str) -> Mapping[str, Any] | None:
    """Find the youngest sweep of this folder that is in a store.

    Returns:
        What its `sweep.json` holds; None where there is none.
    """
    read = {file.parent: read_sweep_or_tell(file.parent) for file in sorted(SWEEPS.glob(f"*/{SWEEP}"))}
    sweeps = [
        sweep
        for folder, sweep in read.items()
        if sweep is not None and without_password(uri) in _stores(folder / TRACKED_SWEEP)
    ]
    return max(sweeps, key=lambda sweep: sweep["created"], default=None)


def _stores(file: Path) -> list[str]:
    return [known["uri"] for known in read_tracked(file).values()]


def serve(uri: str, port: int) -> NoReturn:
    """Become MLflow's server, so that Ctrl-C and signals are its own."""
    words = ["--host", LOCALHOST, "--port", str(port), "--backend-store-uri", uri]
    words += ["--artifacts-destination", Path("mlartifacts").absolute().as_uri()]
    words += ["--workers", "1"]  # enough for one person: the usual four take a gigabyte
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", **os.environ}
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", "server", *words], environment)  # noqa: S606  (of ours)
