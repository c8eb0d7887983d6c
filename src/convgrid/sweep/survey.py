"""All that is known of a sweep's points before anything trains."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from hydra.core.override_parser.types import Override

from convgrid.config import (
    Composition,
    Settings,
    check_values,
    component,
    counted,
    digest_of,
    idle_keys,
    is_idle,
    no_effect,
    outputs,
    plan_from_config,
)
from convgrid.config.values import OF_WEIGHTS
from convgrid.errors import ConfigError, ConvgridError, refuse
from convgrid.network.memory import training_bytes
from convgrid.network.plan import Plan
from convgrid.runs.source import check_source
from convgrid.runs.source import found as found_weights
from convgrid.runs.trial import read_records
from convgrid.sweep.grid import Point
from convgrid.sweep.interfaces import Survey, Trial
from convgrid.sweep.where import Where

# What the plan says already: two configs that differ here and have one plan train the same network.
CONSUMED = ("arch", "layer", "activation")
NOT_CONSUMED = ("arch.init", "arch.init_residual", "arch.weights", "arch.freeze", "arch.loaded_lr")
WITH_RESULT = ("finished", "pruned")
QUANTITIES: Mapping[str, Callable[[Plan, Settings], int]] = {
    "parameters": lambda plan, _: plan.parameters,
    "params": lambda plan, _: plan.parameters,
    "trainable": lambda plan, _: plan.trainable,
    "multiply_adds": lambda plan, _: plan.multiply_adds,
    "activation_bytes": lambda plan, _: plan.activation_bytes,
    "memory": lambda plan, settings: _memory(plan, settings),
    "layers": lambda plan, _: len(plan.layers),
    "receptive_field": lambda plan, _: max(
        (max(item.receptive_field) for item in plan.layers if len(item.output_shape) > 1), default=1
    ),
}


def _memory(plan: Plan, settings: Settings) -> int:
    optimizer = component(settings, "optimizer")
    assert optimizer is not None
    return training_bytes(plan, settings.data.batch_size, optimizer)


class Rejected(ConfigError):
    """A point that `sweep.where` leaves out."""


@dataclass(frozen=True)
class FeasiblePoint:
    """A point that can be trained.

    Args:
        trial: All of it but what the other points tell.
        dropped: Keys of its overrides that its options do not have.
        idle: Keys of its overrides that its pattern never asks for.
    """

    trial: Trial
    dropped: tuple[str, ...]
    idle: tuple[str, ...]


class Surveyor:
    """Looks at one point after another; what networks have in common is planned once.

    Args:
        composition: Makes settings of points.
        where: Which points to keep; None keeps all.
    """

    def __init__(self, composition: Composition, where: Where | None = None) -> None:
        self._composition, self._where = composition, where
        self._plans: dict[str, Plan | ConvgridError] = {}
        self._digests: dict[int, str] = {}
        self._idle: dict[tuple[str, str | None, bool], Mapping[str, str]] = {}

    def look(self, point: Sequence[Override]) -> FeasiblePoint:
        """Find out what a point trains.

        Args:
            point: Overrides with one value each.

        Returns:
            The trial, with all its overrides as those that vary.

        Raises:
            Rejected: If `sweep.where` leaves it out.
            ConvgridError: If it is infeasible.
        """
        settings, kept = self._composition.settings(point)
        if self._where is not None and not self._where.holds(partial(self._named, settings)):
            raise Rejected(f"sweep.where={self._where.text}")
        plan = check_values(settings, {}, self._plan)
        settings = found_weights(settings)
        check_source(settings, plan)
        texts = {item.key_or_group: str(item.input_line) for item in kept}
        told = counted(settings)
        idle = self._idle_of(settings)
        rest = {
            key: value
            for key, value in told.items()
            if (key in NOT_CONSUMED or key.split(".")[0] not in CONSUMED) and (key not in OF_WEIGHTS or key not in idle)
        }
        key = digest_of(rest | {"plan": self._digest(plan), "loss": settings.choices["loss"]})
        return FeasiblePoint(
            Trial(tuple(texts.values()), settings, plan, key, digest_of(told), texts),
            tuple(dict.fromkeys(item.key_or_group for item in point if item.key_or_group not in texts)),
            tuple(name for name in texts if is_idle(name, idle)),
        )

    def _plan(self, settings: Settings) -> Plan:
        """Plan each network once, also one that is infeasible."""
        values, choices = settings.values, settings.choices
        network = [values["arch"], values["layer"], values["activation"], values["data"]["shape"], outputs(settings)]
        names = [choices[group] for group in choices if group.split("/")[0] in CONSUMED]
        key = json.dumps([network, names], sort_keys=True)
        if key not in self._plans:
            try:
                self._plans[key] = plan_from_config(settings)
            except ConvgridError as error:
                self._plans[key] = error
        found = self._plans[key]
        if isinstance(found, ConvgridError):
            raise found
        return found

    def _digest(self, plan: Plan) -> str:
        """Hash what is built, not how it was written."""
        if id(plan) not in self._digests:  # plans are kept in _plans, so none takes another's id
            layers = [
                [item.name, item.component.target, item.component.options, item.padding, item.output_shape]
                for item in plan.layers
            ]
            if not plan.is_chain:
                layers.append([[item.inputs, item.ends_residual] for item in plan.layers])
            text = json.dumps([plan.input_shape, layers], sort_keys=True)
            self._digests[id(plan)] = hashlib.sha256(text.encode()).hexdigest()
        return self._digests[id(plan)]

    def _idle_of(self, settings: Settings) -> Mapping[str, str]:
        arch = settings.arch
        key = (arch.pattern, arch.head, arch.weights is None)
        if key not in self._idle:
            self._idle[key] = idle_keys(settings)
        return self._idle[key]

    def _named(self, settings: Settings, name: str) -> Any:
        """What a name of `sweep.where` stands for."""
        if name in QUANTITIES:
            return QUANTITIES[name](self._plan(settings), settings)
        found: Any = settings.choices.get(name, settings.choices.get(name.replace(".", "/")))
        if found is None:
            found = settings.values
            for part in name.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
        return found


def survey(
    points: Iterable[Point], surveyor: Surveyor, *, num_points: int, typed: Mapping[str, str], max_trials: int | None
) -> Survey:
    """Look at every point, and sort what is found.

    Args:
        points: Overrides with one value each, in the order in which they are to be trained.
        num_points: How many there are.
        typed: By key, what the user typed.
        max_trials: Only the first so many trials; None keeps all.

    Returns:
        The survey; nothing of it is finished yet.

    Raises:
        ConvgridError: With all that is wrong, if no point can be trained or something typed has no effect in any.
    """
    seen: dict[str, FeasiblePoint] = {}
    effects = _Effects()
    repeats: dict[str, list[tuple[str, ...]]] = {}
    skipped: dict[str, list[tuple[str, ...]]] = {}
    errors: dict[str, ConvgridError] = {}
    for point in points:
        try:
            found = surveyor.look(point)
        except ConvgridError as error:
            errors[str(error)] = error
            skipped.setdefault(str(error), []).append(tuple(str(override.input_line) for override in point))
            continue
        if found.trial.key in seen:
            repeats.setdefault(found.trial.key, []).append(found.trial.overrides)
        elif len(seen) == max_trials:
            break
        else:
            seen[found.trial.key] = found
        effects.add(found)
    if not seen:
        _refuse_all(list(errors.values()), num_points)
    refuse(effects.mistakes(typed))
    return Survey(
        num_points,
        _varying([found.trial for found in seen.values()]),
        {key: tuple(texts) for key, texts in repeats.items()},
        {reason: tuple(texts) for reason, texts in skipped.items()},
        notes=tuple(effects.notes()),
    )


def finished(trials: Iterable[Trial]) -> frozenset[str]:
    """Find the trials that an earlier run has finished, by what the folders of runs say.

    Returns:
        Their keys.
    """
    done: set[str | None] = set()
    for _, record in read_records():
        if record.get("status") in WITH_RESULT:
            done.add(record.get("config_key"))
    return frozenset(trial.key for trial in trials if trial.config_key in done)


class _Effects:
    """In how many points each typed key is idle or missing, and in how many it does something."""

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()
        self.idle: dict[str, list[Settings]] = {}
        self.dropped: Counter[str] = Counter()

    def add(self, found: FeasiblePoint) -> None:
        for name in found.trial.varying:
            if name in found.idle:
                self.idle.setdefault(name, []).append(found.trial.settings)
            else:
                self.used[name] += 1
        self.dropped.update(found.dropped)

    def mistakes(self, typed: Mapping[str, str]) -> list[ConvgridError]:
        everywhere = [name for name in self.idle if not self.used[name] and name in typed]
        return [no_effect(self.idle[name][0], name, typed[name]) for name in everywhere]

    def notes(self) -> Iterator[str]:
        for name, count in self.dropped.items():
            yield f"{name} is left out of {_points(count)}, whose options do not have that key."
        for name, settings in self.idle.items():
            if self.used[name]:
                why = "without weights to load" if name in OF_WEIGHTS else "whose pattern does not ask for it"
                yield f"{name} has no effect in {_points(len(settings))}, {why}."


def _refuse_all(errors: Sequence[ConvgridError], num_points: int) -> NoReturn:
    rejected = [error for error in errors if isinstance(error, Rejected)]
    refuse([error for error in errors if not isinstance(error, Rejected)])
    raise ConfigError(f"{rejected[0]} leaves none of {_points(num_points)}. Ask for less.")


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count:,} points"


def _varying(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Keep of each trial's overrides those that differ between the trials."""
    texts: dict[str, set[str]] = {}
    count: Counter[str] = Counter()
    for trial in trials:
        for name, text in trial.varying.items():
            texts.setdefault(name, set()).add(text)
            count[name] += 1
    names = {name for name, found in texts.items() if len(found) > 1 or count[name] < len(trials)}
    return tuple(replace(trial, varying=_values(trial.varying, names)) for trial in trials)


def _values(texts: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: text.partition("=")[2] for name, text in texts.items() if name in names}
