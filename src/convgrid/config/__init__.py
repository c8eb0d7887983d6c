"""From what the user typed to typed values: every mistake is told before any work starts."""

from convgrid.config.check import check
from convgrid.config.composer import Composer
from convgrid.config.composition import Composition
from convgrid.config.files import CONF, register_experiments
from convgrid.config.fits import fits, outputs
from convgrid.config.grids import Grid, grids
from convgrid.config.nearest import nearest_key
from convgrid.config.overrides import assignments, elements_of, shown, values_of
from convgrid.config.settings import (
    PLACES,
    Settings,
    architecture,
    component,
    config_key,
    counted,
    digest_of,
    flatten,
    from_hydra,
    identity,
    is_outside_identity,
)
from convgrid.config.values import idle_keys, is_idle, mistakes_in_sweep, mistakes_in_values, no_effect, planned

__all__ = [
    "CONF",
    "PLACES",
    "Composer",
    "Composition",
    "Grid",
    "Settings",
    "architecture",
    "assignments",
    "check",
    "component",
    "config_key",
    "counted",
    "digest_of",
    "elements_of",
    "fits",
    "flatten",
    "from_hydra",
    "grids",
    "identity",
    "idle_keys",
    "is_idle",
    "is_outside_identity",
    "mistakes_in_sweep",
    "mistakes_in_values",
    "nearest_key",
    "no_effect",
    "outputs",
    "planned",
    "register_experiments",
    "shown",
    "values_of",
]
