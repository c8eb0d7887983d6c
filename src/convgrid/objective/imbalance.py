"""Classes of which some have far more images than others: what each counts in training.

No torch import: what does not fit is refused before there is anything to train.
"""

from collections.abc import Sequence

from convgrid.errors import ConfigError, gather, refuse


def check_imbalance(class_weights: str | Sequence[float], sampling: str, task: str, count: int | None) -> None:
    """Hold the keys of `imbalance` against each other and the data.

    Args:
        class_weights: "none", "balanced", or a number for each class.
        sampling: "shuffle" or "balanced".
        count: Classes; None where only the data tells.

    Raises:
        ConfigError: If the images have no class, the numbers cannot be weights of the classes, or an imbalance would be
            made up for twice.

    Example:
        >>> check_imbalance([1.0, 2.0], "shuffle", "classification", 3)
        Traceback (most recent call last):
        convgrid.errors.ConfigError: imbalance.class_weights=[1,2] must be 3 numbers, one a class.
    """
    refuse(
        gather(
            [
                lambda: _check_task({"class_weights": class_weights, "sampling": sampling}, task),
                lambda: _check_numbers(class_weights, count if task == "classification" else None),
                lambda: _check_twice(class_weights, sampling),
            ]
        )
    )


def fit_class_weights(chosen: str | Sequence[float], counts: Sequence[int]) -> list[float]:
    """Settle what the loss of each class counts in training.

    "balanced" is N / (C * images of the class), with C the classes that have images: each class counts the same
    altogether, and an image 1 on average.

    Args:
        chosen: "balanced", or a number for each class.
        counts: The training part's images of each class.

    Returns:
        A number for each class, 0 for one without images.

    Example:
        >>> fit_class_weights("balanced", [90, 10, 0])
        [0.5555555555555556, 5.0, 0.0]

    Source: sklearn.utils.class_weight.compute_class_weight.
    """
    if chosen != "balanced":
        return [float(weight) for weight in chosen]
    share = sum(counts) / sum(count > 0 for count in counts)
    return [share / count if count else 0.0 for count in counts]


def _check_task(keys: dict[str, str | Sequence[float]], task: str) -> None:
    chosen = [f"imbalance.{key}={_shown(value)}" for key, value in keys.items() if value not in ("none", "shuffle")]
    if task != "classification":
        refuse(
            [
                ConfigError(f"{text} does not fit a {task}: it needs one class an image. Leave it out.")
                for text in chosen
            ]
        )


def _check_numbers(class_weights: str | Sequence[float], count: int | None) -> None:
    if isinstance(class_weights, str):
        return
    text = f"imbalance.class_weights={_shown(class_weights)}"
    if count is not None and len(class_weights) != count:
        raise ConfigError(f"{text} must be {count} numbers, one a class.")
    if min(class_weights) < 0 or not any(class_weights):
        raise ConfigError(f"{text} must be numbers of 0 or above, not all 0.")


def _check_twice(class_weights: str | Sequence[float], sampling: str) -> None:
    if class_weights == sampling == "balanced":
        raise ConfigError(
            "imbalance.class_weights=balanced makes up once more for what imbalance.sampling=balanced makes up for. "
            "Use one of the two."
        )


def _shown(value: str | Sequence[float]) -> str:
    return value if isinstance(value, str) else f"[{','.join(f'{number:g}' for number in value)}]"
