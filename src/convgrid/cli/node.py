"""`convgrid node`: the workers of this machine for a sweep that runs on another."""

from argparse import Namespace
from importlib.util import find_spec

from convgrid.errors import ConfigError


def node(asked: Namespace) -> int:
    """Train for a sweep until it is over.

    Args:
        asked: `file`.

    Returns:
        The exit status: 1 where the node was refused, or no scheduler answered.

    Raises:
        ConfigError: If the file cannot be used, or pyzmq is missing.
    """
    if find_spec("zmq") is None:
        raise ConfigError("a node needs pyzmq, which is not installed: pip install 'convgrid[cluster]'")
    from convgrid.sweep.executors.node import serve

    return serve(asked.file)
