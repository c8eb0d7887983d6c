"""Checks of a resolved config's values: ranges, sizes, what fits together, and what has no effect."""

import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from convgrid.config.address import check_uri
from convgrid.config.counting import with_counted
from convgrid.config.fits import fit_of, fit_so_far, outputs
from convgrid.config.mappings import flatten
from convgrid.config.overrides import shown
from convgrid.config.secrets import passwords_in
from convgrid.config.settings import Settings, architecture, component
from convgrid.errors import ConfigError, ConvgridError, PlanError, gather, refuse
from convgrid.network.frozen import FREEZE_NONE
from convgrid.network.pattern import Pattern, parse
from convgrid.network.plan import Plan, plan
from convgrid.network.planned import FLOAT32_BYTES, PlannedLayer
from convgrid.network.published import IMAGENET, PUBLISHED
from convgrid.objective.fit import NOUNS, check_target
from convgrid.objective.glossary import objective_of
from convgrid.objective.imbalance import check_imbalance
from convgrid.system.device import check_precision
from convgrid.system.text import escaped

GIB = 2**30
NUMERIC_TYPES = (int, float)
OF_WEIGHTS = ("arch.loaded_lr", "schedule.freeze_epochs")  # without effect where no weights are loaded
NO_WEIGHTS = "no weights are loaded"
MINIMA: Mapping[str, float] = {
    "arch.loaded_lr": 0,
    "seed": 0,
    "data.batch_size": 1,
    "data.limit": 0,
    "data.limit_evaluation": 0,
    "data.memory_gib": 0,
    "data.size": 1,
    "data.views": 0,
    "data.split_seed": 0,
    "data.workers": 1,
    "trainer.max_epochs": 1,
    "trainer.patience": 0,
    "trainer.gradient_clip_norm": 0,
    "trainer.threads": 1,
    "trainer.limit": 0,
    "trainer.test_views": 1,
    "regularization.l1": 0,
    "schedule.freeze_epochs": 0,
    "sweep.folds": 2,
    "sweep.executor.cmd_timeout": 1,
    "sweep.executor.cores_per_block": 1,
    "sweep.executor.cores_per_node": 1,
    "sweep.executor.cpus_per_node": 1,
    "sweep.executor.gpus_per_node": 1,
    "sweep.executor.lost_after": 5,
    "sweep.executor.mem_per_node": 0,
    "sweep.executor.nodes": 1,
    "sweep.executor.num_cpus": 1,
    "sweep.executor.num_gpus": 0,
    "sweep.executor.patience": 0,
    "sweep.executor.port": 0,
    "sweep.pruner.min_epochs": 1,
    "sweep.pruner.reduction_factor": 2,
    "sweep.pruner.startup_trials": 0,
    "sweep.sampler.candidates": 1,
    "sweep.sampler.crossover_rate": 0,
    "sweep.sampler.population_size": 2,
    "sweep.sampler.startup_trials": 1,
    "sweep.max_consecutive_failures": 1,
    "sweep.max_seeds": 3,
    "sweep.max_trials": 1,
    "sweep.retries": 0,
    "sweep.seeds": 1,
    "sweep.trials_per_gpu": 1,
    "sweep.workers": 1,
    "regularization.l2": 0,
    "layer.norm.eps": 0,
    "layer.norm.momentum": 0,
    "layer.norm.size": 1,
}
MAXIMA: Mapping[str, float] = {
    "layer.norm.momentum": 1,
    "sweep.executor.port": 65535,
    "sweep.max_seeds": 20,
    "sweep.sampler.crossover_rate": 1,
}
ONE_OF: Mapping[str, Sequence[str | None]] = {
    "arch.init": ("glorot_uniform", "he_uniform", "he_normal", "normal", "lecun_1998", "torch"),
    "arch.init_residual": ("one", "zero"),
    "data.task": tuple(NOUNS),
    "imbalance.sampling": ("shuffle", "balanced"),
    "objective.mode": ("auto", "max", "min"),
    "sweep.rerun": (None, "failed", "all"),
    "sweep.sampler.sequence": ("sobol", "halton"),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "trainer.precision": ("32-true", "bf16-mixed", "16-mixed"),
}


def plan_from_config(settings: Settings) -> Plan:
    """Plan the network as far as the config tells, without the data.

    Returns:
        The plan.

    Raises:
        ConvgridError: If it does not work out.
    """
    return plan(architecture(settings), settings.data.shape, outputs(settings), measure=_measured)


def _measured(layer: PlannedLayer) -> PlannedLayer:
    from convgrid.network.build import measure  # torch takes seconds to import; only a layer of the user's own needs it

    return measure(layer)


def check_values(
    settings: Settings, typed: Mapping[str, str], make_plan: Callable[[Settings], Plan] = plan_from_config
) -> Plan:
    """Find all values that are not allowed, and plan the network on the way.

    Args:
        typed: The text by the key or group, of what the user typed; one of these without effect is a mistake.
        make_plan: Plans the network; a sweep's many trials share the plans of those alike.

    Returns:
        The plan, as far as the config tells without the data.

    Raises:
        ConvgridError: With a line or more a mistake.
    """
    plans: list[Plan] = []
    known = [settings]
    uncounted = gather([lambda: known.append(with_counted(settings))])
    settings = known[-1]

    def plan_network() -> None:
        plans.append(make_plan(settings))
        _check_size(settings, plans[0])

    checks: list[Callable[[], object]] = [
        *(
            partial(component, settings, group)
            for group in ("loss", "target", "optimizer", "schedule", "data", "augment")
        ),
        lambda: _check_effect(settings, typed),
        lambda: _check_fold(settings.fold),
        lambda: _check_imbalance(settings),
        lambda: _check_transfer(settings),
        lambda: _check_views(settings),
        lambda: _check_kept_views(settings),
        lambda: _check_register(settings.tracking.register),
        lambda: _check_store(settings.tracking.uri),
        lambda: check_precision(settings.trainer.precision, settings.trainer.accelerator),
        plan_network,
        lambda: _check_fit(settings),
    ]
    mistakes = [
        *_not_text(settings.values),
        *uncounted,
        *_out_of_range(settings.values),
        *passwords_in(settings.values),
    ]
    refuse([*mistakes, *gather(checks)])
    return plans[0]


def mistakes_in_sweep(settings: Settings) -> list[ConvgridError]:
    """Find the values of the `sweep` group that are not allowed, whatever the points are.

    Returns:
        A line or more a mistake.
    """
    checks = (_check_kept, _check_timeout, _check_search, _check_race)
    return [
        *_out_of_range({"sweep": settings.values["sweep"]}),
        *passwords_in({group: settings.values[group] for group in ("sweep", "tracking")}),
        *gather(partial(check, settings) for check in checks),
    ]


def _out_of_range(nested: Mapping[str, Any]) -> list[ConvgridError]:
    values = dict(flatten(nested))
    numbers = {key: value for key, value in values.items() if isinstance(value, NUMERIC_TYPES)}
    found = [
        f"{key}={numbers[key]} must be at least {least}."
        for key, least in MINIMA.items()
        if key in numbers and numbers[key] < least
    ]
    found += [
        f"{key}={numbers[key]} must be at most {most}."
        for key, most in MAXIMA.items()
        if key in numbers and numbers[key] > most
    ]
    for key, options in ONE_OF.items():
        if values.get(key, options[0]) not in options:
            found.append(f"{key}={values[key]} must be one of {', '.join(map(shown, options))}.")
    return [ConfigError(text) for text in found]


def _not_text(nested: Mapping[str, Any]) -> list[ConfigError]:
    """Names of files whose bytes are not UTF-8, which the files of a run are written in."""
    texts = {key: value for key, value in flatten(nested) if isinstance(value, str) and not value.isascii()}
    return [
        ConfigError(
            f"{key}={escaped(value)} has bytes that are not UTF-8, and the files of a run hold only that. Rename it, "
            "or make a link to it with another name."
        )
        for key, value in texts.items()
        if any("\ud800" <= character <= "\udfff" for character in value)
    ]


def _check_fold(fold: Any) -> None:
    if fold is None:
        return
    if len(fold) != 2 or not all(type(number) is int for number in fold) or not 1 <= fold[0] <= fold[1] >= 2:
        raise ConfigError(f"fold={shown(fold)} must be [number,of], such as [1,5] for the first of five.")


def _check_register(name: Any) -> None:
    if name is not None and (not isinstance(name, str) or not name.strip() or {"/", ":"} & {*name}):
        raise ConfigError(f"tracking.register={shown(name)} must be a name without / and :, such as digits.")


def _check_imbalance(settings: Settings) -> None:
    stated, data = settings.imbalance, settings.data
    check_imbalance(stated.class_weights, stated.sampling, data.task, data.num_classes)


def _check_transfer(settings: Settings) -> None:
    """What concerns loaded weights needs some."""
    _check_published(settings)
    freeze, epochs, most = settings.arch.freeze, settings.freeze_epochs, settings.trainer.max_epochs
    if settings.arch.weights is None and freeze != FREEZE_NONE:
        raise ConfigError(
            f"arch.freeze={freeze} would keep random weights. Add arch.weights=last or others, or leave it out."
        )
    if settings.arch.weights is not None and epochs >= most:
        raise ConfigError(
            f"schedule.freeze_epochs={epochs} of trainer.max_epochs={most} never trains the loaded layers. "
            "Use fewer, or arch.freeze."
        )


def _check_published(settings: Settings) -> None:
    arch = settings.choices["arch"]
    if settings.arch.weights == IMAGENET and arch not in PUBLISHED:
        raise ConfigError(
            f"arch.weights={IMAGENET}: there are none for arch={arch}. Use one of {', '.join(PUBLISHED)}, "
            "or convert a file: python -m convgrid adopt."
        )


def _check_fit(settings: Settings) -> None:
    """Loss, target and objective go with the task."""
    data, loss, stated = settings.data, settings.choices["loss"], settings.objective
    if data.task not in NOUNS:  # told with the other words
        return
    row, count = fit_so_far(settings), data.num_classes
    count = None if count is not None and count < 1 else count  # which the plan tells
    checks = (
        lambda: fit_of(settings, data.task, count),
        lambda: check_target(settings.choices["target"], loss, data.task, row),
        lambda: objective_of(data.task, stated.metric, stated.mode, row, count),
    )
    refuse(gather(checks))


def _check_timeout(settings: Settings) -> None:
    seconds = settings.sweep.trial_timeout
    if seconds is not None and not seconds > 0:  # nor NaN
        raise ConfigError(
            f"sweep.trial_timeout={seconds:g} must be above 0 seconds; null lets a trial run as long as it takes."
        )


def _check_kept(settings: Settings) -> None:
    kept = str(settings.sweep.keep_checkpoints)
    if not re.fullmatch(r"all|none|best:[1-9]\d*", kept):
        raise ConfigError(f"sweep.keep_checkpoints={kept} must be all, none, or best:N such as best:1.")


def _check_search(settings: Settings) -> None:
    if settings.sweep.conditions is not None:
        refuse([ConfigError(text) for text in _wrong_search(settings)])


def _check_race(settings: Settings) -> None:
    refuse([ConfigError(text) for text in (_wrong_race(settings) if settings.sweep.is_race else _unraced(settings))])


def _wrong_race(settings: Settings) -> Iterator[str]:
    """What a race cannot do without, and what it cannot do with."""
    sweep, tolerance, race = settings.sweep, settings.sweep.tolerance, "sweep.seeds=auto"
    if sweep.conditions is not None:
        name = settings.choices["sweep"]
        yield f"{race} needs all settings from the start, and sweep={name} draws them. Use sweep=grid or sweep.seeds=5."
        return
    if tolerance is not None and not 0 < tolerance < math.inf:  # nor NaN
        yield f"sweep.tolerance={tolerance:g} must be above 0, in the unit of the objective, such as 0.002."
    if tolerance is None and sweep.max_trials is None:
        yield (
            f"{race} does not end where settings are equally good. Add sweep.tolerance=0.002, a difference that does "
            "not matter, or sweep.max_trials=200, or both."
        )
    if sweep.folds is not None:
        yield (
            f"{race} adds seeds, which are independent, and folds are not: all of them are one repetition. "
            f"Leave out sweep.folds={sweep.folds} or use sweep.seeds=5."
        )
    pruner = settings.choices.get("sweep/pruner", "none")
    if pruner != "none":
        yield f"{race} needs each trial's result, and sweep/pruner={pruner} ends some before. Leave one of them out."


def _unraced(settings: Settings) -> Iterator[str]:
    if settings.sweep.tolerance is not None:
        yield f"sweep.tolerance={settings.sweep.tolerance:g} has no effect without sweep.seeds=auto. Add it."


def _check_views(settings: Settings) -> None:
    views = settings.trainer.test_views
    if views > 1 and component(settings, "augment") is None:
        raise ConfigError(
            f"trainer.test_views={views} needs an augment, which makes the views. Add augment=cifar or another one."
        )


def _check_kept_views(settings: Settings) -> None:
    views = settings.data.views
    if not views:
        return
    text = f"data.views={views}"
    if settings.arch.freeze == FREEZE_NONE:
        raise ConfigError(f"{text} keeps what frozen layers make of images. Add arch.freeze=features, or leave it out.")
    if component(settings, "augment") is None:
        raise ConfigError(f"{text} needs an augment, which makes the views. Add augment=keras_blog or another one.")
    if settings.trainer.test_views > 1:
        raise ConfigError(
            f"trainer.test_views={settings.trainer.test_views} looks at images, and {text} leaves only features to "
            "see. Leave out one of the two."
        )


def _check_store(uri: str | None) -> None:
    if uri is not None:
        check_uri(uri)


def _wrong_search(settings: Settings) -> Iterator[str]:
    """What a search cannot do without, and what it cannot do with."""
    name, sweep = settings.choices["sweep"], settings.sweep
    if sweep.max_trials is None:
        yield f"sweep={name} needs to know how many trials to train. Add sweep.max_trials=30."
    if sweep.union:
        yield f"sweep.union works with sweep=grid only. Leave it out with sweep={name}."
    for key, texts in (("conditions", sweep.conditions), ("objectives", sweep.objectives)):
        if not all(isinstance(text, str) for text in texts or ()):
            yield f"sweep.{key}={shown(texts)} must be a list of texts."
    if sweep.storage is not None and sweep.storage == settings.tracking.uri:
        yield f"sweep.storage={sweep.storage} is MLflow's store. Give the search one of its own: sqlite:///optuna.db."


def _check_size(settings: Settings, planned: Plan) -> None:
    """The weights fit into the memory where they are made."""
    needed, there = FLOAT32_BYTES * planned.parameters, _memory()
    if needed > there and not settings.dry_run:
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


def _check_effect(settings: Settings, typed: Mapping[str, str]) -> None:
    """Keys that somebody typed and the pattern never asks for."""
    idle = idle_keys(settings) if typed else {}
    refuse([no_effect(settings, key, text) for key, text in typed.items() if is_idle(key, idle)])


def idle_keys(settings: Settings) -> dict[str, str]:
    """List what the network's pattern never asks for, and what only loaded weights do.

    Returns:
        By key or group, what the pattern lacks; or `NO_WEIGHTS`.

    Raises:
        PatternError: If the pattern cannot be parsed.
    """
    arch = architecture(settings)
    pattern = parse(arch.pattern, activations=arch.groups.activations, head=arch.head)
    without = {} if settings.arch.weights is not None else dict.fromkeys(OF_WEIGHTS, NO_WEIGHTS)
    return {**_idle_counts(pattern), **_idle_groups(pattern), **without}


def is_idle(key: str, idle: Collection[str]) -> bool:
    """Say whether a key, or the group that it belongs to, is one of those.

    Args:
        key: With dots, or a group.
        idle: What `idle_keys` found.

    Returns:
        True for "layer.pool.kernel_size" where "layer/pool" is idle.
    """
    return any(key == name or key.startswith(f"{name.replace('/', '.')}.") for name in idle)


def no_effect(settings: Settings, key: str, text: str) -> ConfigError:
    """Say why something typed is idle.

    Args:
        key: With dots, or a group.

    Returns:
        The mistake.
    """
    arch, idle = settings.arch, idle_keys(settings)
    why = next(reason for name, reason in idle.items() if is_idle(key, [name]))
    if why == NO_WEIGHTS:
        return ConfigError(f"{text} has no effect: {why}. Add arch.weights=last or others, or leave it out.")
    head = "" if arch.head is None else f" with arch.head={arch.head}"
    return ConfigError(f"{text} has no effect: the pattern {' '.join(arch.pattern.split())}{head} {why}. Leave it out.")


def _idle_counts(pattern: Pattern) -> dict[str, str]:
    return {f"arch.{count}": f"has no {count.upper()}" for count in "nmk" if count not in pattern.counts}


def _idle_groups(pattern: Pattern) -> dict[str, str]:
    """Keys and groups by what the pattern lacks."""
    kinds = {layer.kind for layer in pattern.layers}
    kinds_of_groups = ("CONV", "POOL", "NORM", "DROPOUT")
    idle = {f"layer/{kind.lower()}": f"has no {kind}" for kind in kinds_of_groups if kind not in kinds}
    for kind in ("POOL", "NORM"):
        if kind in kinds and all("type" in dict(layer.args) for layer in pattern.layers if layer.kind == kind):
            idle[f"layer/{kind.lower()}"] = f"names the type of every {kind}"
    hidden = [layer for layer in pattern.layers[:-1] if layer.kind == "FC" and not layer.args]
    default = [layer for layer in pattern.layers if layer.kind == "CONV" and "filters" not in dict(layer.args)]
    if not hidden:
        idle["arch.hidden"] = "has no hidden FC without a width"
    if not default:
        idle |= dict.fromkeys(("arch.filters", "arch.growth", "arch.max_filters"), "has no CONV without filters")
    if not any(layer.kind == "ACT" and layer.activation is None for layer in pattern.layers):
        idle["activation"] = "names its activations" if "ACT" in kinds else "has no ACT"
    if not pattern.has_residual_norm:
        idle["arch.init_residual"] = "has no SUM of a SKIP and a path that ends in NORM"
    return idle
