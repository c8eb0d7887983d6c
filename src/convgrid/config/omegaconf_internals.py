"""All private names of OmegaConf that convgrid uses. Written for OmegaConf 2.3."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer


@contextmanager
def resolver_replaced(name: str, resolver: Callable[..., Any]) -> Iterator[None]:
    """Take another resolver for a block. Public are its registration and whether there is one, not which one it is."""
    resolvers = BaseContainer._resolvers
    before = resolvers[name]
    OmegaConf.register_new_resolver(name, resolver, replace=True)
    try:
        yield
    finally:
        resolvers[name] = before
