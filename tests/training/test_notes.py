"""What a training says before it begins; a sweep's worker says it to the scheduler."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from conftest import compose_settings
from convgrid.config import Settings
from convgrid.data import ImageData, Split
from convgrid.sweep import worker
from convgrid.sweep.interfaces import Trial
from convgrid.sweep.messages import Began, Ended, Job, Noted
from convgrid.training.notes import notes_on_training
from convgrid.training.setup import prepare

SMALL = ("arch.filters=2", "arch.hidden=4", "arch.m=1", "tracking=none", "trainer=cpu")


def part(targets: torch.Tensor) -> Split:
    return Split(torch.zeros(len(targets), 1, 8, 8, dtype=torch.uint8), targets)


def told(settings: Settings, targets: torch.Tensor, names: tuple[str, ...]) -> tuple[str, ...]:
    data = ImageData(part(targets), part(targets), None, names, "d1g3")
    return notes_on_training(settings, *prepare(settings, data))


def classes(*overrides: str) -> Settings:
    return compose_settings(*SMALL, "data.num_classes=2", *overrides)


RARE = torch.tensor([0] * 19 + [1])


def test_an_objective_that_a_constant_answer_satisfies_is_told() -> None:
    (note,) = told(classes(), RARE, ("well", "ill"))
    assert note == (
        "val/accuracy decides what is best, and always giving the most frequent answer reaches 0.95 of 1 there. "
        "objective.metric=val/f1 counts rare classes as much as others."
    )
    assert told(classes("objective.metric=val/f1"), RARE, ("well", "ill")) == ()
    assert told(classes(), torch.tensor([0] * 11 + [1] * 9), ("well", "ill")) == ()


def test_of_labels_the_most_frequent_answer_is_each_labels() -> None:
    settings = compose_settings(*SMALL, "data.num_classes=2", "+data.task=multilabel", "loss=binary_crossentropy")
    labels = torch.zeros(20, 2, dtype=torch.uint8)
    labels[0, 0], labels[1:, 1] = 1, 1  # 0.95 of the images have not the first, and have the second
    (note,) = told(settings, labels, ("a", "b"))
    assert "reaches 0.95 of 1" in note
    labels[:10] = 1
    assert told(settings, labels, ("a", "b")) == ()


def with_own_convolution(*overrides: str) -> Settings:
    """torch.nn.Conv2d takes its padding otherwise, and so it stands in as a norm of one channel a filter."""
    settings = classes(*overrides)
    values = {**settings.values, "layer": {**settings.values["layer"], "norm": {"_target_": "test_notes.own"}}}
    return Settings(values, {**settings.choices, "layer/norm": "own"}, settings.folders)


def own(shape: tuple[int, ...]) -> torch.nn.Module:
    return torch.nn.Conv2d(shape[0], shape[0], 1) if len(shape) == 3 else torch.nn.Identity()


def test_layers_that_keep_their_weights_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    assert told(with_own_convolution(), torch.tensor([0, 1]), ("a", "b")) == (
        "arch.init=glorot_uniform is for the layers that convgrid makes. Your own keep the weights that they come "
        "with: norm1. One whose attribute takes_init is true starts as arch.init says.",
    )
    assert told(with_own_convolution("arch.init=torch"), torch.tensor([0, 1]), ("a", "b")) == ()


def test_a_worker_sends_what_there_is_to_say(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "notes_on", lambda _: ("copies",))
    monkeypatch.setattr(worker, "notes_on_training", lambda *_: ("weights",))
    settings = compose_settings(*SMALL, "data.limit=30", "trainer.max_epochs=1")
    trial = Trial((), settings, cast(Any, None), "t", "t", {})
    sent: list[object] = []
    interrupts = SimpleNamespace(allowed=nullcontext, are_behind=lambda _: False)
    connection = SimpleNamespace(send=sent.append)
    ended = worker._run(Job(trial, "s"), cast(Any, connection), worker._LastData(), cast(Any, interrupts))
    assert isinstance(ended, Ended)
    assert ended.outcome.status == "finished"
    assert isinstance(sent[0], Began)
    assert [said.note for said in sent if isinstance(said, Noted)] == ["copies", "weights"]
