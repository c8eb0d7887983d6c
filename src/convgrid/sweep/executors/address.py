"""Where a sweep's scheduler listens, and the keys that open it: `sweeps/ID/scheduler.json`, for its user alone."""

import ipaddress
import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convgrid.errors import ConfigError

ADDRESS_FILE = "scheduler.json"
LOOPBACK = "127.0.0.1"
_ANYWHERE = ("192.0.2.1", 9)  # of RFC 5737's documentation: nothing is sent there


@dataclass(frozen=True)
class Address:
    """What a node process must know.

    Args:
        start: Of this start of the scheduler; each has another, with other keys.
        at: Such as "tcp://10.0.0.1:40123".
        server: The scheduler's public key.
        public: The nodes' public key.
        secret: The nodes' secret key.
        cwd: Where the command was typed.
        sweep: The sweep's folder.
        lost_after: Seconds of silence after which a node is lost.
        patience: Seconds that a node waits for the scheduler to come back.
    """

    start: str
    at: str
    server: str
    public: str
    secret: str
    cwd: str
    sweep: str
    lost_after: float
    patience: float

    def write(self) -> Path:
        """Put it into the sweep's folder, readable by the user alone at any time.

        Returns:
            The file.
        """
        partial, file = Path(self.sweep) / f"partial.{ADDRESS_FILE}", Path(self.sweep) / ADDRESS_FILE
        with suppress(FileNotFoundError):
            partial.unlink()
        with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as opened:
            json.dump(asdict(self), opened, indent=2)
        partial.replace(file)
        return file


def read_address(file: Path) -> Address | None:
    """Read where to go.

    Returns:
        The address; None where there is no such file: the sweep is over.

    Raises:
        ConfigError: If the file cannot be read, or says something else.
    """
    try:
        known: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Address(**known)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}. Start the node as the sweep's user.") from None
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{file} is no scheduler's: {error}. Give sweeps/ID/{ADDRESS_FILE} of a sweep that runs."
        ) from None


def own_address() -> str:
    """Find by which address of this machine others reach it: that of the route to anywhere; nothing is sent.

    Returns:
        An IP address; the loopback's where there is no network.
    """
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_ANYWHERE)
        return probe.getsockname()[0]
    return LOOPBACK


def place_of(host: str | None) -> str:
    """Where to listen, as ZeroMQ writes it.

    Args:
        host: An IP address or a name of this machine's, or of one of its network interfaces; None for `own_address`.

    Example:
        >>> place_of("127.0.0.1"), place_of("::1"), place_of("ib0")
        ('127.0.0.1', '[::1]', 'ib0')
    """
    host = own_address() if host is None else host
    with suppress(ValueError):
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    with suppress(OSError):
        if host not in {name for _, name in socket.if_nameindex()}:
            return socket.gethostbyname(host)
    return host
