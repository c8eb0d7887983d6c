"""How kernels start; biases start at zero, except with `torch`."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def glorot_uniform(kernel: Tensor, generator: torch.Generator) -> None:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)), Keras' default.

    Args:
        kernel: Filled in place, shape (C_out, C_in / groups, k_h, k_w) or (F_out, F_in).
        generator: Where the draws come from.

    Source: Glorot and Bengio, 2010.
    """
    nn.init.xavier_uniform_(kernel, generator=generator)


def he_uniform(kernel: Tensor, generator: torch.Generator) -> None:
    """Uniform in +-sqrt(6 / fan_in).

    Args:
        kernel: Filled in place, shape (C_out, C_in / groups, k_h, k_w) or (F_out, F_in).
        generator: Where the draws come from.

    Source: He et al., 2015.
    """
    nn.init.kaiming_uniform_(kernel, nonlinearity="relu", generator=generator)


def he_normal(kernel: Tensor, generator: torch.Generator) -> None:
    """Normal with standard deviation sqrt(2 / fan_in), cut off at two of its own before rescaling, as Keras'.

    Args:
        kernel: Filled in place, shape (C_out, C_in / groups, k_h, k_w) or (F_out, F_in).
        generator: Where the draws come from.

    Source: He et al., 2015; keras.initializers.HeNormal.
    """
    cut_normal_std = 0.87962566103423978  # of a standard normal cut off at +-2
    std = math.sqrt(2 / kernel[0].numel()) / cut_normal_std
    nn.init.trunc_normal_(kernel, std=std, a=-2 * std, b=2 * std, generator=generator)


def normal(kernel: Tensor, generator: torch.Generator) -> None:
    """Normal with standard deviation 0.01, whatever the kernel's size.

    Args:
        kernel: Filled in place, of any shape.
        generator: Where the draws come from.

    Source: Krizhevsky et al., 2012.
    """
    nn.init.normal_(kernel, std=0.01, generator=generator)


def lecun_1998(kernel: Tensor, generator: torch.Generator) -> None:
    """Uniform in +-2.4 / fan_in.

    Args:
        kernel: Filled in place, shape (C_out, C_in / groups, k_h, k_w) or (F_out, F_in).
        generator: Where the draws come from.

    Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, appendix A.
    """
    bound = 2.4 / kernel[0].numel()
    nn.init.uniform_(kernel, -bound, bound, generator=generator)


Initializer = Callable[[Tensor, torch.Generator], None]
INITIALIZERS: dict[str, Initializer | None] = {
    "glorot_uniform": glorot_uniform,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "normal": normal,
    "lecun_1998": lecun_1998,
    "torch": None,
}
