"""Random changes of training images, a batch at a time, on the device that trains."""

from convgrid.augment.mixing import Mixed, mixed_losses
from convgrid.augment.pipeline import Augment

__all__ = ["Augment", "Mixed", "mixed_losses"]
