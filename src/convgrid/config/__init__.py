"""From what a person typed to typed values: every mistake is told before any work starts."""

from convgrid.config.check import check
from convgrid.config.files import CONF, register_experiments
from convgrid.config.settings import (
    Settings,
    architecture,
    component,
    flatten,
    from_hydra,
    identity,
    is_outside_identity,
    outputs,
)
from convgrid.config.values import mistakes_in_values

__all__ = [
    "CONF",
    "Settings",
    "architecture",
    "check",
    "component",
    "flatten",
    "from_hydra",
    "identity",
    "is_outside_identity",
    "mistakes_in_values",
    "outputs",
    "register_experiments",
]
