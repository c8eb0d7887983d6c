"""What a training needs before its first step: the data, and a learner for it."""

import dataclasses
from contextlib import nullcontext
from typing import cast

import torch

from convgrid.config import Settings, architecture, component
from convgrid.data import ImageData, check_data, limit_evaluation, refold, statistics
from convgrid.errors import ConfigError, DataError
from convgrid.network.build import build, measure
from convgrid.network.cut import freeze
from convgrid.network.plan import Plan, plan
from convgrid.objective.fit import Fit, check_domain, num_outputs
from convgrid.objective.glossary import objective_of
from convgrid.objective.imbalance import check_imbalance, fit_class_weights
from convgrid.objective.metrics import measurable
from convgrid.objective.objective import Objective
from convgrid.objective.predictor import Predictor
from convgrid.runs.source import read_source
from convgrid.scales import Scale, check_scaled
from convgrid.system.seeding import derive
from convgrid.training.components import Components
from convgrid.training.learner import Learner
from convgrid.training.recipe import Recipe
from convgrid.training.recording import profile
from convgrid.training.starting import start


def read(settings: Settings) -> ImageData:
    """Read the data, or the little of it that `trainer=debug` and `trainer=overfit` use.

    Returns:
        The data set.

    Raises:
        DataError: If files are missing or corrupt.
    """
    reader = component(settings, "data")
    assert reader is not None
    stated, trainer = settings.data, settings.trainer
    limit = stated.batch_size if trainer.overfit else trainer.limit
    if limit and "limit" in reader.options:
        limited = {"limit": min(limit, reader.options["limit"] or limit)}
        reader = dataclasses.replace(reader, options={**reader.options, **limited})
    make = reader.bind()
    with (
        nullcontext() if reader.target.startswith("convgrid.") else reader.blamed()
    ):  # a fault of ours is none of theirs
        data: ImageData = make()
    check_data(data, stated.shape, stated.num_classes, f"data={reader.name}")
    if settings.fold is not None:
        drawn = {key: reader.options.get(key, 0) for key in ("split_seed", "limit")}
        data = refold(data, settings.fold, **drawn)
    data = limit_evaluation(data, stated.limit_evaluation, split_seed=reader.options.get("split_seed", 0))
    if limit:
        test = data.test and data.test.head(limit)
        heads = {"train": data.train.head(limit), "validation": data.validation.head(limit), "test": test}
        data = dataclasses.replace(data, **heads)
    return dataclasses.replace(data, validation=data.train, test=None) if trainer.overfit else data


def prepare(
    settings: Settings,
    data: ImageData,
    components: Components | None = None,
    planned: Plan | None = None,
    *,
    accumulate: int = 1,
) -> tuple[Learner, Plan]:
    """Put together what trains a network on the data.

    Args:
        components: What the settings name; None finds them.
        planned: What was planned without the data; it is planned anew where the data asks for other outputs.
        accumulate: Parts that each batch is divided into.

    Returns:
        A learner, untrained, and its network's plan.

    Raises:
        ConvgridError: If the network, loss, targets and data do not go together.
    """
    components = components or Components(settings)
    row = components.fit(data.task, data.num_classes)
    outputs = num_outputs(row, data.num_classes)
    if planned is None or planned.num_outputs != outputs:
        planned = plan(architecture(settings), settings.data.shape, outputs, measure=measure)
    recipe = _recipe(settings, data, row, components, planned, accumulate)
    arch = settings.arch
    network = build(planned, init=arch.init, init_residual=arch.init_residual, seed=derive(recipe.seed, "init"))
    objective = _objective(settings, data, row, components)
    source = read_source(settings)
    if source is None:
        mean, std = statistics(data.train)
    else:
        begun = start(network, planned, source, profile(settings, data), free_head=arch.head is not None)
        mean, std, recipe = begun.mean, begun.std, dataclasses.replace(recipe, loaded=begun.layers)
    freeze(planned, network)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (a keyword that the stubs lack)
    return Learner(Predictor(network, objective, mean, std, planned.input_shape[1:]), data, recipe), planned


def _recipe(
    settings: Settings, data: ImageData, row: Fit, components: Components, planned: Plan, accumulate: int
) -> Recipe:
    metric, mode = _best(settings, data, row)
    views = settings.trainer.test_views
    if views > 1 and data.test is None:
        raise ConfigError(f"trainer.test_views={views} has no effect: there is no test part. Leave it out.")
    return Recipe(
        make_optimizer=components.make_optimizer,
        schedule=components.schedule,
        batch_size=settings.data.batch_size,
        max_epochs=settings.trainer.max_epochs,
        seed=settings.seed,
        metric=metric,
        mode=mode,
        patience=settings.trainer.patience,
        gradient_clip_norm=settings.trainer.gradient_clip_norm,
        l1=settings.regularization.l1,
        l2=settings.regularization.l2,
        augment=components.make_augment() if components.make_augment else None,
        accumulate=accumulate,
        balanced=settings.imbalance.sampling == "balanced",
        test_views=views,
        precision=settings.trainer.precision,
        detect_anomaly=settings.trainer.detect_anomaly,
        is_flat=components.is_elementwise() and not any(layer.is_own for layer in planned.layers),
        frozen=planned.frozen,
        loaded_lr=settings.arch.loaded_lr,
        freeze_epochs=settings.freeze_epochs,
    )


def _best(settings: Settings, data: ImageData, row: Fit) -> tuple[str, str]:
    """The metric that says what is best, which the validation part must define, and its mode."""
    stated = settings.objective
    metric, mode = objective_of(data.task, stated.metric, stated.mode, row, data.num_classes)
    defined = (*measurable(data.task, row, data.num_classes, data.validation.targets), "loss")
    names = [f"val/{name}" for name in defined]
    if metric not in names:
        raise DataError(
            f"objective.metric={metric} is not defined for the validation part: its targets do not vary. "
            f"Use one of {', '.join(names)}, or other images for validation."
        )
    return metric, mode


def _objective(settings: Settings, data: ImageData, row: Fit, components: Components) -> Objective:
    """Fitted on the training part; every part's targets must be such that its loss is a number."""
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    targets = {name: part.targets for name, part in parts.items() if part is not None}
    for name in targets:
        check_domain(settings.choices["loss"], row, targets[name].min().item(), name)
    weights = _class_weights(settings, data)
    made = Objective(components.loss, data.task, row, data.train.targets, components.make_scale, weights)
    for name in targets if row.form == "numbers" else ():
        check_scaled(cast(Scale, made.scale), targets[name], settings.choices["target"], name)
    return made


def _class_weights(settings: Settings, data: ImageData) -> list[float] | None:
    chosen = settings.imbalance
    check_imbalance(chosen.class_weights, chosen.sampling, data.task, data.num_classes)
    if chosen.class_weights == "none":
        return None
    counts = data.train.targets.bincount(minlength=data.num_classes)
    return fit_class_weights(chosen.class_weights, counts.tolist())
