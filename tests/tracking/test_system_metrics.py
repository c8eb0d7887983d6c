import time
from pathlib import Path

import pytest

from convgrid.tracking import system_metrics
from convgrid.tracking.run_contents import read_system


def test_the_use_of_the_machine_is_noted_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "PERIOD", 0.05)
    watch = system_metrics.Watch(tmp_path)
    deadline = time.monotonic() + 30
    while len(read_system(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    watch.stop()
    watch.stop()
    samples = read_system(tmp_path)
    assert len(samples) >= 3
    names = {
        "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes",
        "system/system_memory_usage_percentage", "system/disk_usage_percentage", "system/disk_usage_megabytes",
        "system/disk_available_megabytes", "system/network_receive_megabytes", "system/network_transmit_megabytes",
    }  # fmt: skip
    for sample in samples:
        assert names <= sample["metrics"].keys()
        assert 0 <= sample["metrics"]["system/cpu_utilization_percentage"] <= 100
    times = [sample["time"] for sample in samples]
    assert times == sorted(times)


def test_a_sample_that_is_being_written_is_none_yet(tmp_path: Path) -> None:
    (tmp_path / "system.jsonl").write_text('{"time": 1, "metrics": {}}\n{"time": 2, "metr')
    assert read_system(tmp_path) == [{"time": 1, "metrics": {}}]


@pytest.mark.parametrize("broken", ['{"time": 2, "metr\n', "[1]\n", '{"time": 2}\n', "\0\n"])
def test_a_broken_sample_ends_what_is_known(tmp_path: Path, broken: str) -> None:
    whole = '{"time": 1, "metrics": {}}\n'
    (tmp_path / "system.jsonl").write_text(whole + broken + whole)
    assert read_system(tmp_path) == [{"time": 1, "metrics": {}}]
