"""What is optimised: one value an example, meaning what Keras' loss of the same name means.

Predictions come first, targets second; a target may lack a last axis of size 1. Halves are computed, and returned, in
float32; all else in the predictions' own type.
"""

from convgrid.losses.classes import (
    binary_crossentropy,
    categorical_crossentropy,
    kullback_leibler_divergence,
    sparse_categorical_crossentropy,
)
from convgrid.losses.margins import categorical_hinge, hinge, squared_hinge
from convgrid.losses.numbers import (
    cosine_proximity,
    logcosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
)

__all__ = [
    "binary_crossentropy",
    "categorical_crossentropy",
    "categorical_hinge",
    "cosine_proximity",
    "hinge",
    "kullback_leibler_divergence",
    "logcosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "sparse_categorical_crossentropy",
    "squared_hinge",
]
