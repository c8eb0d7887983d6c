"""Checks of a resolved config's values: ranges, sizes, what fits together, and what has no effect."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from convgrid.config.settings import Settings, architecture, component, flatten, outputs
from convgrid.errors import ConfigError, ConvgridError, PlanError, gather, refuse
from convgrid.glossary import objective_of
from convgrid.imbalance import check_imbalance
from convgrid.pattern import Pattern, parse
from convgrid.plan import Architecture, plan
from convgrid.targets import FITS, NOUNS, check_target, fit

BYTES = 4  # of a weight in float32
GIB = 2**30
LEAST: Mapping[str, float] = {
    "seed": 0,
    "data.batch_size": 1,
    "data.limit": 0,
    "data.memory_gib": 0,
    "data.size": 1,
    "data.split_seed": 0,
    "data.workers": 1,
    "trainer.max_epochs": 1,
    "trainer.patience": 0,
    "trainer.gradient_clip_norm": 0,
    "trainer.threads": 1,
    "trainer.limit": 0,
    "trainer.test_views": 1,
    "regularization.l1": 0,
    "regularization.l2": 0,
    "layer.norm.eps": 0,
    "layer.norm.momentum": 0,
    "layer.norm.size": 1,
}
MOST: Mapping[str, float] = {"layer.norm.momentum": 1}
ONE_OF: Mapping[str, Sequence[str]] = {
    "arch.init": ("glorot_uniform", "he_uniform", "he_normal", "torch"),
    "data.task": tuple(NOUNS),
    "imbalance.sampling": ("shuffle", "balanced"),
    "objective.mode": ("auto", "max", "min"),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "trainer.precision": ("32-true", "bf16-mixed", "16-mixed"),
}


def mistakes_in_values(settings: Settings, typed: Mapping[str, str]) -> list[ConvgridError]:
    """Find all values that cannot be.

    Args:
        settings: The resolved config.
        typed: The text by the key or group, of what a person typed; one of these without effect is a mistake.

    Returns:
        A line or more a mistake.
    """
    data, objective = settings.values["data"], settings.values["objective"]
    task, loss, target = data.get("task", "classification"), settings.choices["loss"], settings.choices["target"]
    checks: list[Callable[[], object]] = [
        *(partial(component, settings, group) for group in ("loss", "target", "optimizer", "schedule", "data")),
        lambda: _check_data(settings),
        lambda: _check_effect(architecture(settings), typed),
        lambda: check_imbalance(**settings.values["imbalance"], task=task, count=data.get("num_classes")),
        lambda: _check_views(settings),
    ]
    if data.get("shape") is not None:
        checks.append(lambda: _check_plan(settings, data["shape"]))
    if task in NOUNS:
        row, count = FITS.get(loss, {}).get(task), data.get("num_classes")
        checks.append(lambda: fit(loss, task, count))
        checks.append(lambda: check_target(target, loss, task))
        checks.append(lambda: objective_of(task, objective["metric"], objective["mode"], row, count))
    return [*_out_of_range(settings), *gather(checks)]


def _out_of_range(settings: Settings) -> list[ConvgridError]:
    values = dict(flatten(settings.values))
    found = [
        f"{key}={values[key]} must be at least {least}."
        for key, least in LEAST.items()
        if values.get(key) is not None and values[key] < least
    ]
    found += [
        f"{key}={values[key]} must be at most {most}." for key, most in MOST.items() if values.get(key, most) > most
    ]
    for key, options in ONE_OF.items():
        if values.get(key, options[0]) not in options:
            found.append(f"{key}={values[key]} must be one of {', '.join(options)}.")
    return [ConfigError(text) for text in found]


def _check_data(settings: Settings) -> None:
    """What every option of `data` says, a person's own, too; a plan without the data needs all of it."""
    name, data = settings.choices["data"], settings.values["data"]
    missing = [f"data.{key}" for key in ("shape", "num_classes", "batch_size") if key not in data]
    if missing:
        raise ConfigError(f"data={name} has no {', '.join(missing)}. Add them to the file of that option.")
    if settings.values["dry_run"] and data["num_classes"] is None:
        raise ConfigError("data.num_classes=null: a plan without the data needs a number. Add data.num_classes=10.")


def _check_views(settings: Settings) -> None:
    views = settings.values["trainer"]["test_views"]
    if views > 1 and component(settings, "augment") is None:
        raise ConfigError(
            f"trainer.test_views={views} needs an augment, which makes the views. Add augment=cifar or another one."
        )


def _check_plan(settings: Settings, shape: Sequence[int]) -> None:
    """Every size works out, and the weights fit into the memory where they are made."""
    planned = plan(architecture(settings), shape, outputs(settings))
    needed, there = BYTES * planned.parameters, _memory()
    if needed > there and not settings.values["dry_run"]:
        largest = max(planned.layers, key=lambda layer: layer.parameters).name
        raise PlanError(
            f"the network has {planned.parameters:,} parameters, most of them in {largest}: {needed / GIB:,.1f} GiB. "
            f"The machine has {there / GIB:,.1f} GiB. Make it smaller, or look at it with dry_run=true."
        )


def _memory() -> float:
    """The machine's, in bytes, where it can be told."""
    if not hasattr(os, "sysconf"):  # Windows
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_effect(arch: Architecture, typed: Mapping[str, str]) -> None:
    """Keys that somebody typed and the pattern never asks for."""
    pattern = parse(arch.pattern, activations=arch.groups.activations)
    idle = {**_idle_counts(pattern), **_idle_groups(pattern)}
    found = [
        ConfigError(f"{text} has no effect: the pattern {' '.join(arch.pattern.split())} {idle[name]}. Leave it out.")
        for key, text in typed.items()
        for name in idle
        if key == name or key.startswith(f"{name.replace('/', '.')}.")
    ]
    refuse(found)


def _idle_counts(pattern: Pattern) -> dict[str, str]:
    return {f"arch.{count}": f"has no {count.upper()}" for count in "nmk" if count not in pattern.counts}


def _idle_groups(pattern: Pattern) -> dict[str, str]:
    """Keys and groups by what the pattern lacks."""
    kinds = {layer.kind for layer in pattern.layers}
    kinds_of_groups = ("CONV", "POOL", "NORM", "DROPOUT")
    idle = {f"layer/{kind.lower()}": f"has no {kind}" for kind in kinds_of_groups if kind not in kinds}
    hidden = [layer for layer in pattern.layers[:-1] if layer.kind == "FC" and not layer.args]
    default = [layer for layer in pattern.layers if layer.kind == "CONV" and "filters" not in dict(layer.args)]
    if not hidden:
        idle["arch.hidden"] = "has no hidden FC without a width"
    if not default:
        idle |= dict.fromkeys(("arch.filters", "arch.growth", "arch.max_filters"), "has no CONV without filters")
    if not any(layer.kind == "ACT" and layer.activation is None for layer in pattern.layers):
        idle["activation"] = "names its activations" if "ACT" in kinds else "has no ACT"
    return idle
