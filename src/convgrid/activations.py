"""The activations of a pattern or the `activation` group, with Keras 3's meaning, for (B, C) and (B, C, H, W)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from convgrid.errors import ConfigError

__all__ = [
    "elu",
    "exponential",
    "hard_sigmoid",
    "linear",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]


def softmax(x: Tensor) -> Tensor:
    """Positive values that sum to one over the channels, at each pixel by itself.

    exp(x_c) / sum_j exp(x_j), with j over dimension 1.

    Args:
        x: Scores, shape (B, C) or (B, C, H, W).

    Returns:
        Shares in [0, 1], the shape of x.

    Example:
        >>> softmax(torch.tensor([[0.0, 0.0]]))
        tensor([[0.5000, 0.5000]])

    Source: Keras 3 `activations.softmax` over the channels axis; `torch.softmax`.
    """
    return F.softmax(x, dim=1)


def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """The identity above zero, an exponential that settles at -alpha below.

    x if x > 0 else alpha * (exp(x) - 1).

    Args:
        x: Any shape.
        alpha: Minus the value for very negative x, no unit; 0 gives relu.

    Returns:
        Values above -alpha, the shape of x.

    Raises:
        ConfigError: If alpha is below 0 or not finite.

    Example:
        >>> elu(torch.tensor([-1.0, 2.0]))
        tensor([-0.6321,  2.0000])

    Source: Clevert et al., ELU, ICLR 2016; Keras 3 `activations.elu`.
    """
    if not 0 <= alpha < math.inf:
        raise ConfigError(f"activation.alpha={alpha} must be 0 or above.")
    return F.elu(x, alpha)


def selu(x: Tensor) -> Tensor:
    """The elu whose constants keep mean 0 and variance 1 from layer to layer.

    scale * (x if x > 0 else alpha * (exp(x) - 1)), with scale = 1.0507... and alpha = 1.6732... fixed.

    Args:
        x: Any shape.

    Returns:
        Values above -1.7581, the shape of x.

    Example:
        >>> selu(torch.tensor([-1.0, 1.0]))
        tensor([-1.1113,  1.0507])

    Source: Klambauer et al., Self-Normalizing Neural Networks, NeurIPS 2017; Keras 3 `activations.selu`.
    """
    return F.selu(x)


def softplus(x: Tensor) -> Tensor:
    """A smooth relu, above zero everywhere.

    log(1 + exp(x)); above x = 20 torch returns x itself, which is 2e-9 less at most (Keras 3 on torch: the same).

    Args:
        x: Any shape.

    Returns:
        Values above 0, the shape of x.

    Example:
        >>> softplus(torch.tensor([0.0, 30.0]))
        tensor([ 0.6931, 30.0000])

    Source: Dugas et al., NeurIPS 2000; Keras 3 `activations.softplus`.
    """
    return F.softplus(x)


def softsign(x: Tensor) -> Tensor:
    """A tanh with slower tails.

    x / (1 + |x|).

    Args:
        x: Any shape.

    Returns:
        Values in (-1, 1), the shape of x.

    Example:
        >>> softsign(torch.tensor([-1.0, 3.0]))
        tensor([-0.5000,  0.7500])

    Source: Keras 3 `activations.softsign`.
    """
    return F.softsign(x)


def relu(x: Tensor) -> Tensor:
    """The positive part.

    max(x, 0).

    Args:
        x: Any shape.

    Returns:
        Values of 0 or above, the shape of x.

    Example:
        >>> relu(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])

    Source: Nair and Hinton, ICML 2010; Keras 3 `activations.relu` with its defaults.
    """
    return F.relu(x)


def relu6(x: Tensor) -> Tensor:
    """Cut values to 0 and 6: min(max(x, 0), 6).

    Args:
        x: Any shape.

    Returns:
        Values in [0, 6], of x's shape.

    Example:
        >>> relu6(torch.tensor([-1.0, 2.0, 7.0]))
        tensor([0., 2., 6.])

    Source: Howard et al., "MobileNets", 2017; `torch.nn.functional.relu6`.
    """
    return F.relu6(x)


def silu(x: Tensor) -> Tensor:
    """Weigh values by their own sigmoid: x / (1 + exp(-x)), also known as swish.

    Args:
        x: Any shape.

    Returns:
        Values above -0.28, of x's shape.

    Example:
        >>> silu(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.2689,  0.0000,  0.7311])

    Source: Ramachandran et al., "Searching for Activation Functions", 2017; `torch.nn.functional.silu`.
    """
    return F.silu(x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent.

    (exp(x) - exp(-x)) / (exp(x) + exp(-x)).

    Args:
        x: Any shape.

    Returns:
        Values in [-1, 1], the shape of x.

    Example:
        >>> tanh(torch.tensor([0.0, 1.0]))
        tensor([0.0000, 0.7616])

    Source: Keras 3 `activations.tanh`.
    """
    return torch.tanh(x)


def sigmoid(x: Tensor) -> Tensor:
    """The logistic function.

    1 / (1 + exp(-x)).

    Args:
        x: Any shape.

    Returns:
        Values in [0, 1], the shape of x.

    Example:
        >>> sigmoid(torch.tensor([0.0, 1.0]))
        tensor([0.5000, 0.7311])

    Source: Keras 3 `activations.sigmoid`.
    """
    return torch.sigmoid(x)


def hard_sigmoid(x: Tensor) -> Tensor:
    """A sigmoid of three straight lines.

    min(max(x + 3, 0), 6) / 6. This is Keras 3's; Keras 2 had the slope 0.2 in place of 1/6.

    Args:
        x: Any shape.

    Returns:
        Values in [0, 1], the shape of x.

    Example:
        >>> hard_sigmoid(torch.tensor([-4.0, 0.0, 1.5]))
        tensor([0.0000, 0.5000, 0.7500])

    Source: Keras 3 `activations.hard_sigmoid`; `torch.nn.functional.hardsigmoid`.
    """
    return F.hardsigmoid(x)


def exponential(x: Tensor) -> Tensor:
    """The exponential function; in float32 it overflows to infinity above x = 88.7.

    exp(x).

    Args:
        x: Any shape.

    Returns:
        Values of 0 or above, the shape of x.

    Example:
        >>> exponential(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 2.7183])

    Source: Keras 3 `activations.exponential`.
    """
    return torch.exp(x)


def linear(x: Tensor) -> Tensor:
    """The identity: no activation.

    x.

    Args:
        x: Any shape.

    Returns:
        x itself.

    Example:
        >>> linear(torch.tensor([-1.0, 2.0]))
        tensor([-1.,  2.])

    Source: Keras 3 `activations.linear`.
    """
    return x
