"""What convgrid itself reads of a config: a class a group, a field a key of its YAMLs, so that a misspelt key is found.

A field without a default is in every option's file; a default stands in for a key that only some options have.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args

from convgrid.component import revealed
from convgrid.errors import ConfigError
from convgrid.objective.fit import Task

Section = TypeVar("Section")


@dataclass(frozen=True, slots=True)
class ArchSettings:
    """The pattern and what its names stand for."""

    pattern: str
    n: int
    m: int
    k: int
    filters: int
    growth: float
    max_filters: int
    hidden: int
    init: str
    init_residual: str = "one"
    head: str | None = None
    weights: str | None = None
    freeze: str = "none"
    loaded_lr: float = 1.0


@dataclass(frozen=True, slots=True)
class DataSettings:
    """What every data set says of itself; all other keys are its reader's."""

    shape: Sequence[int]
    num_classes: int | None  # None: only the data tells
    batch_size: int
    task: Task = "classification"
    limit_evaluation: int = 0  # images
    views: int = 0  # of each training image


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """How long and on what."""

    accelerator: Literal["auto", "cpu", "gpu"]
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    max_epochs: int
    patience: int
    gradient_clip_norm: float
    threads: int
    limit: int
    test_views: int
    overfit: bool
    detect_anomaly: bool


@dataclass(frozen=True, slots=True)
class ObjectiveSettings:
    """What is best, as stated; `convgrid.objective.glossary.objective_of` settles what "auto" is."""

    metric: str
    mode: Literal["auto", "max", "min"]


@dataclass(frozen=True, slots=True)
class RegularizationSettings:
    """Penalties on the kernels."""

    l1: float
    l2: float


@dataclass(frozen=True, slots=True)
class ImbalanceSettings:
    """What makes up for classes that have far more images than others."""

    class_weights: str | Sequence[float]
    sampling: Literal["shuffle", "balanced"]


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """Where runs go; `tracking=none` has no key at all."""

    uri: str | None = None  # None: nothing is tracked
    experiment: str = "convgrid"
    register: str | None = None
    system_metrics: bool = False


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """How points are made and trained; the sampler and the pruner are components."""

    zip: Sequence[Any]
    union: Sequence[Any]
    where: str | None
    seeds: int | Literal["auto"] | None
    folds: int | None
    max_trials: int | None
    workers: int | None
    trials_per_gpu: int
    trial_timeout: float | None
    retries: int
    max_consecutive_failures: int
    rerun: Literal["failed", "all"] | None
    keep_checkpoints: str
    conditions: Sequence[str] | None = None  # None: a grid, not a search
    objectives: Sequence[str] = ()
    storage: str | None = None  # None: a search that does not learn
    tolerance: float | None = None  # of a race, as max_seeds
    max_seeds: int = 20

    @property
    def is_race(self) -> bool:
        """Whether settings get seeds for as long as they are in question."""
        return self.seeds == "auto"

    @property
    def most_seeds(self) -> int | None:
        """Of a setting; None where its seed is as it is."""
        return self.max_seeds if self.seeds == "auto" else self.seeds


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """How nodes and the scheduler find each other; the launcher that brings them is a component."""

    host: str | None
    port: int
    lost_after: float
    patience: float
    nodes: int = 1


def read_section(kind: type[Section], group: str, values: Mapping[str, Any], choices: Mapping[str, str]) -> Section:
    """Take out of a config what convgrid reads of one group.

    Args:
        kind: One of the classes above.
        values: The resolved config, nested.

    Raises:
        ConfigError: If the file of the chosen option lacks a key; it lists all that it lacks.
    """
    node: Mapping[str, Any] = values
    for part in group.split("/"):
        node = node.get(part) or {}
    stated = group.replace("/", ".")
    missing = [
        f"{stated}.{key}"
        for key, takes_null in _required(kind)
        if key not in node or (node[key] is None and not takes_null)
    ]
    if missing:
        them = "it" if len(missing) == 1 else "them"
        raise ConfigError(
            f"{group}={choices[group]} has no {', '.join(missing)}. Add {them} to the file of that option."
        )
    return kind(**{key: revealed(node[key], f"{stated}.{key}") for key in _names(kind) if key in node})


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@cache
def _required(kind: Any) -> tuple[tuple[str, bool], ...]:
    """The keys that every option has, and whether each may be null."""
    needed = [field for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]
    return tuple((field.name, type(None) in get_args(field.type)) for field in needed)
