"""Parameters of a network as one tensor: an optimizer's step then costs as much however many layers there are."""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

ALIGNED_FLOATS = 16  # numbers, 64 bytes: convolutions are slower with weights that start elsewhere


def flatten_parameters(parameters: Sequence[Tensor]) -> nn.Parameter:
    """Move parameters into one tensor; each of them stays what it is, as a view of it, and so does its gradient.

    To an optimizer that treats every number by itself, the one tensor is as good as all of them. Clear its gradient
    with `zero_`, not by None: the parameters' gradients are views.

    Args:
        parameters: Trained ones of one data type, on one device, changed in place.

    Returns:
        The tensor, shape (F,), with a gradient of zeros.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> whole = flatten_parameters(list(layer.parameters()))
        >>> layer(torch.ones(3)).sum().backward()
        >>> torch.optim.SGD([whole], lr=1.0).step()
        >>> layer.weight.grad
        tensor([[1., 1., 1.],
                [1., 1., 1.]])

    Source: apex.optimizers.FP16_Optimizer's flat master parameters; PyTorch FSDP's FlatParameter.
    """
    # Padding stays 0: its gradient is always 0, and so is what an optimizer keeps of it.
    sizes = [math.ceil(parameter.numel() / ALIGNED_FLOATS) * ALIGNED_FLOATS for parameter in parameters]
    numbers = parameters[0].new_zeros(sum(sizes), requires_grad=False)
    whole = nn.Parameter(numbers)
    whole.grad = torch.zeros_like(whole)
    for parameter, start in zip(parameters, accumulate(sizes, initial=0), strict=False):
        size, stride = parameter.size(), torch.empty_like(parameter).stride()  # channels_last stays so
        view = numbers.as_strided(size, stride, start).copy_(parameter.detach())
        # By `data`, not anew: the modules keep the very parameters that they have.
        parameter.data, parameter.grad = view, whole.grad.as_strided(size, stride, start)
    return whole
