"""What a trial's folder says of its run: what it is made of, what it came to, and how it went where it went wrong."""

import csv
import dataclasses
import io
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from convgrid.config import Settings, component, config_key, flatten, weights_digest
from convgrid.data import ImageData, Profile
from convgrid.network.plan import Plan
from convgrid.runs.best import REPETITIONS
from convgrid.runs.files import replacing, write
from convgrid.runs.trial import CONFUSION, DATA, ENVIRONMENT, PLAN, WORST, Outcome, TrialFolder, best_epoch, now
from convgrid.system.environment import environment
from convgrid.system.text import cell
from convgrid.training.learner import Learner
from convgrid.training.own_code import own_code
from convgrid.training.recipe import Recipe
from convgrid.training.worst import draw_worst

OWN_DATA = {  # what reads the user's own data, and the key that says where it is
    "convgrid.data.arrays": "path",
    "convgrid.data.image_folder": "root",
    "convgrid.data.table_images": "table",
}


def begin(
    folder: TrialFolder,
    settings: Settings,
    learner: Learner,
    planned: Plan,
    device: str,
    *,
    command: str = "",
    varying: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    **known: Any,
) -> None:
    """Write into a trial's folder that it is under way, and all that explains it.

    Args:
        learner: What is trained, and on what.
        device: "cpu" or "cuda".
        command: What was typed; "" where nothing was.
        varying: What differs between the trials of its sweep, by key, in the order in which the run's name says it.
        known: What else is known of the run.
    """
    code = own_code(settings, planned)
    here = {**environment(), **({"command": command} if command else {})}
    write(folder.path / DATA, json.dumps(profile(settings, learner.data).dump(), indent=2))
    write(folder.path / PLAN, json.dumps(dataclasses.asdict(planned), indent=2))
    write(folder.path / ENVIRONMENT, json.dumps(here, indent=2))
    folder.update(
        status="running",
        reason="",
        started=folder.record.get("started", now()),
        name=run_name(settings, varying or {}),
        params={key: str(value) for key, value in parameters(settings, planned).items()},
        tags={
            "seed": str(settings.seed),
            "host": platform.node(),
            "device": torch.cuda.get_device_name() if device == "cuda" else device,
            **here,
            **{f"code.{module}": digest for module, digest in code.items()},
            **(tags or {}),
        },
        objective=[learner.recipe.metric, learner.recipe.mode],
        config_key=config_key(settings),
        code=code,
        **weights_of(settings),
        **known,
    )


def weights_of(settings: Settings) -> dict[str, str]:
    """The digest of the weights that a run starts with, to go on with no others; nothing where there are none."""
    digest = weights_digest(settings)
    return {} if digest is None else {"weights": digest}


def run_name(settings: Settings, varying: Mapping[str, str]) -> str:
    """Say in a few words what is special: "n2 m3 k1 adam", "linear adam"; in a sweep, "seed 3 lr=0.01 n2 m3 adam".

    The seed and the fold, which tell the runs of a setting apart, come first: lists of runs cut long names.

    Args:
        varying: What differs between the trials of a sweep, by key, in the order in which the name says it.

    Returns:
        The run's name.
    """
    repetitions = [f"{key} {_bare(varying[key])}" for key in REPETITIONS if key in varying]
    keys = [key for key in varying if key not in (*REPETITIONS, "experiments")]
    words = [_word(settings, key, varying[key], keys) for key in keys]
    return " ".join([*repetitions, *(words or [_plain_name(settings)])])


def _word(settings: Settings, key: str, text: str, keys: Sequence[str]) -> str:
    if key in ("arch.n", "arch.m", "arch.k"):
        return f"{key[-1]}{text}"
    return text if key in settings.choices else f"{_short(key, keys)}={text}"


def _plain_name(settings: Settings) -> str:
    arch = settings.choices["arch"]
    counts = " ".join(f"{count}{getattr(settings.arch, count)}" for count in "nmk")
    return f"{counts if arch == 'convnet' else arch} {settings.choices['optimizer']}"


def _short(key: str, keys: Sequence[str]) -> str:
    """The last word of a key, or all of it where another one ends alike."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in keys) == 1 else key


def _bare(text: str) -> str:
    """A fold is "[1,5]"."""
    return text.strip("[]").replace(",", "/")


def parameters(settings: Settings, planned: Plan) -> dict[str, Any]:
    """Flatten the settings to what runs are compared by.

    Returns:
        By dotted key; a group's name holds its option.
    """
    values = {key: value for key, value in flatten(settings.values) if not key.endswith("_target_")}
    sizes = {
        "plan.parameters": planned.parameters,
        "plan.trainable": planned.trainable,
        "plan.multiply_adds": planned.multiply_adds,
    }
    return values | dict(settings.choices) | sizes  # an option without keys has {} for values


def profile(settings: Settings, data: ImageData) -> Profile:
    """Look at a trial's data.

    Args:
        data: What is trained on.

    Returns:
        What is known of it without its images.
    """
    reader, stated = component(settings, "data"), settings.values["data"]  # of which the reader has keys of its own
    assert reader is not None
    columns = stated.get("targets")  # as a table has them; in the user's own option, who knows
    named = columns if isinstance(columns, list) and len(columns) == data.num_classes else None
    place = stated[OWN_DATA[reader.target]] if reader.target in OWN_DATA else ""
    from_files = reader.target in OWN_DATA and reader.target != "convgrid.data.arrays"
    return Profile.of(data, f"{reader.name} {Path(place).name}".rstrip(), named, from_files=from_files)


def write_predictions(folder: TrialFolder, learner: Learner) -> None:
    """Write what the trained network takes for what: confusion matrices, and a sheet of its worst test images.

    Args:
        learner: What was trained; labels and numbers have no confusion matrix.
    """
    names = learner.data.class_names
    for part, counts in learner.evaluation.confusions.items():
        made = io.StringIO(newline="")
        table = csv.writer(made)
        table.writerow(["class / predicted", *map(cell, names)])
        table.writerows([cell(name), *row] for name, row in zip(names, counts.tolist(), strict=True))
        write(folder.path / CONFUSION[part], made.getvalue())
    (folder.path / WORST).unlink(missing_ok=True)
    worst = learner.evaluation.worst
    if worst is not None and learner.data.test is not None and len(worst.places):
        with replacing(folder.path / WORST) as partial:
            draw_worst(worst, learner.data.test, names).save(partial, compress_level=1)


def result(
    history: Sequence[Mapping[str, float]], recipe: Recipe, tested: Mapping[str, float]
) -> tuple[dict[str, float], int]:
    """What a training came to: its metrics at its best epoch, and those of the test.

    Args:
        history: One mapping of metrics an epoch, at least one.
        recipe: Says what is best.

    Returns:
        Metrics by name, and the best epoch, counted from 1.

    Example:
        >>> recipe = Recipe(torch.optim.SGD, lambda progress: 1.0, 32, 1, 0, "val/accuracy", "max")
        >>> result([{"val/accuracy": 0.5}], recipe, {"test/accuracy": 0.4})
        ({'best/val/accuracy': 0.5, 'test/accuracy': 0.4}, 1)
    """
    best = best_epoch(history, recipe.metric, recipe.mode)
    return {**{f"best/{name}": value for name, value in history[best].items()}, **tested}, best + 1


def ended(
    ending: Outcome, folder: TrialFolder, learner: Learner | None, tested: Mapping[str, float], seconds: float
) -> Outcome:
    """Complete an outcome with what the training came to.

    Args:
        folder: The trial's; knows how long earlier attempts took.
        learner: What was trained; None where it was not put together.
        seconds: That this attempt took.

    Returns:
        All of the outcome.
    """
    history = learner.history if learner else []
    metrics, best = result(history, learner.recipe, tested) if learner and history else ({}, 0)
    return dataclasses.replace(
        ending,
        metrics=metrics,
        best_epoch=best,
        epochs=len(history),
        seconds=folder.record.get("seconds", 0.0) + seconds,
        folder=str(folder.path),
    )
