"""A tracking server that sends convgrid elsewhere does not thereby get its credentials sent elsewhere."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from mlflow.exceptions import MlflowException

from convgrid.tracking.store import connect

CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


class _Server:
    """Answers every request alike, and keeps what it was sent of the user's credentials."""

    def __init__(self, status: int, place: str | None = None) -> None:
        self.authorizations: list[str | None] = []
        kept = self.authorizations

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kept.append(self.headers.get("Authorization"))
                self.send_response(status)
                if place is not None:
                    self.send_header("Location", place + self.path)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def elsewhere() -> Iterator[_Server]:
    server = _Server(400)
    yield server
    server.close()


@pytest.mark.parametrize("kind", ["token", "password", "address"])
def test_credentials_are_not_sent_to_another_host(
    elsewhere: _Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    given = {
        "token": {"MLFLOW_TRACKING_TOKEN": "t0ken"},
        "password": {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "secret"},
        "address": {},
    }[kind]
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    server = _Server(307, f"http://localhost:{elsewhere.http.server_port}")
    user = "me:secret@" if kind == "address" else ""
    try:
        with pytest.raises(MlflowException):  # the other server answers with an error
            connect(f"http://{user}127.0.0.1:{server.http.server_port}", "convgrid")
    finally:
        server.close()
    assert any(server.authorizations)  # the server that was named is sent them
    assert elsewhere.authorizations  # the redirect was followed
    assert not any(elsewhere.authorizations)
