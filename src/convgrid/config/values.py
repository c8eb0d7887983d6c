"""Checks of a resolved config's values: ranges, sizes, what fits together, and what has no effect."""

from collections.abc import Callable, Mapping, Sequence

from convgrid.config.settings import Settings, architecture, flatten
from convgrid.errors import ConfigError, ConvgridError, Mistakes
from convgrid.pattern import Pattern, parse
from convgrid.plan import Architecture, plan
from convgrid.targets import fit, objective_of

LEAST: Mapping[str, float] = {
    "seed": 0,
    "data.batch_size": 1,
    "data.limit": 0,
    "data.split_seed": 0,
    "trainer.max_epochs": 1,
    "trainer.patience": 0,
    "trainer.gradient_clip_norm": 0,
    "trainer.threads": 1,
    "trainer.limit": 0,
    "regularization.l1": 0,
    "regularization.l2": 0,
}
ONE_OF: Mapping[str, Sequence[str]] = {
    "arch.init": ("glorot_uniform", "he_uniform", "he_normal", "torch"),
    "objective.mode": ("auto", "max", "min"),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "trainer.precision": ("32-true", "bf16-mixed", "16-mixed"),
}


def mistakes_in_values(settings: Settings, typed: Sequence[str]) -> list[ConvgridError]:
    """Find all values that cannot be.

    Args:
        settings: The resolved config.
        typed: Keys and groups that a person typed; one of these without effect is a mistake.

    Returns:
        A line or more a mistake.
    """
    data, objective = settings.values["data"], settings.values["objective"]
    task = data.get("task", "classification")
    checks: list[Callable[[], object]] = [
        lambda: _check_effect(architecture(settings), typed),
        lambda: plan(architecture(settings), data["shape"], data["num_classes"] or 1),
        lambda: fit(settings.choices["loss"], task),
        lambda: objective_of(task, objective["metric"], objective["mode"]),
    ]
    found: list[ConvgridError] = _out_of_range(settings)
    for check in checks:
        try:
            check()
        except Mistakes as several:
            found += several.errors
        except ConvgridError as error:
            found.append(error)
    return found


def _out_of_range(settings: Settings) -> list[ConvgridError]:
    values = dict(flatten(settings.values))
    found = [
        f"{key}={values[key]} must be at least {least}."
        for key, least in LEAST.items()
        if values.get(key, least) < least
    ]
    for key, options in ONE_OF.items():
        if values[key] not in options:
            found.append(f"{key}={values[key]} must be one of {', '.join(options)}.")
    return [ConfigError(text) for text in found]


def _check_effect(arch: Architecture, typed: Sequence[str]) -> None:
    """Keys that somebody typed and the pattern never asks for."""
    pattern = parse(arch.pattern, activations=arch.groups.activations)
    idle = {**_idle_counts(pattern), **_idle_groups(pattern)}
    found = [
        ConfigError(f"{key} has no effect: the pattern {arch.pattern} has {idle[name]}. Leave it out.")
        for key in typed
        for name in idle
        if key == name or key.startswith(f"{name.replace('/', '.')}.")
    ]
    if found:
        raise Mistakes(found)


def _idle_counts(pattern: Pattern) -> dict[str, str]:
    return {f"arch.{count}": f"no {count.upper()}" for count in "nmk" if count not in pattern.counts}


def _idle_groups(pattern: Pattern) -> dict[str, str]:
    """Keys and groups by what the pattern lacks."""
    kinds = {layer.kind for layer in pattern.layers}
    idle = {f"layer/{kind.lower()}": f"no {kind}" for kind in ("CONV", "POOL", "NORM", "DROPOUT") if kind not in kinds}
    hidden = [layer for layer in pattern.layers[:-1] if layer.kind == "FC" and not layer.args]
    default = [layer for layer in pattern.layers if layer.kind == "CONV" and "filters" not in dict(layer.args)]
    if not hidden:
        idle["arch.hidden"] = "no hidden FC without a width"
    if not default:
        idle |= dict.fromkeys(("arch.filters", "arch.growth", "arch.max_filters"), "no CONV without filters")
    if not any(layer.kind == "ACT" and layer.activation is None for layer in pattern.layers):
        idle["activation"] = "no ACT: it names its activations"
    return idle
