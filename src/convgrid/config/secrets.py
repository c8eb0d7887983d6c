"""Values of the environment that no file and no line shows: a config keeps what it was written with instead."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf.resolvers import oc

from convgrid.config.address import TRACKING_URI, without_password
from convgrid.config.mappings import flatten
from convgrid.config.omegaconf_internals import resolver_replaced
from convgrid.errors import ConfigError

SECRET = re.compile("secret|key|token|password", re.IGNORECASE)
LOGIN = re.compile("://[^/]*@")  # as in https://eve:1234@mlflow.example.org

TYPED_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")


def passwords_in(values: Mapping[str, Any]) -> list[ConfigError]:
    """Find addresses with a password that would be stored with the config, wherever it goes.

    Args:
        values: The config, nested; what comes from the environment is not in it.

    Returns:
        A mistake each.

    Example:
        >>> print(*passwords_in({"tracking": {"uri": "https://eve:1234@mlflow.example.org"}}))
        tracking.uri=https://***@mlflow.example.org would be stored with its password. Set the environment variable \
MLFLOW_TRACKING_URI to it, and use 'tracking.uri=${oc.env:MLFLOW_TRACKING_URI}'.
    """
    texts = ((key, value) for key, value in flatten(values) if isinstance(value, str) and "@" in value)
    found = {key: value for key, value in texts if TYPED_PASSWORD.search(value)}
    variables = {key: TRACKING_URI if key == "tracking.uri" else "MY_ADDRESS" for key in found}
    return [
        ConfigError(
            f"{key}={without_password(value)} would be stored with its password. Set the environment variable "
            f"{variables[key]} to it, and use '{key}=${{oc.env:{variables[key]}}}'."
        )
        for key, value in found.items()
    ]


@contextmanager
def secrets_kept() -> Iterator[None]:
    """Let `${oc.env:MY_TOKEN}` stand for itself where OmegaConf looks values up; `component.revealed` has the value.

    Secret is what the variable's name calls so, and an address with a name and a password in it. After the block,
    other users of OmegaConf in this process get values again.
    """
    with resolver_replaced("oc.env", _kept):
        yield


def _kept(name: str, *default: Any) -> Any:
    value = oc.env(name, *default)
    secret = name in os.environ and (SECRET.search(name) or LOGIN.search(os.environ[name]))
    return f"${{oc.env:{name}}}" if secret else value
