"""One trial, read top to bottom: settings -> data -> plan -> build -> train -> track."""

import dataclasses
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console

from convgrid.config import Settings, architecture, component, fits, identity
from convgrid.data import ImageData, check_data, refold, statistics
from convgrid.errors import ConfigError, DataError, Interrupted, cause_of, gather, reason_of, refuse
from convgrid.network.build import build, measure
from convgrid.network.plan import Plan, plan
from convgrid.objective.fit import Fit, check_domain, fit, num_outputs
from convgrid.objective.glossary import objective_of
from convgrid.objective.imbalance import check_imbalance, fit_class_weights
from convgrid.objective.metrics import measurable
from convgrid.objective.objective import Objective
from convgrid.objective.predictor import Predictor
from convgrid.optimizers import ELEMENTWISE
from convgrid.runs.trial import LOG, EpochLog, Outcome, TrialFolder, create, run_id_of
from convgrid.scales import Scale, check_scaled
from convgrid.schedules import Progress
from convgrid.system.memory import keep_freed_memory
from convgrid.system.seeding import derive
from convgrid.terminal import result_rows, show_result
from convgrid.training.learner import Learner, Recipe, train
from convgrid.training.progress import Bar, Lines
from convgrid.training.recording import begin, ended, write_predictions

Follow = Callable[[Path], AbstractContextManager[Callable[[], None]]]


def untracked(_: Path) -> AbstractContextManager[Callable[[], None]]:
    """Follow a folder that stays where it is."""
    return nullcontext(lambda: None)


def run(settings: Settings, console: Console, folder: TrialFolder | None = None, follow: Follow = untracked) -> None:
    """Train what the settings describe, and print what came of it.

    Args:
        console: Where progress and result are printed.
        folder: Of a run to go on with; None makes a new one.
        follow: Has the run's folder brought to the tracking store, until it is left; gives what to call with news.

    Raises:
        ConvgridError: If the data or a value cannot be used, before a new run exists; or if the training diverged.
        Interrupted: If Ctrl-C or SIGTERM ended the training.
    """
    try_components(settings)
    torch.set_num_threads(settings.values["trainer"]["threads"])
    keep_freed_memory()
    device = find_device(settings.values["trainer"]["accelerator"])
    data = read(settings)
    learner, planned = prepare(settings, data)
    folder = folder or create(identity(settings, device=device, digest=data.digest), settings)
    begin(folder, settings, learner, planned, device)
    try:
        with follow(folder.path) as tell:
            _train(learner, folder, device, console, tell)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        name = run_id_of(folder.path) or folder.path
        raise Interrupted(
            f"Stopped after epoch {len(learner.history)}. To go on: python run.py resume={name}"
        ) from None
    show_result(result_rows(folder.path, settings.values["tracking"].get("uri")), console)


def _train(learner: Learner, folder: TrialFolder, device: str, console: Console, tell: Callable[[], None]) -> None:
    """Train, and write down how it ended, whatever happens."""
    shown = [Lines(console), *([Bar(console)] if console.is_terminal else [])]
    started, tested, ending = time.monotonic(), {}, Outcome("finished")
    log = EpochLog(folder.path)

    def send(history: Sequence[Mapping[str, float]]) -> None:
        log.append(history)
        tell()

    tell()
    try:
        tested = train(learner, folder.path, device=device, callbacks=shown, send=send)
        log.append(learner.history)  # the last epoch's, where an earlier process died behind its checkpoint
        write_predictions(folder, learner)
    except (KeyboardInterrupt, SystemExit):
        ending = Outcome("killed", "interrupted")
        raise
    except BaseException as error:
        ending = Outcome("killed" if cause_of(error) == "disk" else "failed", reason_of(error))
        with suppress(OSError):
            (folder.path / LOG).write_text(traceback.format_exc(), encoding="utf-8")
        raise
    finally:
        with suppress(OSError):  # a full disk, of which the error above tells
            folder.end(ended(ending, folder, learner, tested, time.monotonic() - started))
        tell()


def find_device(accelerator: str) -> str:
    """Settle what to train on.

    Args:
        accelerator: The config's `trainer.accelerator`.

    Returns:
        "cuda" or "cpu".

    Raises:
        ConfigError: If a GPU is asked for and there is none.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=gpu, but torch finds no GPU. Use trainer=auto or trainer=cpu.")
    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"


def read(settings: Settings) -> ImageData:
    """Read the data, or the little of it that `trainer=debug` and `trainer=overfit` use.

    Returns:
        The data set.

    Raises:
        DataError: If files are missing or corrupt.
    """
    reader = component(settings, "data")
    assert reader is not None
    stated, trainer = settings.values["data"], settings.values["trainer"]
    limit = stated["batch_size"] if trainer["overfit"] else trainer["limit"]
    if limit and "limit" in reader.options:
        limited = {"limit": min(limit, reader.options["limit"] or limit)}
        reader = dataclasses.replace(reader, options={**reader.options, **limited})
    data: ImageData = reader.bind()()
    check_data(data, stated["shape"], stated["num_classes"], f"data={reader.name}")
    if settings.values.get("fold") is not None:  # a run stored before there were folds has no such key
        drawn = {key: reader.options.get(key, 0) for key in ("split_seed", "limit")}
        data = refold(data, settings.values["fold"], **drawn)
    if limit:
        test = data.test and data.test.head(limit)
        heads = {"train": data.train.head(limit), "validation": data.validation.head(limit), "test": test}
        data = dataclasses.replace(data, **heads)
    return dataclasses.replace(data, validation=data.train, test=None) if trainer["overfit"] else data


def outputs(settings: Settings, data: ImageData) -> int:
    """Count the units of the output layer.

    Returns:
        What data and loss ask for together.

    Raises:
        ConfigError: If they do not go together.
    """
    return num_outputs(_fit(settings, data), data.num_classes)


def prepare(settings: Settings, data: ImageData) -> tuple[Learner, Plan]:
    """Plan the network for the data, and put together what trains it.

    Args:
        data: What is trained on.

    Returns:
        A learner, untrained, and its network's plan.

    Raises:
        ConvgridError: If the network, loss, targets and data do not go together.
    """
    shape = settings.values["data"]["shape"]
    planned = plan(architecture(settings), shape, outputs(settings, data), measure=measure)
    return make_learner(settings, data, planned), planned


def make_learner(settings: Settings, data: ImageData, planned: Plan) -> Learner:
    """Put together what the settings name.

    Args:
        data: What is trained on.

    Returns:
        A learner, untrained.

    Raises:
        ConvgridError: If loss, targets and data do not go together.
    """
    values, seed = settings.values, settings.values["seed"]
    optimizer, augment = component(settings, "optimizer"), component(settings, "augment")
    assert optimizer is not None
    best, mode = values["objective"]["metric"], values["objective"]["mode"]
    metric, mode = objective_of(data.task, best, mode, _fit(settings, data), data.num_classes)
    _check_objective(metric, _fit(settings, data), data)
    views = values["trainer"]["test_views"]
    if views > 1 and data.test is None:
        raise ConfigError(f"trainer.test_views={views} has no effect: there is no test part. Leave it out.")
    recipe = Recipe(
        make_optimizer=optimizer.bind(),
        schedule=_made(settings, "schedule"),
        batch_size=values["data"]["batch_size"],
        max_epochs=values["trainer"]["max_epochs"],
        seed=seed,
        metric=metric,
        mode=mode,
        patience=values["trainer"]["patience"],
        gradient_clip_norm=values["trainer"]["gradient_clip_norm"],
        l1=values["regularization"]["l1"],
        l2=values["regularization"]["l2"],
        augment=augment.bind()() if augment else None,
        balanced=values["imbalance"]["sampling"] == "balanced",
        test_views=views,
        precision=values["trainer"]["precision"],
        detect_anomaly=values["trainer"]["detect_anomaly"],
        is_flat=optimizer.target in ELEMENTWISE and not any(layer.is_own for layer in planned.layers),
    )
    network = build(planned, init=values["arch"]["init"], seed=derive(seed, "init"))
    objective = _objective(settings, data)
    mean, std = statistics(data.train)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (a keyword that the stubs lack)
    return Learner(Predictor(network, objective, mean, std, planned.input_shape[1:]), data, recipe)


def try_components(settings: Settings) -> None:
    """Use every component once on next to nothing, so that a value out of its range is told before data is read.

    Raises:
        ConvgridError: With all that the components refuse.
    """
    uses: list[Callable[[], object]] = [
        lambda: find_device(settings.values["trainer"]["accelerator"]),
        lambda: _made(settings, "optimizer")([{"params": [torch.zeros(1)], "kernels": True}]),
        lambda: _made(settings, "schedule")(Progress(0, 1, settings.values["trainer"]["max_epochs"], ())),
        lambda: _made(settings, "activation")(torch.zeros(1, 1)),
        lambda: _try_loss(settings),
    ]
    if component(settings, "augment"):
        uses.append(lambda: _try_augment(settings))
    if component(settings, "layer/dropout"):
        uses.append(lambda: _try_dropout(settings))
    refuse(gather(uses))


def _made(settings: Settings, group: str) -> Callable[..., Any]:
    found = component(settings, group)
    assert found is not None
    return found.bind()


def _objective(settings: Settings, data: ImageData) -> Objective:
    """Fitted on the training part; every part's targets must be such that its loss is a number."""
    loss, target, task, row = settings.choices["loss"], component(settings, "target"), data.task, _fit(settings, data)
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    targets = {name: part.targets for name, part in parts.items() if part is not None}
    for name in targets:
        check_domain(loss, row, targets[name].min().item(), name)
    made = Objective(
        _made(settings, "loss"),
        task,
        row,
        data.train.targets,
        target.bind() if target else None,
        _class_weights(settings, data),
    )
    for name in targets if row.form == "numbers" else ():
        check_scaled(cast(Scale, made.scale), targets[name], settings.choices["target"], name)
    return made


def _class_weights(settings: Settings, data: ImageData) -> list[float] | None:
    chosen = settings.values["imbalance"]
    check_imbalance(**chosen, task=data.task, count=data.num_classes)
    if chosen["class_weights"] == "none":
        return None
    counts = data.train.targets.bincount(minlength=data.num_classes)
    return fit_class_weights(chosen["class_weights"], counts.tolist())


def _try_augment(settings: Settings) -> None:
    made, name, data = _made(settings, "augment")(), settings.choices["augment"], settings.values["data"]
    images = torch.zeros(2, *data["shape"], dtype=torch.uint8)
    classes = data.get("task", "classification") == "classification"
    changed, _ = made(images, torch.zeros(2, dtype=torch.int64) if classes else torch.zeros(2, 1), torch.Generator())
    if changed.shape != images.shape or changed.dtype not in (torch.uint8, torch.float32):
        kind = f"{changed.dtype} of shape {list(changed.shape)}".removeprefix("torch.")
        raise ConfigError(f"augment={name} makes {kind} of {list(images.shape)}. It must keep the shape, in float32.")
    views = settings.values["trainer"]["test_views"]
    if views > 1 and not hasattr(made, "views"):
        raise ConfigError(
            f"trainer.test_views={views} needs a method views, and augment={name} has none. Leave it out."
        )
    if views > 1:
        made.views()


def _try_loss(settings: Settings) -> None:
    task, name = settings.values["data"].get("task", "classification"), settings.choices["loss"]
    how = fit(name, task, table=fits(settings))
    count = max(2, how.least_outputs)
    targets = torch.zeros(2, dtype=torch.int64) if task == "classification" else torch.ones(2, count)
    scores, target = torch.zeros(2, num_outputs(how, count)), component(settings, "target")
    objective = Objective(_made(settings, "loss"), task, how, targets, target.bind() if target else None)
    objective.predictions(scores)
    found = objective.losses(scores, targets)
    if found.shape != (2,):
        raise ConfigError(
            f"loss={name} gives {list(found.shape)} values for 2 examples. It must give one value an example: "
            "average over an example's outputs, not over the batch."
        )


def _try_dropout(settings: Settings) -> None:
    if not any(hasattr(module, "generator") for module in _made(settings, "layer/dropout")().modules()):
        raise ConfigError(
            f"layer/dropout={settings.choices['layer/dropout']} has no attribute generator. Set it to None and draw "
            "from it: the training puts one there for each epoch, so that a run can be repeated and resumed."
        )


def _fit(settings: Settings, data: ImageData) -> Fit:
    return fit(settings.choices["loss"], data.task, data.num_classes, fits(settings))


def _check_objective(metric: str, row: Fit, data: ImageData) -> None:
    names = [f"val/{name}" for name in (*measurable(data.task, row, data.num_classes, data.validation.targets), "loss")]
    if metric not in names:
        raise DataError(
            f"objective.metric={metric} is not defined for the validation part: its targets do not vary. "
            f"Use one of {', '.join(names)}, or other images for validation."
        )
