"""A trial's folder becomes its model again, held against what the training itself predicted.

Shapes: E example images, K predictions of an image.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convgrid.data.profile import Profile, pick_examples
from convgrid.errors import ConfigError, ConvgridError, ModelError, RunError
from convgrid.losses import mean_squared_error
from convgrid.model.metadata import Metadata
from convgrid.model.slider import Slider
from convgrid.network.build import build
from convgrid.network.plan import Plan
from convgrid.objective.objective import Objective
from convgrid.objective.predictor import Predictor
from convgrid.runs.checkpoint import read_checkpoint
from convgrid.runs.files import blamed_on, read_known
from convgrid.runs.forms import DATA_FORM
from convgrid.runs.trial import BEST, DATA, read_settings

TRAINING = "predictor."  # what a checkpoint's names of weights start with
EXACT = 1e-3  # of the largest prediction: what rounding makes of any of them in float32
NOISE_SCORES = "noise"  # predictions of noise, among what a weights file says of itself
NUM_NOISE_SCORES = 8  # classes of them
ROUGH = 5e-2  # likewise, of them on average, in 16 bits or on a GPU


@dataclass(frozen=True)
class Trained:
    """A trained model in this process.

    Args:
        meta: What it says of itself.
        predictor: From raw images (B, C, H, W) to predictions (B, K), or those of each place, as `meta.slides` says; on
            the CPU, in evaluation mode.
        images: A few of those that it was validated on, shape (E, C, H, W).
    """

    meta: Metadata
    predictor: Predictor | Slider
    images: Tensor


def load(folder: Path) -> Trained:
    """Put a trial's model together again: from its folder alone, or with its data where the folder does not do.

    Args:
        folder: The trial's, with `best.ckpt`.

    Returns:
        The model.

    Raises:
        ConvgridError: If a component of the user's own is missing, or does not do what it did in the training.
    """
    best = _checkpoint(folder / BEST)
    try:
        trained = _from_folder(folder, best)
        _check(trained, best, folder)
    except ConfigError:  # a component is missing, with the data as well
        raise
    except Exception as error:  # a scale of the user's own may need its targets
        with blamed_on(folder):
            trained = _with_data(folder, best, error)
            _check(trained, best, folder)
    return trained


def assemble(meta: Metadata, weights: dict[str, Tensor]) -> Predictor:
    """Build a model and give it its weights.

    Args:
        meta: What it says of itself.
        weights: By name; scales of pixels and of numbers among them.

    Returns:
        The model.

    Raises:
        ConvgridError: If a component of the user's own is missing.
        RuntimeError: If the weights are another model's.
        KeyError: If one is missing.
    """
    channels, *size = meta.profile.shape
    # A scale is fitted on them, then takes its true values, of their type.
    scaled = {weight.dtype for name, weight in weights.items() if name.startswith("objective.scale.")}
    targets = torch.ones(2, len(meta.profile.names), dtype=torch.float64 if torch.float64 in scaled else None)
    target = meta.target.bind() if meta.target else None
    # Nobody asks for the loss, and that of the user's own may not be there.
    objective = Objective(mean_squared_error, meta.profile.task, meta.fit, targets, target)
    network = build(meta.plan, init="torch")
    predictor = Predictor(network, objective, [0.0] * channels, [1.0] * channels, size)
    predictor.load_state_dict({name: weights[name] for name in predictor.state_dict()})
    return _at_rest(predictor)


def noise(plan: Plan) -> Tensor:
    """Two images that are the same everywhere, to hold a network's scores against: (2, C, H, W), bytes."""
    pixels = torch.arange(2 * math.prod(plan.input_shape))
    return (pixels * 7919 % 251).to(torch.uint8).view(2, *plan.input_shape)


def scores_of_noise(meta: Metadata, predictor: nn.Module) -> list[list[float]]:
    """What a model predicts of noise, of its first classes: a weights file keeps it."""
    with torch.inference_mode():
        return predictor(noise(meta.plan))[:, :NUM_NOISE_SCORES].tolist()


def check_noise(meta: Metadata, predictor: Predictor) -> None:
    """Hold a model that was read from a weights file against what it predicted when the file was written.

    Raises:
        ModelError: If it predicts something else.
    """
    if NOISE_SCORES not in meta.about:
        return
    found, expected = torch.tensor(scores_of_noise(meta, predictor)), torch.tensor(meta.about[NOISE_SCORES])
    if not is_close(found, expected):
        raise ModelError("it does not predict what it did when it was written. Has the code of a layer changed?")


def _from_folder(folder: Path, best: dict[str, Any]) -> Trained:
    known = read_known(folder / DATA, DATA_FORM)
    with blamed_on(folder / DATA):
        profile = Profile.load(known)
    meta = Metadata.of(folder, profile)
    weights = {name.removeprefix(TRAINING): weight for name, weight in best["state_dict"].items()}
    return Trained(meta, assemble(meta, weights), best["examples"]["images"])


def _with_data(folder: Path, best: dict[str, Any], cause: Exception) -> Trained:
    """As the training did: for scales of the user's own that weights do not tell."""
    from convgrid.training.recording import profile  # Lightning takes seconds to import
    from convgrid.training.setup import prepare, read

    settings = read_settings(folder)
    try:
        data = read(settings)
    except ConvgridError as error:
        raise ModelError(f"{folder} alone does not make its model ({cause}), nor does its data: {error}") from None
    learner, _ = prepare(settings, data)
    learner.load_state_dict(learner.whole(best["state_dict"]))  # frozen layers are missing where a training was killed
    meta = Metadata.of(folder, profile(settings, data))
    return Trained(meta, _at_rest(learner.predictor), pick_examples(data.validation)[1])


def _at_rest(predictor: Predictor) -> Predictor:
    predictor.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]  (as torch.export wants it)
    return predictor.cpu().eval().requires_grad_(False)


def _check(trained: Trained, best: dict[str, Any], folder: Path) -> None:
    """The model predicts what the training did: neither is a part missing nor has the code of one changed."""
    expected = best["examples"]["predictions"].float()
    with torch.inference_mode():
        found = trained.predictor(best["examples"]["images"])
    exact = trained.meta.config["trainer.precision"] == "32-true" and best.get("device") == "cpu"
    is_far = (found - expected).abs().mean() > ROUGH * expected.abs().max()
    if is_far or (exact and not is_close(found, expected)):
        raise ModelError(
            f"{folder}: the predictions differ from those of its training by up to "
            f"{(found - expected).abs().max():.3g}. Has the code of one of its components changed?"
        )


def is_close(found: Tensor, expected: Tensor) -> bool:
    """Say whether two models predict the same up to rounding.

    Args:
        found: Shape (E, K).
        expected: Shape (E, K).

    Returns:
        False for NaN, too.

    Example:
        >>> is_close(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.90001, 0.09999]]))
        True
    """
    return bool(((found - expected).abs() <= EXACT * expected.abs().max()).all())


def _checkpoint(file: Path) -> dict[str, Any]:
    try:
        return read_checkpoint(file)
    except (RunError, FileNotFoundError) as error:
        raise ModelError(f"{str(error).rstrip('.')}. Train it again, or take another run.") from None
