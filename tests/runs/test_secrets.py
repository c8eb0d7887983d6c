"""A secret of the environment trains and goes on, and is in no file of the run."""

import json
import shutil
from pathlib import Path

import pytest

from convgrid.cli.main import main
from forks import fork_workers, fork_writers

OWN = "def steady(progress, *, token):\n    assert token == '1234-5678'\n    return 1.0\n"
TINY = ["data.limit=100", "arch.filters=4", "trainer.max_epochs=1", "tracking=none", "trainer=cpu"]


@pytest.fixture
def words(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Path("conf/schedule").mkdir(parents=True)
    Path("conf/schedule/mine.yaml").write_text(
        "_target_: with_token.steady\ntoken: ${oc.env:MY_TOKEN}\n", encoding="utf-8"
    )
    Path("with_token.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(in_tmp)
    monkeypatch.setenv("MY_TOKEN", "1234-5678")
    return ["run", "--config-dir", "conf", "schedule=mine", *TINY]


def test_no_file_of_a_run_has_the_secret_and_the_run_goes_on(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    (folder,) = Path("runs").iterdir()
    content = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert b"${oc.env:MY_TOKEN}" in content["config.yaml"]
    assert b"${oc.env:MY_TOKEN}" in content["run.json"]
    assert [name for name, text in content.items() if b"1234-5678" in text] == []

    record = json.loads(content["run.json"])
    for token, status in (("1234-5678", 0), (None, 1)):
        (folder / "run.json").write_text(json.dumps(record | {"status": "killed"}), encoding="utf-8")
        if token is None:
            monkeypatch.delenv("MY_TOKEN")
        capsys.readouterr()
        assert main(["run", f"resume={folder.name}", "tracking=none", "trainer=cpu"]) == status
    assert "the environment variable MY_TOKEN is not set" in capsys.readouterr().err


def test_no_file_of_a_sweep_and_nothing_in_mlflow_has_the_secret(
    words: list[str], in_tmp: Path, migrated_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_workers(monkeypatch.setattr)
    fork_writers(monkeypatch.setattr)
    shutil.copyfile(migrated_store, in_tmp / "mlflow.db")
    sweep = [word for word in words if word != "tracking=none"]
    assert main([sweep[0], "-m", *sweep[1:], "arch.n=1", "arch.m=1"]) == 0
    written = [file for file in in_tmp.rglob("*") if file.is_file() and not file.name.startswith("with_token.")]
    content = {file: file.read_bytes() for file in written}
    holding = {file.name for file, text in content.items() if b"oc.env:MY_TOKEN" in text}
    assert {"config.yaml", "run.json", "mlflow.db"} <= holding
    assert [file for file, text in content.items() if b"1234-5678" in text] == []
