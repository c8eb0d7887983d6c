"""Readers of image data, their division, their statistics, and minibatches on the device."""

from convgrid.data.angles import digits_angle
from convgrid.data.cifar import cifar10, cifar100
from convgrid.data.dataset import Batch, Files, ImageData, Split, check_data, fingerprint
from convgrid.data.embedded import digits, random
from convgrid.data.folders import image_folder
from convgrid.data.idx import fashion_mnist, mnist
from convgrid.data.loader import Batches, Chunk, batches
from convgrid.data.moments import statistics
from convgrid.data.notes import notes_on
from convgrid.data.npz import arrays
from convgrid.data.profile import Profile, pick_examples
from convgrid.data.splits import Pool, divide, refold
from convgrid.data.tables import table_images

__all__ = [
    "Batch",
    "Batches",
    "Chunk",
    "Files",
    "ImageData",
    "Pool",
    "Profile",
    "Split",
    "arrays",
    "batches",
    "check_data",
    "cifar10",
    "cifar100",
    "digits",
    "digits_angle",
    "divide",
    "fashion_mnist",
    "fingerprint",
    "image_folder",
    "mnist",
    "notes_on",
    "pick_examples",
    "random",
    "refold",
    "statistics",
    "table_images",
]
