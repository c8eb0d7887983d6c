"""What goes over the wire comes out as it went in."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from case_studies import studies
from convgrid.config import Settings, plan_from_config
from convgrid.runs.trial import Outcome
from convgrid.sweep.executors.interface import Died, Event
from convgrid.sweep.executors.wire import (
    Nonsense,
    PlanTexts,
    event_heard,
    event_said,
    job_heard,
    job_said,
    packed,
    unpacked,
)
from convgrid.sweep.interfaces import Trial
from convgrid.sweep.messages import Began, Ended, EpochEnded, Job, Noted

SettingsMaker = Callable[..., Settings]


def over_the_wire(job: Job) -> Job:
    return job_heard(unpacked(packed(job_said(job, PlanTexts()))))


@pytest.mark.parametrize(
    "overrides", [["arch.m=1", "fold=[1,5]"], *([f"arch={name}"] for name in sorted(studies())[:6])]
)
def test_a_job_arrives_as_it_was_sent(settings: SettingsMaker, overrides: list[str]) -> None:
    shape = [] if overrides[0] == "arch.m=1" else ["data=random", "data.shape=[3,224,224]"]
    made = settings(*overrides, *shape)
    odd = {"int": {1: 0.1, 2: (3, None)}, "float": 1e-310, "large": 2**70, "text": "\udcff'\n", "inf": -math.inf}
    made = Settings({**made.values, "odd": odd}, made.choices, made.folders)
    trial = Trial(tuple(overrides), made, plan_from_config(made), "key", "config", {"arch.n": "1"})
    job = Job(trial, "sweep", again=("failed",), accumulate=2, asks=True)
    heard = over_the_wire(job)
    assert heard == job
    assert repr(heard) == repr(job)  # 1 and 1.0, True and 1, lists and tuples are equal to ==, or look so


@pytest.mark.parametrize(
    "event",
    [
        Began("runs/1f0c5ab92d4e"),
        Noted("3 images are copies"),
        EpochEnded(3, {"val/loss": 0.1 + 0.2, "val/accuracy": -0.0, "train/loss": 5e-324}),
        Ended(
            Outcome("failed", "no such luck", {"best/val/mae": math.inf}, 2, 3, 1 / 3, "runs/x", diverged=True),
            "mistake",
        ),
        Ended(Outcome("finished"), earlier=True),
        Died(-9),
    ],
)
def test_an_event_arrives_as_it_was_sent(event: Event) -> None:
    assert event_heard(unpacked(packed(event_said(event)))) == event


def test_every_float_arrives_to_the_bit() -> None:
    bits = np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64)
    floats = {str(number): value for number, value in enumerate(bits.view(np.float64).tolist())}
    heard = unpacked(packed(floats))
    same = [np.float64(heard[name]).tobytes() == np.float64(value).tobytes() for name, value in floats.items()]
    nans = [math.isnan(value) and math.isnan(heard[name]) for name, value in floats.items()]
    assert all(bit or nan for bit, nan in zip(same, nans, strict=True))
    assert 0 < sum(nans) < 100  # a NaN has many bit patterns, and one name


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[1]", b"nothing", b"{" * 100_000, b'{"a":', b'"text"'])
def test_what_is_no_message_is_called_nonsense(text: bytes) -> None:
    with pytest.raises(Nonsense):
        unpacked(text)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"kind": "Job"},
        {"kind": "Began"},
        {"kind": "Died", "exitcode": 1, "more": 2},
        {"kind": "Ended", "outcome": 3},
        {"kind": "Ended", "outcome": {"status": "finished", "unknown": 1}},
        {"kind": ["Died"], "exitcode": 1},
    ],
)
def test_what_is_no_event_is_called_nonsense(said: dict[str, object]) -> None:
    with pytest.raises(Nonsense):
        event_heard(said)


def test_what_json_does_not_have_is_refused_not_changed(settings: SettingsMaker) -> None:
    with pytest.raises(TypeError, match="a message cannot hold a set"):
        packed({"some": {1, 2}})
    made = settings("arch.m=1")
    trial = Trial((), made, plan_from_config(made), "key", "config", {})
    assert over_the_wire(Job(replace(trial, varying={"a": "b"}), "s")).trial.varying == {"a": "b"}
