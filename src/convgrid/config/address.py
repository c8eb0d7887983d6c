"""What `tracking.uri` may be, told without MLflow, which takes seconds to import."""

import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from convgrid.errors import TrackingError

TRACKING_URI, EXPERIMENT_NAME = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"  # MLflow's variables
DEFAULT_STORE, DEFAULT_EXPERIMENT = "sqlite:///mlflow.db", "convgrid"  # without them, as in conf/tracking/mlflow.yaml
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
        key = TRACKING_URI if uri == os.environ.get(TRACKING_URI) else "tracking.uri"
        typed, otherwise = (option + " ", "") if option else (f"{key}=", ", or run with tracking=none")
        raise TrackingError(
            f"{typed}{without_password(uri)} cannot be used: {cause}. Give sqlite:///mlflow.db or http://HOST:PORT{otherwise}."
        )


def usual_store() -> str:
    """The store where nothing else is said: as MLflow's variable says, or a database in the working folder."""
    return os.environ.get(TRACKING_URI, DEFAULT_STORE)


def usual_experiment() -> str:
    """The experiment where nothing else is said: as MLflow's variable says, or convgrid's."""
    return os.environ.get(EXPERIMENT_NAME, DEFAULT_EXPERIMENT)


def knock(uri: str) -> None:
    """Fail within seconds where no server listens: MLflow itself would try for longer.

    Raises:
        OSError: If it is a server's, and nobody answers there.
    """
    address = urlsplit(uri)
    if address.scheme in SERVERS:
        port = address.port or SERVERS[address.scheme]
        socket.create_connection((address.hostname or "", port), timeout=5).close()


def without_password(uri: str) -> str:
    """A store's address as it may be printed: without the name and the password of who uses it.

    Example:
        >>> without_password("https://eve:secret@mlflow.example.org/team"), without_password("sqlite:///mlflow.db")
        ('https://***@mlflow.example.org/team', 'sqlite:///mlflow.db')
    """
    return re.sub(r"(://)[^/\s]*@", r"\1***@", uri)


def database(uri: str) -> Path | None:
    """The file of a local store.

    Returns:
        Its path; None where the store is not a file.

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
