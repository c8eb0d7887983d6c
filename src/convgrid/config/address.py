"""What `tracking.uri` may be, told without MLflow, which takes seconds to import."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from convgrid.errors import TrackingError

SERVERS = {"http": 80, "https": 443}
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
HOSTED = ("databricks", "databricks-uc", "uc")
SQLITE = "sqlite:///"
HEADER = b"SQLite format 3\0"


def check_uri(uri: str, option: str | None = None) -> None:
    """See whether an address can be that of a store; whether it answers is another matter.

    Args:
        uri: As in `tracking.uri`.
        option: Of a command, such as "--tracking-uri", where it was typed there.

    Raises:
        TrackingError: If no store is reached like this, or the file cannot be one.

    Example:
        >>> check_uri("http://127.0.0.1:5000")
        >>> check_uri("htp://127.0.0.1:5000")
        Traceback (most recent call last):
        ...
        convgrid.errors.TrackingError: tracking.uri=htp://127.0.0.1:5000 cannot be used: MLflow has no store htp://. \
Give sqlite:///mlflow.db or http://HOST:PORT, or run with tracking=none.
    """
    cause = _cause(uri)
    if cause:
        typed, otherwise = (f"{option} {uri}", "") if option else (f"tracking.uri={uri}", ", or run with tracking=none")
        raise TrackingError(
            f"{typed} cannot be used: {cause}. Give sqlite:///mlflow.db or http://HOST:PORT{otherwise}."
        )


def knock(uri: str) -> None:
    """Fail within seconds where no server listens: MLflow itself would try for longer.

    Raises:
        OSError: If it is a server's, and nobody answers there.
    """
    address = urlsplit(uri)
    if address.scheme in SERVERS:
        port = address.port or SERVERS[address.scheme]
        socket.create_connection((address.hostname or "", port), timeout=5).close()


def database(uri: str) -> Path | None:
    """The file of a local store.

    Returns:
        Its path; None where the store is no file.

    Example:
        >>> database("sqlite:///mlflow.db")
        PosixPath('mlflow.db')
    """
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def _cause(uri: str) -> str:
    """Why it is not allowed; "" where it is."""
    scheme, separator, rest = uri.partition("://")
    kind = scheme.partition("+")[0]
    if kind in HOSTED:
        return ""
    if not separator:
        return "MLflow no longer keeps runs in folders"
    if kind in SERVERS:
        return _cause_of_server(uri)
    if kind not in DATABASES and kind not in _of_plugins():
        return f"MLflow has no store {scheme}://" if kind != "file" else "MLflow no longer keeps runs in folders"
    path = database(uri)
    if kind == "sqlite" and path is None:
        return f"{rest} is not a path after {SQLITE}"
    return _cause_of_file(path) if path else ""


def _of_plugins() -> set[str]:
    from importlib.metadata import entry_points  # which takes 10 ms to import

    return {found.name for found in entry_points(group="mlflow.tracking_store")}


def _cause_of_server(uri: str) -> str:
    try:
        address = urlsplit(uri)
        _ = address.port
    except ValueError as error:
        return str(error)
    return "" if address.hostname else "it names no host"


def _cause_of_file(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder"
    if not path.exists():
        folder = path.absolute().parent
        if not folder.is_dir():
            return f"{folder} does not exist"
        return "" if os.access(folder, os.W_OK) else f"{folder} cannot be written"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path} cannot be written"
    with path.open("rb") as file:
        header = file.read(len(HEADER))
    return "" if header in (b"", HEADER) else f"{path} is not a database"
