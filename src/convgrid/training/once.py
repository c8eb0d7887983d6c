"""Frozen layers run once: what they make of the images becomes the data that the layers behind them are trained on."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convgrid.config import Settings
from convgrid.features.extract import Advance, Watch, stored
from convgrid.network.cut import cut
from convgrid.network.plan import Plan
from convgrid.objective.predictor import Behind
from convgrid.training.learner import Learner, Seen
from convgrid.training.trunk import source_of

BAR = 16  # characters


def look_at_features(learner: Learner, planned: Plan, settings: Settings, device: str, watch: Watch) -> None:
    """Let a learner see features in place of images, where layers are frozen and images stay what they are.

    Checkpoints and predictions stay those of the whole network, from raw images on.

    Args:
        learner: Untrained, changed in place.
        planned: Its network.
        watch: Who is told how it goes.

    Raises:
        DataError: If a streamed image cannot be read.
    """
    if not planned.num_frozen or learner.recipe.augment is not None:
        return
    predictor, data = learner.predictor.to(device), learner.data
    parts = [part for part in (data.train, data.validation, data.test) if part is not None]
    features = stored(parts, source_of(predictor, planned, settings, device), watch)
    if features is None:
        return
    train, validation, *test = features
    _, rest = cut(planned, predictor.network)
    learner.look_at(Seen(Behind(rest, predictor.objective), train, validation, test[0] if test else None))
    loaded = tuple(name for name in learner.recipe.loaded if name not in planned.frozen)
    learner.recipe = dataclasses.replace(learner.recipe, loaded=loaded)


@contextmanager
def watching(console: Console) -> Iterator[Watch]:
    """Show a bar with images a second while features are computed, and a line when they are.

    Args:
        console: Where.
    """
    columns = (
        TextColumn("features"),
        BarColumn(bar_width=BAR),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} images  {task.fields[speed]:,.0f} a second "),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        yield Watch(lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True), _bar(shown))


def _bar(shown: Progress) -> Advance:
    tasks, began = [], time.monotonic()

    def advance(done: int, of: int) -> None:
        if not tasks:
            tasks.append(shown.add_task("", total=of, speed=0.0))
        shown.update(tasks[0], completed=done, speed=done / max(time.monotonic() - began, 1e-6))

    return advance
