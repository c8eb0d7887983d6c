"""From what the user typed to typed values: every mistake is told before any work starts."""

from convgrid.config.command import Command, check
from convgrid.config.composer import Composer
from convgrid.config.composition import Composition
from convgrid.config.counting import counted_for_plan
from convgrid.config.experiments import register_experiments
from convgrid.config.files import CONF
from convgrid.config.fits import fit_of, outputs
from convgrid.config.grids import Grid, grids
from convgrid.config.identity import (
    PLACES,
    config_key,
    counted,
    digest_of,
    identity,
    is_outside_identity,
    weights_digest,
)
from convgrid.config.mappings import flatten, look_up, replaced
from convgrid.config.nearest import nearest_key
from convgrid.config.overrides import assignments, elements_of, shown, values_of
from convgrid.config.settings import Settings, architecture, component, from_hydra
from convgrid.config.values import check_values, idle_keys, is_idle, mistakes_in_sweep, no_effect, plan_from_config

__all__ = [
    "CONF",
    "PLACES",
    "Command",
    "Composer",
    "Composition",
    "Grid",
    "Settings",
    "architecture",
    "assignments",
    "check",
    "check_values",
    "component",
    "config_key",
    "counted",
    "counted_for_plan",
    "digest_of",
    "elements_of",
    "fit_of",
    "flatten",
    "from_hydra",
    "grids",
    "identity",
    "idle_keys",
    "is_idle",
    "is_outside_identity",
    "look_up",
    "mistakes_in_sweep",
    "nearest_key",
    "no_effect",
    "outputs",
    "plan_from_config",
    "register_experiments",
    "replaced",
    "shown",
    "values_of",
    "weights_digest",
]
