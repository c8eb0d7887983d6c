"""The test images that a network is most confidently wrong about, on one sheet to look at.

Shapes: B images, C classes, L labels, T columns of numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL.Image import Image
from torch import Tensor

from convgrid.augment.sheet import gallery
from convgrid.data import Files, Split, batches
from convgrid.objective.fit import Fit, Task

NUM_WORST = 24


@dataclass(frozen=True)
class Worst:
    """Images of a part and what is predicted of them, the worst first.

    Args:
        places: Of the images in the part, shape (N,).
        predictions: Of each, shape (N, C), (N, L) or (N, T).
        threshold: Above which a label applies.
    """

    places: Tensor
    predictions: Tensor
    threshold: float


def find_worst(predictions: Tensor, targets: Tensor, task: Task, row: Fit) -> Worst:
    """Find the images that are predicted wrong with the most confidence, or numbers that are furthest off.

    Of classes, by how far the predicted one is above the true one; of labels, by the one that is furthest on the wrong
    side; of numbers, by the mean over columns of |error| / standard deviation of the targets.

    Args:
        predictions: Values of the classes (B, C) or labels (B, L), or numbers (B, T).
        targets: The data's, classes (B,), labels (B, L) or numbers (B, T).
        row: How the loss goes with the task.

    Returns:
        At most 24 of them; none where all is right.

    Example:
        >>> import torch
        >>> from convgrid.objective.fit import fit
        >>> told = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])
        >>> row = fit("categorical_crossentropy", "classification")
        >>> find_worst(told, torch.tensor([0, 0, 0]), "classification", row).places.tolist()
        [2, 1]
    """
    threshold = 0.5 if row.gives_probabilities else 0.0
    match task:
        case "classification":
            wrong = predictions.amax(1) - predictions.gather(1, targets[:, None])[:, 0]
        case "multilabel":
            wrong = ((threshold - predictions) * (2 * targets.float() - 1)).amax(1)
        case "regression":
            spread = targets.std(0, correction=0).clamp(min=1e-12)
            wrong = ((predictions - targets).abs() / spread).mean(1)
    order = wrong.argsort(descending=True, stable=True)[:NUM_WORST]
    places = order[wrong[order] > 0]
    return Worst(places.cpu(), predictions[places].cpu(), threshold)


def draw_worst(worst: Worst, part: Split, class_names: Sequence[str]) -> Image:
    """Draw them, each above what it is and what is predicted.

    Args:
        worst: Which, one at least.
        class_names: A name for each class or label; () for numbers.

    Returns:
        The picture.
    """
    places, images = worst.places, part.images
    if isinstance(images, Files):
        images = replace(images, paths=tuple(images.paths[place] for place in places.tolist()), workers=1)
    else:
        images = images[places]
    targets = part.targets[places]
    chunk = next(iter(batches(Split(images, targets), batch_size=len(places), device="cpu")))
    pixels, *_ = next(iter(chunk))
    captions = [
        (f"is {_named(target, class_names)}", f"predicted {_told(told, worst.threshold, target, class_names)}")
        for target, told in zip(targets, worst.predictions, strict=True)
    ]
    return gallery(pixels, captions)


def _named(target: Tensor, class_names: Sequence[str]) -> str:
    """Of a class its name, of labels those that apply, of numbers the numbers."""
    if class_names and target.ndim:
        applying = [name for name, applies in zip(class_names, target.tolist(), strict=True) if applies]
        return ", ".join(applying) or "none"
    return class_names[int(target)] if class_names else ", ".join(f"{number:.4g}" for number in target.tolist())


def _told(told: Tensor, threshold: float, target: Tensor, class_names: Sequence[str]) -> str:
    if not class_names:
        return _named(told, ())
    if target.ndim:
        return _named(told > threshold, class_names)
    best = int(told.argmax())
    return f"{class_names[best]} ({told[best]:.2g})"
