import json
import socket
from pathlib import Path

import pytest

from convgrid.cli import ui
from convgrid.cli.main import main
from convgrid.tracking.dashboard import share_view, shared_view
from convgrid.tracking.store import Store
from convgrid.tracking.sync import sync_sweep
from sweep_folders import make_sweep, make_trial

SWEEPS, RUNS = Path("sweeps"), Path("runs")


def test_the_view_of_a_sweep_shows_its_trials_by_what_varies_and_what_is_best(in_tmp: Path) -> None:
    folder = make_sweep(SWEEPS, "s1", [None], objective=["val/mae", "min"])
    shown = shared_view(json.loads((folder / "sweep.json").read_text()))
    assert shown["searchFilter"] == "tags.`convgrid.sweep.s1` = 'member'"
    assert (shown["orderByKey"], shown["orderByAsc"]) == ("metrics.`best/val/mae`", True)
    assert shown["selectedColumns"] == [
        "params.`arch.n`", "params.`optimizer`", "metrics.`best/val/mae`", "params.`plan.parameters`",
        "params.`plan.multiply_adds`", "attributes.`Duration`",
    ]  # fmt: skip
    charts = {chart["type"]: chart for chart in shown["compareRunCharts"]}
    assert charts["PARALLEL"]["selectedParams"] == ["arch.n", "optimizer"]
    assert charts["BAR"]["metricKey"] == "best/val/mae"
    assert charts["LINE"]["metricKey"] == "val/mae"
    (section,) = shown["compareRunSections"]
    assert {chart["metricSectionId"] for chart in charts.values()} == {section["uuid"]}
    assert len({chart["uuid"] for chart in charts.values()}) == 3


def test_the_view_is_kept_in_the_sweeps_experiment(store: str) -> None:
    opened, folder = Store.open(store, "trials"), make_sweep(SWEEPS, "s1", [None])
    sweep = json.loads((folder / "sweep.json").read_text())
    place = share_view(opened, sweep)
    expected = f"/#/experiments/{opened.experiment_id}/runs?viewStateShareKey=sweep-s1&compareRunsMode=CHART"
    assert place == share_view(opened, sweep) == expected
    tags = opened.client.get_experiment(opened.experiment_id).tags
    assert json.loads(tags["mlflow.sharedViewState.sweep-s1"]) == shared_view(sweep)
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as once:
        return once.getsockname()[1]


def test_the_command_starts_a_server_on_the_store_of_the_last_sweep(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[tuple[str, int]] = []
    monkeypatch.setattr(ui, "serve", lambda uri, port: served.append((uri, port)))
    tracking = {"uri": store, "experiment": "trials"}
    for number, name in enumerate(("s1", "s2")):
        make_sweep(SWEEPS, name, [None], created=1_700_000_000_000 + number, tracking=tracking)
        opened = Store.open(store, "trials")
        sync_sweep(SWEEPS / name, opened)
    port = free_port()
    assert main(["ui", "--port", str(port)]) == 0
    assert served == [(store, port)]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"http://127.0.0.1:{port}  (Ctrl-C ends it)"
    assert said[1].startswith(f"the last sweep, side by side: http://127.0.0.1:{port}/#/experiments/")
    assert "sweep-s2" in said[1]


def test_a_broken_sweep_is_passed_over_with_a_line(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ui, "serve", lambda uri, port: None)
    for name in ("s1", "s2"):
        make_sweep(SWEEPS, name, [None], tracking={"uri": store, "experiment": "trials"})
        sync_sweep(SWEEPS / name, Store.open(store, "trials"))
    (SWEEPS / "s2" / "sweep.json").write_text("{broken")
    assert main(["ui", "--port", str(free_port())]) == 0
    said = capsys.readouterr()
    assert "sweep-s1" in said.out
    (line,) = (line for line in said.err.splitlines() if "left aside" in line)
    assert line.startswith("left aside: sweeps/s2/sweep.json cannot be read: Expecting property name")


def test_a_run_on_a_server_of_its_own_is_shown_there(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_trial(RUNS, "abc", params={"tracking.uri": "http://10.0.0.1:5000/", "tracking.experiment": "trials"})
    assert main(["ui"]) == 0
    assert capsys.readouterr().out == "http://10.0.0.1:5000\n"


def test_what_keeps_the_dashboard_from_starting_is_told(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, told in (
            (["--tracking-uri", "sqlite:///none.db"], "/none.db is missing: nothing has been tracked yet. Train some"),
            (["--port", port], f"--port {port} cannot be used: Address already in use. Give another"),
            *(
                (["--port", none], f"--port {none} is not a port: ports go from 1 to 65535.\n")
                for none in ("65536", "0", "-1")
            ),
            (["--tracking-uri", "mlruns"], "--tracking-uri mlruns cannot be used"),
        ):
            assert main(["ui", *words]) == 1
            said = capsys.readouterr().err
            assert said.startswith("TrackingError: ")
            assert told in said
