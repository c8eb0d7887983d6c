import json
from collections.abc import Callable
from pathlib import Path

import pytest

from convgrid.config import Settings
from convgrid.errors import ConfigError
from convgrid.runs.find import find_to_resume, stored_settings
from convgrid.runs.trial import TRACKED, EpochLog, create, read_epochs, read_settings

SettingsMaker = Callable[..., Settings]


def test_runs_of_one_trial_get_folders_of_their_own(settings: SettingsMaker, in_tmp: Path) -> None:
    folders = [create("abc", settings()) for _ in range(3)]
    assert [folder.path.as_posix() for folder in folders] == ["runs/abc", "runs/abc-2", "runs/abc-3"]


def test_a_folder_is_found_by_run_checkpoint_and_name(settings: SettingsMaker, in_tmp: Path) -> None:
    for name, run in ("other", "run-1"), ("abc", "run-2"):
        folder = create(name, settings())
        folder.update(status="running")
        (folder.path / TRACKED).write_text(json.dumps({"place": "p", "uri": "sqlite:///mlflow.db", "run_id": run}))
    (folder.path / "last.ckpt").touch()
    folder.lock.release()
    for name in ("run-2", "runs/abc/last.ckpt", "runs/abc", "abc", str(folder.path.resolve())):
        found = find_to_resume(name)
        assert found.path.resolve() == folder.path.resolve()
        found.lock.release()


def test_an_unknown_run_names_the_places_looked_at(in_tmp: Path) -> None:
    with pytest.raises(ConfigError) as error:
        find_to_resume("123")
    assert str(error.value) == (
        f"resume=123 is not a run or sweep known in {in_tmp}. "
        "Give last, a folder, a checkpoint in one, the id of a run or a sweep (or the start of it), or MLflow's."
    )


def test_a_folder_belongs_to_one_process_at_a_time(settings: SettingsMaker, in_tmp: Path) -> None:
    folder = create("abc", settings())
    with pytest.raises(ConfigError, match=r"^resume=abc: another process is training runs/abc\. Wait for it"):
        find_to_resume("abc")
    folder.lock.release()
    assert find_to_resume("abc").path == folder.path


def test_an_epoch_that_does_not_read_and_what_is_behind_it_is_written_again(in_tmp: Path) -> None:
    history = [{"val/accuracy": epoch / 10} for epoch in range(1, 5)]
    EpochLog(in_tmp).append(history[:3])
    (in_tmp / "last.ckpt").touch()
    file = in_tmp / "metrics.jsonl"
    first, second, third = file.read_text().splitlines(keepends=True)
    for broken in (
        [first, '{"a\n', third],
        [first, second, third, '{"a\n'],
        [first, second, third[:9]],
        ["\0\n", second],
    ):
        file.write_text("".join(broken))
        log = EpochLog(in_tmp)
        assert [epoch["epoch"] for epoch in read_epochs(in_tmp)] == list(range(1, file.read_text().count("\n") + 1))
        log.append(history)
        assert [(epoch["epoch"], epoch["metrics"]) for epoch in read_epochs(in_tmp)] == list(
            enumerate(history, start=1)
        )


def test_what_is_known_of_a_run_adds_up(settings: SettingsMaker, in_tmp: Path) -> None:
    folder = create("abc", settings())
    assert folder.record == {}
    folder.update(status="running", sweep="1")
    folder.update(metrics={"test/accuracy": 0.5})
    assert folder.record == {"status": "running", "sweep": "1", "metrics": {"test/accuracy": 0.5}}
    assert json.loads((folder.path / "run.json").read_text()) == folder.record


def test_a_resumed_run_has_the_config_that_it_was_started_with(settings: SettingsMaker, in_tmp: Path) -> None:
    started = settings("optimizer=sgd", "arch.m=3", "data=mnist", "data.root=/a")
    folder = create("abc", started)
    now = settings("resume=abc", "data=mnist", "data.root=/b", "optimizer=sgd", "tracking.experiment=x")
    found = stored_settings(folder, now, ["data", "data.root", "optimizer", "tracking.experiment"])
    assert found.choices == started.choices
    assert found.values["arch"] == started.values["arch"]
    assert found.values["data"] == {**started.values["data"], "root": "/b"}
    assert found.values["tracking"]["experiment"] == "x"


def test_a_resumed_run_may_be_tracked_elsewhere_or_not_at_all(settings: SettingsMaker, in_tmp: Path) -> None:
    folder = create("abc", settings())
    found = stored_settings(folder, settings("resume=abc", "tracking=none"), ["tracking"])
    assert found.tracking.uri is None
    assert found.choices == {**settings().choices, "tracking": "none"}
    assert read_settings(folder.path).tracking.uri is not None


def test_what_would_change_the_result_is_refused_on_resume(settings: SettingsMaker, in_tmp: Path) -> None:
    folder = create("abc", settings("optimizer=sgd"))
    now = settings("resume=abc", "optimizer=adam", "arch.m=3")
    with pytest.raises(ConfigError) as error:
        stored_settings(folder, now, ["optimizer", "arch.m"])
    assert str(error.value) == (
        "resume=abc goes on with the config that the run was started with. "
        "Leave out optimizer=adam (it was sgd), arch.m=3 (it was 2), or start a new run."
    )


def test_a_folder_that_cannot_be_made_is_named(
    settings: SettingsMaker, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigError) as error:
        create("abc", settings())
    expected = f"{in_tmp / 'runs' / 'abc'} cannot be made: Read-only file system. Start where you may write."
    assert str(error.value) == expected
