"""Raw images in, predictions out: what is trained, and what is taken along."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convgrid.objective.objective import Objective


class Predictor(nn.Module):
    """Raw images in, predictions out: normalisation, network and link.

    Args:
        network: From normalised images to scores.
        objective: From scores to predictions.
        mean: Of each channel of the training split, in raw pixel units.
        size: Height and width of the images.
    """

    def __init__(
        self, network: nn.Module, objective: Objective, mean: Sequence[float], std: Sequence[float], size: Sequence[int]
    ) -> None:
        super().__init__()
        self.network, self.objective = network, objective
        self.mean, self.std = nn.Buffer(_each_pixel(mean, size)), nn.Buffer(_each_pixel(std, size))

    def scores(self, images: Tensor) -> Tensor:
        """Normalise raw images (B, C, H, W) and score them, (B, U)."""
        return self.network(self.normalised(images))

    def normalised(self, images: Tensor) -> Tensor:
        """Take from raw images (B, C, H, W) the mean, and divide by the standard deviation."""
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Predict from raw images (B, C, H, W) probabilities (B, C), or numbers in the data's units (B, T)."""
        return self.objective.predictions(self.scores(images))


class Behind(nn.Module):
    """The part of a predictor behind frozen layers: their features in place of raw images.

    Args:
        network: From features to scores.
        objective: From scores to predictions.
    """

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def scores(self, features: Tensor) -> Tensor:
        """Score features, (B, F) or (B, C, H, W), as (B, U)."""
        return self.network(features)

    def normalised(self, features: Tensor) -> Tensor:
        """Leave them as they are."""
        return features


def _each_pixel(values: Sequence[float], size: Sequence[int]) -> Tensor:
    """Repeat a value for each channel: without broadcasting over channels, a CPU normalises 5 times faster."""
    channels = torch.tensor(values).view(1, -1, 1, 1).expand(1, -1, *size)
    return channels.contiguous(memory_format=torch.channels_last)
