"""Messages as JSON: what is put in comes out the same, to the bit. Nothing that arrives is run."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from convgrid.component import Component
from convgrid.config import Settings
from convgrid.network.pattern import Layer
from convgrid.network.plan import Plan
from convgrid.network.planned import PlannedLayer
from convgrid.runs.trial import Outcome
from convgrid.sweep.executors.interface import Died, Event, Lost
from convgrid.sweep.interfaces import Trial
from convgrid.sweep.messages import Began, Ended, EpochEnded, Job, Noted

MAX_MESSAGE_BYTES = 2**24  # bytes of a message; an EfficientNet's job has 2**17
MOST_PLANS = 256  # that are kept as text
_TUPLE, _PAIRS = "\0tuple", "\0pairs"  # no key of a config is called so
_AS_IT_IS = {str, int, float, bool, type(None)}
_EVENTS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in (Began, Noted, EpochEnded, Ended, Died)}


class Nonsense(ValueError):
    """A message that means nothing."""


def packed(message: Mapping[str, Any]) -> bytes:
    """Write a message.

    Args:
        message: Of what JSON holds, tuples, and dictionaries with any keys.

    Raises:
        TypeError: If something else is in it.

    Example:
        >>> unpacked(packed({"metrics": {1: (0.1, float("inf"))}}))
        {'metrics': {1: (0.1, inf)}}
    """
    return json.dumps(_plain(message), separators=(",", ":")).encode()


def unpacked(text: bytes) -> dict[str, Any]:
    """Read a message.

    Raises:
        Nonsense: If it is none.
    """
    try:
        found = _restored(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise Nonsense(f"{type(error).__name__}: {error}") from None
    if not isinstance(found, dict):
        raise Nonsense(f"a {type(found).__name__}")
    return found


class PlanTexts:
    """Plans in JSON: a sweep's trials share a few of them, and each takes a millisecond to write."""

    def __init__(self) -> None:
        self._texts: dict[int, tuple[Plan, str]] = {}  # by identity: a plan has no hash

    def text(self, plan: Plan) -> str:
        """The plan's JSON."""
        if id(plan) not in self._texts:
            if len(self._texts) >= MOST_PLANS:
                self._texts.pop(next(iter(self._texts)))
            self._texts[id(plan)] = plan, json.dumps(_plain(_parts(plan)), separators=(",", ":"))
        return self._texts[id(plan)][1]


def _parts(plan: Plan) -> dict[str, Any]:
    layers = [{**vars(one), "component": vars(one.component), "written": vars(one.written)} for one in plan.layers]
    return {field.name: getattr(plan, field.name) for field in fields(plan)} | {"layers": layers}


def job_said(job: Job, plans: PlanTexts) -> dict[str, Any]:
    """What a node needs to know of a job."""
    trial, settings = job.trial, job.trial.settings
    return {
        "trial": {
            "overrides": trial.overrides,
            "settings": {
                "values": settings.values,
                "choices": settings.choices,
                "folders": [str(folder) for folder in settings.folders],
            },
            "plan": plans.text(trial.plan),
            "key": trial.key,
            "config_key": trial.config_key,
            "varying": trial.varying,
        },
        "sweep": job.sweep,
        "again": job.again,
        "accumulate": job.accumulate,
        "asks": job.asks,
    }


def job_heard(said: Mapping[str, Any]) -> Job:
    """The job that `job_said` told of."""
    known = dict(said["trial"])
    stated = known.pop("settings")
    settings = Settings(stated["values"], stated["choices"], tuple(map(Path, stated["folders"])))
    trial = Trial(settings=settings, plan=_plan_heard(known.pop("plan")), **known)
    return Job(trial, **{name: value for name, value in said.items() if name != "trial"})


def _plan_heard(text: str) -> Plan:
    said = _restored(json.loads(text))
    layers = (
        PlannedLayer(**{**one, "component": Component(**one["component"]), "written": Layer(**one["written"])})
        for one in said["layers"]
    )
    return Plan(**{**said, "layers": tuple(layers)})


def event_said(event: Event) -> dict[str, Any]:
    """What the scheduler needs to know of what a worker said."""
    assert not isinstance(event, Lost)  # which the scheduler finds out itself
    known = dict(vars(event))
    if isinstance(event, Ended):
        known["outcome"] = vars(event.outcome)
    return {"kind": type(event).__name__, **known}


def event_heard(said: Mapping[str, Any]) -> Event:
    """The event that `event_said` told of.

    Raises:
        Nonsense: If it is none.
    """
    known = dict(said)
    try:
        kind = _EVENTS[known.pop("kind")]
        if kind is Ended:
            known["outcome"] = Outcome(**known["outcome"])
        return kind(**known)
    except (KeyError, TypeError) as error:
        raise Nonsense(f"{type(error).__name__}: {error}") from None


def _plain(value: Any) -> Any:
    """In what JSON has; a float of NumPy's becomes Python's, of the same value. What is most frequent comes first."""
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        if all(type(key) is str and not key.startswith("\0") for key in value):
            return {key: _plain(item) for key, item in value.items()}
        return {_PAIRS: [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_plain(item) for item in value]}
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a message cannot hold a {type(value).__name__}")


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _TUPLE in value:
        return tuple(_restored(item) for item in value[_TUPLE])
    if _PAIRS in value:
        return {_restored(key): _restored(item) for key, item in value[_PAIRS]}
    return {key: _restored(item) for key, item in value.items()}
