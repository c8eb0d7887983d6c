"""Frozen layers run once: what they make of the images becomes the data that the layers behind them are trained on."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convgrid.config import Settings
from convgrid.data.stored import Stored
from convgrid.errors import DiskError
from convgrid.features.extract import Advance, FeatureSource, ProgressWatch, stored, stored_view
from convgrid.network.cut import cut
from convgrid.network.plan import Plan
from convgrid.objective.predictor import Behind
from convgrid.terminal import BAR_WIDTH
from convgrid.training.learner import Learner, Seen
from convgrid.training.trunk import source_of


def look_at_features(learner: Learner, planned: Plan, settings: Settings, device: str, watch: ProgressWatch) -> None:
    """Let a learner see features in place of images, where layers are frozen and images stay what they are.

    Checkpoints and predictions stay those of the whole network, from raw images on.

    Args:
        learner: Untrained, changed in place.
        planned: Its network.
        watch: Who is told how it goes.

    Raises:
        DataError: If a streamed image cannot be read.
    """
    views, augment = settings.data.views, learner.recipe.augment
    if not planned.num_frozen or (augment is not None and not views):
        return
    predictor, data = learner.predictor.to(device), learner.data
    source = source_of(predictor, planned, settings, device)
    others = [part for part in (data.validation, data.test) if part is not None]
    features = stored(others if augment else [data.train, *others], source, watch)
    train = features and (_views(learner, settings, source, watch) if augment else features.pop(0))
    if features is None or train is None:
        if augment:
            raise DiskError(f"data.views={views}: neither memory nor disk have room for the features. Make some.")
        return
    _, rest = cut(planned, predictor.network)
    validation, *test = features
    learner.look_at(Seen(Behind(rest, predictor.objective), train, validation, test[0] if test else None))
    loaded = tuple(name for name in learner.recipe.loaded if name not in planned.frozen)
    learner.recipe = dataclasses.replace(learner.recipe, loaded=loaded, augment=None)


def _views(learner: Learner, settings: Settings, source: FeatureSource, watch: ProgressWatch) -> list[Stored] | None:
    """The training part in each of its views; None where there is no room for one."""
    augment, known = learner.recipe.augment, settings.values["augment"]
    assert augment is not None
    found: list[Stored] = []
    for number in range(settings.data.views):
        view = stored_view(learner.data.train, number, augment, known, source, watch)
        if view is None:
            return None
        found.append(view)
    return found


@contextmanager
def watching(console: Console) -> Iterator[ProgressWatch]:
    """Show a bar with images a second while features are computed, and a line when they are.

    Args:
        console: Where.
    """
    columns = (
        TextColumn("features"),
        BarColumn(bar_width=BAR_WIDTH),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} images  {task.fields[speed]:,.0f} a second "),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        yield ProgressWatch(
            lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True), _bar(shown)
        )


def _bar(shown: Progress) -> Advance:
    task, began = shown.add_task("", total=0, speed=0.0, visible=False), [0.0]

    def advance(done: int, of: int) -> None:
        if done <= shown.tasks[task].completed or not shown.tasks[task].visible:  # the next ones, such as another view
            shown.reset(task, total=of, visible=True)
            began[0] = time.monotonic()
        speed = done / max(time.monotonic() - began[0], 1e-3)
        shown.update(task, completed=done, speed=speed)

    return advance
