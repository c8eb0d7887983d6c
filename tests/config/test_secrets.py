"""Secrets of the environment: a component gets them; no config, hash or line has them."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from convgrid.cli.main import main
from convgrid.component import Component, revealed
from convgrid.config import Settings, check, component, config_key
from convgrid.config.secrets import secrets_kept
from convgrid.errors import ConfigError

NAMES = ["MY_TOKEN", "apikey", "AWS_SECRET_ID", "Db_Password"]


def looked_up(text: Any) -> Any:
    with secrets_kept():
        return OmegaConf.to_container(OmegaConf.create({"a": text, "b": "${a}"}), resolve=True)["b"]  # pyright: ignore


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An option with a token."""
    (tmp_path / "conf" / "schedule").mkdir(parents=True)
    (tmp_path / "conf/schedule/mine.yaml").write_text(
        "_target_: builtins.dict\ntoken: ${oc.env:MY_TOKEN}\nheader: Bearer ${schedule.token}\n"
        "place: ${oc.env:MY_PLACE}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_TOKEN", "1234-5678")
    monkeypatch.setenv("MY_PLACE", "/here")
    return ["--config-dir", "conf", "schedule=mine"]


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_is_kept_as_the_text_and_looked_up_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    text = f"${{oc.env:{name}}}"
    assert looked_up(f"${{oc.env:{name},none}}") == "none"
    monkeypatch.setenv(name, "1234-5678")
    assert looked_up(text) == looked_up(f"${{oc.env:{name},none}}") == text
    assert looked_up([f"Bearer {text}"]) == [f"Bearer {text}"]
    assert revealed({"a": [f"Bearer {text}", 3, None]}, "data.x") == {"a": ["Bearer 1234-5678", 3, None]}
    assert OmegaConf.create({"a": text}).a == "1234-5678"  # other users of OmegaConf


def test_what_is_no_secret_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PLACE", "http://mlflow.example.org/@team")
    assert looked_up("${oc.env:MY_PLACE}") == "http://mlflow.example.org/@team"
    monkeypatch.setenv("MY_PLACE", "https://eve:1234@mlflow.example.org")
    assert looked_up("${oc.env:MY_PLACE}") == "${oc.env:MY_PLACE}"


def test_a_secret_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Component("mine", "builtins.dict", {"token": "${oc.env:NO_TOKEN}"}, "data").bind()
    assert str(caught.value) == (
        "token=${oc.env:NO_TOKEN}: the environment variable NO_TOKEN is not set. Set it: secrets are not stored."
    )


def checked(own: list[str]) -> Settings:
    made = check([*own, "tracking=none"]).settings
    assert made is not None
    return made


def test_a_component_gets_the_secret_that_its_config_does_not_hold(
    own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = checked(own)
    assert settings.values["schedule"] == {
        "_target_": "builtins.dict",
        "token": "${oc.env:MY_TOKEN}",
        "header": "Bearer ${oc.env:MY_TOKEN}",
        "place": "/here",
    }
    made = component(settings, "schedule")
    assert made is not None
    assert made.bind()() == {"token": "1234-5678", "header": "Bearer 1234-5678", "place": "/here"}
    before = config_key(settings)
    monkeypatch.setenv("MY_TOKEN", "another")
    assert config_key(checked(own)) == before


@pytest.mark.parametrize("words", ["--cfg job --resolve", "dry_run=true", "schedule.token=3 dry_run=true"])
def test_no_line_shows_a_secret(own: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", *own, *words.split()])
    out, err = capsys.readouterr()
    assert out + err
    assert "1234-5678" not in out + err
    if "--cfg" in words:
        assert "token: ${oc.env:MY_TOKEN}" in out


def test_a_stores_address_with_a_password_is_kept_as_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://eve:1234@mlflow.example.org"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    settings = check([]).settings
    assert settings is not None
    assert settings.values["tracking"]["uri"] == "${oc.env:MLFLOW_TRACKING_URI}"
    assert settings.tracking.uri == address


@pytest.mark.parametrize(
    ("typed", "variable"),
    [
        ("tracking.uri=https://eve:1234@host", "MLFLOW_TRACKING_URI"),
        ("-m seed=1,2 tracking.uri=https://eve:1234@host", "MLFLOW_TRACKING_URI"),
        ("-m sweep=optuna sweep.max_trials=2 arch.n=1,2 sweep.storage=mysql://eve:1234@host", "MY_ADDRESS"),
    ],
)
def test_an_address_typed_with_a_password_is_refused_and_not_shown(
    typed: str, variable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "dry_run=true", *typed.split()]) == 1
    out, err = capsys.readouterr()
    key, _, address = typed.split()[-1].partition("=")
    assert out == ""
    assert err == (
        f"ConfigError: {key}={address.replace('eve:1234', '***')} would be stored with its password. Set the "
        f"environment variable {variable} to it, and use '{key}=${{oc.env:{variable}}}'.\n"
    )


@pytest.mark.parametrize("address", ["postgresql://eve@host/db", "http://host:5000/@team", "http://[::1]:5000"])
def test_an_address_without_a_password_may_be_typed(address: str) -> None:
    assert check([f"tracking.uri={address}"]).settings is not None
