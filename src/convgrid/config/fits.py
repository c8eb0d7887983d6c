"""Which targets and link the chosen loss goes with: the table's row, or what the file of the user's own loss says."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from convgrid.config.nearest import nearest_option
from convgrid.config.overrides import shown
from convgrid.config.settings import Settings, component
from convgrid.errors import ConfigError, refuse
from convgrid.objective.fit import FITS, NOUNS, Fit, Form, Task, fit, num_outputs

LOSSES = "convgrid.losses."
FORMS: Mapping[Task, tuple[Form, ...]] = {
    "classification": ("index", "one_hot", "signs", "zero_one"),
    "multilabel": ("signs", "zero_one"),
    "regression": ("numbers",),
}
OF_CLASSES = ("one_unit",)
OF_NUMBERS = ("scale", "in_units", "least_outputs", "domain")
WITHOUT_EFFECT: Mapping[Task, tuple[str, ...]] = {
    "classification": OF_NUMBERS,
    "multilabel": (*OF_CLASSES, *OF_NUMBERS),
    "regression": OF_CLASSES,
}
FIT_EXAMPLES: Mapping[Task, str] = {
    "classification": "{form: index, link: softmax, from_scores: true}",
    "multilabel": "{form: zero_one, link: sigmoid, from_scores: true}",
    "regression": "{form: numbers, link: identity}",
}


def fits(settings: Settings) -> Mapping[str, Mapping[Task, Fit]]:
    """The table of losses, with a row for the chosen one where that is the user's own.

    Returns:
        By loss and task.

    Raises:
        ConfigError: If the file of the loss does not say how it goes with targets, or wrongly.
    """
    name, chosen = settings.choices["loss"], component(settings, "loss")
    assert chosen is not None
    stated, ours = settings.values["loss"].get("fit"), chosen.target.removeprefix(LOSSES)
    if stated is not None:
        return {**FITS, name: _read(f"loss/{name}.yaml", stated)}
    if chosen.target.startswith(LOSSES) and ours in FITS:
        return {**FITS, name: FITS[ours]}
    task = settings.data.task
    task = task if task in NOUNS else "classification"
    raise ConfigError(
        f"loss/{name}.yaml does not say how the loss goes with targets (docs/components.md). "
        f"Add to it, for a {NOUNS[task]}:\nfit: {{{task}: {FIT_EXAMPLES[task]}}}"
    )


def fit_of(settings: Settings, task: Task, count: int | None = None) -> Fit:
    """Look up how the chosen loss goes with a task.

    Args:
        task: Of the data, which knows it better than the config of a user's own option.
        count: Classes, labels, or columns of numbers; None where only the data tells.

    Raises:
        ConfigError: If they do not go together; it names the losses that do.
    """
    return fit(settings.choices["loss"], task, count, fits(settings))


def fit_so_far(settings: Settings) -> Fit | None:
    """How the chosen loss goes with the task as far as the config tells.

    Returns:
        Its row; None where there is none, which `fit_of` tells.
    """
    try:
        return fits(settings)[settings.choices["loss"]].get(settings.data.task)
    except ConfigError:
        return None


def outputs(settings: Settings) -> int:
    """Count the units of the output layer as far as the config tells.

    Returns:
        What data and loss ask for together; 1 where only the data itself tells.
    """
    row, count = fit_so_far(settings), settings.data.num_classes
    if count is None:
        return 1
    return num_outputs(row, count) if row else count


def _read(file: str, stated: Any) -> dict[Task, Fit]:
    refuse([ConfigError(f"{file}: {wrong}") for wrong in _wrong(stated)])
    return {task: Fit(**row) for task, row in stated.items()}


def _wrong(stated: Any) -> Iterator[str]:
    """All that is wrong with a `fit`."""
    if not isinstance(stated, dict) or not stated:
        example = f"{{classification: {FIT_EXAMPLES['classification']}}}"
        yield f"fit={shown(stated)} must hold {' or '.join(FORMS)}, such as {example}."
        return
    for task, row in stated.items():
        if task not in FORMS:
            yield f"fit.{task} is not a task.{nearest_option(str(task), FORMS)} Use one of {', '.join(FORMS)}."
        elif not isinstance(row, dict):
            yield f"fit.{task}={shown(row)} must hold keys, such as {FIT_EXAMPLES[task]}."
        else:
            yield from _wrong_keys(task, row)


def _wrong_keys(task: Task, row: Mapping[str, Any]) -> Iterator[str]:
    kinds, place = get_type_hints(Fit), f"fit.{task}"
    known = [key for key in kinds if key not in WITHOUT_EFFECT[task]]
    for key, value in row.items():
        if key in WITHOUT_EFFECT[task]:
            yield f"{place}.{key} has no effect on a {NOUNS[task]}. Leave it out."
        elif key not in kinds:
            yield f"{place}.{key} is not a key of a fit.{nearest_option(str(key), known)} Keys: {', '.join(known)}."
        elif wrong := _wrong_value(value, FORMS[task] if key == "form" else get_args(kinds[key]), kinds[key]):
            yield f"{place}.{key}={shown(value)} must be {wrong}"
    needed = [field.name for field in dataclasses.fields(Fit) if field.default is dataclasses.MISSING]
    for key in (key for key in needed if key not in row):
        yield f"{place} has no {key}. Add it, as in {FIT_EXAMPLES[task]}."
    if row.get("one_unit") is True and (row.get("form") == "index" or row.get("link") == "softmax"):
        yield f"{place}.one_unit goes with form signs or zero_one, and link identity or sigmoid. Leave it out."


def _wrong_value(value: Any, options: Sequence[str], kind: Any) -> str | None:
    """What a value must be, if it is not."""
    if options:
        return None if value in options else f"one of {', '.join(options)}.{nearest_option(str(value), options)}"
    if kind is bool:
        return None if isinstance(value, bool) else "true or false."
    return None if type(value) is int and value >= 1 else "a whole number of at least 1."
