"""Values of the environment that no file and no line shows: a config keeps what it was written with instead."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.resolvers import oc

SECRET = re.compile("secret|key|token|password", re.IGNORECASE)
LOGIN = re.compile("://[^/]*@")  # as in https://eve:1234@mlflow.example.org


@contextmanager
def secrets_kept() -> Iterator[None]:
    """Let `${oc.env:MY_TOKEN}` stand for itself where OmegaConf looks values up; `component.revealed` has the value.

    Secret is what the variable's name calls so, and an address with a name and a password in it. After the block,
    other users of OmegaConf in this process get values again.
    """
    resolvers = BaseContainer._resolvers  # nothing public gives what is registered
    before = resolvers["oc.env"]
    OmegaConf.register_new_resolver("oc.env", _kept, replace=True)
    try:
        yield
    finally:
        resolvers["oc.env"] = before


def _kept(name: str, *default: Any) -> Any:
    value = oc.env(name, *default)
    secret = name in os.environ and (SECRET.search(name) or LOGIN.search(os.environ[name]))
    return f"${{oc.env:{name}}}" if secret else value
