"""The frozen layers of a network as a source of features, with all that these go by."""

import dataclasses

import torch

from convgrid.config import Settings
from convgrid.features.extract import FeatureSource, digest_of_weights
from convgrid.network.cut import cut
from convgrid.network.plan import Plan
from convgrid.objective.predictor import Predictor
from convgrid.training.own_code import own_code


def source_of(predictor: Predictor, planned: Plan, settings: Settings, device: str) -> FeatureSource:
    """Take the frozen layers for themselves.

    Args:
        predictor: On its device; shares its layers.
        planned: Its network, of which layers are frozen.
        settings: Of its training.
        device: "cpu" or "cuda".

    Returns:
        The source, in evaluation mode.
    """
    trunk, _ = cut(planned, predictor.network)
    frozen = planned.layers[: planned.num_frozen]
    known = {
        # Frozen, a dropout passes on what it is given: whether one stands before the head makes no difference.
        "layers": [dataclasses.asdict(layer) for layer in frozen if layer.kind != "DROPOUT" or layer.is_own],
        "weights": digest_of_weights(trunk),
        "code": own_code(settings, planned),
        "pixels": [predictor.mean[0, :, 0, 0].tolist(), predictor.std[0, :, 0, 0].tolist()],
        "precision": settings.trainer.precision,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return FeatureSource(
        trunk.eval(),
        predictor.normalised,
        torch.device(device),
        settings.trainer.precision,
        known,
        name=f"{settings.choices['arch']} up to {frozen[-1].name}",
        multiply_adds=sum(layer.multiply_adds for layer in frozen),
    )
