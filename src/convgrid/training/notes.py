"""What the user is told of a training before it begins: what its objective cannot tell, and which weights it keeps."""

from collections.abc import Iterator

from torch import Tensor

from convgrid.config import Settings
from convgrid.data.files import some
from convgrid.network.build import ASKS, keeping_weights
from convgrid.network.plan import Plan
from convgrid.runs.source import source_notes
from convgrid.training.learner import Learner

ALONE = 0.9  # of a part's answers: who always gives the most frequent one reaches as much


def notes_on_training(settings: Settings, learner: Learner, planned: Plan) -> tuple[str, ...]:
    """Tell what a training's settings and its data make of each other.

    Args:
        learner: What is to be trained.
        planned: Its network.

    Returns:
        A sentence or two each.
    """
    loaded = source_notes(settings, planned, learner.recipe.loaded)
    return (*_on_objective(learner), *_on_weights(settings, learner, planned), *loaded)


def _on_objective(learner: Learner) -> Iterator[str]:
    task, targets = learner.predictor.objective.task, learner.data.validation.targets
    if task == "regression" or learner.recipe.metric != "val/accuracy":
        return
    share = _most_frequent(targets) if task == "classification" else _most_frequent_labels(targets)
    if share >= ALONE:
        yield (
            f"val/accuracy decides what is best, and always giving the most frequent answer reaches {share:.3g} of 1 "
            "there. objective.metric=val/f1 counts rare classes as much as others."
        )


def _most_frequent(classes: Tensor) -> float:
    return classes.bincount().max().item() / len(classes)


def _most_frequent_labels(labels: Tensor) -> float:
    has = labels.double().mean(0)
    return has.maximum(1 - has).mean().item()


def _on_weights(settings: Settings, learner: Learner, planned: Plan) -> Iterator[str]:
    init = settings.arch.init
    kept = keeping_weights(planned, learner.predictor.network) if init != "torch" else []
    if kept:
        yield (
            f"arch.init={init} is for the layers that convgrid makes. Your own keep the weights that they come with: "
            f"{some(kept)}. One whose attribute {ASKS} is true starts as arch.init says."
        )
