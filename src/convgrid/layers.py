"""The layers that a pattern's names stand for.

Shapes: B batch, C channels, H height, W width, F features. Padding is (left, right, top, bottom), in pixels; the plan
works it out.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

IntOrPair = int | tuple[int, int]
Padding = tuple[int, int, int, int]


def conv(
    in_channels: int,
    filters: int,
    padding: Padding,
    *,
    kernel_size: IntOrPair = 3,
    stride: IntOrPair = 1,
    dilation: IntOrPair = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """Convolve: y[f] = bias[f] + sum over channels and window of weight * x, zeros around the input.

    Args:
        in_channels: C of the input.
        filters: C of the output.
        padding: Zeros around the input, in pixels.
        kernel_size: Height and width of the window, in pixels.
        stride: Step of the window, in pixels.
        dilation: Distance of the window's samples, in pixels.
        groups: Independent parts that the channels are split into; one a channel is a depthwise convolution.
        bias: Whether to add one learned number a filter.

    Returns:
        A module from (B, C, H, W) to (B, filters, H', W').

    Example:
        >>> conv(3, 8, (1, 1, 1, 1))(torch.zeros(2, 3, 5, 5)).shape
        torch.Size([2, 8, 5, 5])

    Source: `torch.nn.Conv2d`.
    """
    around, inside = _split(padding)
    is_sparse = _pair(kernel_size) == (1, 1) != _pair(stride)
    kind = _SparseConv2d if is_sparse else nn.Conv2d
    layer = kind(in_channels, filters, kernel_size, stride, inside, dilation, groups, bias)
    return nn.Sequential(nn.ZeroPad2d(around), layer) if around else layer


def max_pool(
    padding: Padding, *, kernel_size: IntOrPair = 2, stride: IntOrPair | None = None, ceil_mode: bool = False
) -> nn.Module:
    """Keep the largest value of each window; padding never wins.

    Args:
        padding: Pixels around the input.
        kernel_size: Height and width of the window, in pixels.
        stride: Step of the window, in pixels; None moves it by its size.
        ceil_mode: Whether a last window may hang over the end.

    Returns:
        A module from (B, C, H, W) to (B, C, H', W').

    Example:
        >>> max_pool((0, 0, 0, 0))(torch.arange(4.0).reshape(1, 1, 2, 2)).item()
        3.0

    Source: `torch.nn.MaxPool2d`.
    """
    around, inside = _split(padding)
    layer = nn.MaxPool2d(kernel_size, stride, inside, ceil_mode=ceil_mode)
    return nn.Sequential(nn.ConstantPad2d(around, -math.inf), layer) if around else layer


def average_pool(
    padding: Padding, *, kernel_size: IntOrPair = 2, stride: IntOrPair | None = None, ceil_mode: bool = False
) -> nn.Module:
    """Average each window over the pixels of the image in it; padding does not count.

    Args:
        padding: Pixels around the input.
        kernel_size: Height and width of the window, in pixels.
        stride: Step of the window, in pixels; None moves it by its size.
        ceil_mode: Whether a last window may hang over the end.

    Returns:
        A module from (B, C, H, W) to (B, C, H', W').

    Example:
        >>> average_pool((0, 0, 0, 0))(torch.arange(4.0).reshape(1, 1, 2, 2)).item()
        1.5

    Source: Keras' AveragePooling2D; `torch.nn.AvgPool2d(count_include_pad=False)`.
    """
    around, inside = _split(padding)
    layer = nn.AvgPool2d(kernel_size, stride, inside, ceil_mode, count_include_pad=False)
    return _AverageInside(around, layer) if around else layer


def l2_pool(
    padding: Padding, *, kernel_size: IntOrPair = 2, stride: IntOrPair | None = None, ceil_mode: bool = False
) -> nn.Module:
    """Take the Euclidean norm of each window: sqrt(sum x^2), with gradient 0 where the window is all zeros.

    Args:
        padding: Zeros around the input, in pixels.
        kernel_size: Height and width of the window, in pixels.
        stride: Step of the window, in pixels; None moves it by its size.
        ceil_mode: Whether a last window may hang over the end.

    Returns:
        A module from (B, C, H, W) to (B, C, H', W').

    Example:
        >>> l2_pool((0, 0, 0, 0))(torch.tensor([[[[3.0, 0.0], [4.0, 0.0]]]])).item()
        5.0

    Source: CS231n, "Convolutional Networks", pooling layer.
    """
    around, inside = _split(padding)
    summed = nn.AvgPool2d(kernel_size, stride, inside, ceil_mode, divisor_override=1)
    return nn.Sequential(*([nn.ZeroPad2d(around)] if around else []), _Norm(summed))


def batch_norm(shape: tuple[int, ...], *, momentum: float = 0.1, eps: float = 1e-5) -> nn.Module:
    """Standardise each channel over the batch, then scale and shift it: (x - mean) / sqrt(var + eps) * weight + bias.

    Args:
        shape: (C, H, W) or (F,) of one image.
        momentum: Weight of the newest batch in the running statistics that evaluation uses.
        eps: Added to the variance.

    Returns:
        A module that keeps the shape.

    Example:
        >>> batch_norm((2,))(torch.tensor([[1.0, 4.0], [3.0, 8.0]])).detach().round().tolist()
        [[-1.0, -1.0], [1.0, 1.0]]

    Source: Ioffe and Szegedy, 2015; `torch.nn.BatchNorm2d`, whose momentum is 1 less Keras'.
    """
    return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0], eps=eps, momentum=momentum)


def layer_norm(shape: tuple[int, ...], *, eps: float = 1e-5) -> nn.Module:
    """Standardise each image over all its channels and pixels, then scale and shift each channel.

    Args:
        shape: (C, H, W) or (F,) of one image.
        eps: Added to the variance.

    Returns:
        A module that keeps the shape.

    Example:
        >>> layer_norm((2,))(torch.tensor([[1.0, 3.0]])).detach().round().tolist()
        [[-1.0, 1.0]]

    Source: Ba et al., 2016; `torch.nn.GroupNorm` with one group.
    """
    return nn.GroupNorm(1, shape[0], eps=eps)


def group_norm(shape: tuple[int, ...], *, num_groups: int = 8, eps: float = 1e-5) -> nn.Module:
    """Standardise each image over each group of its channels, then scale and shift each channel.

    Args:
        shape: (C, H, W) or (F,) of one image.
        num_groups: Groups that the channels are split into; it divides C.
        eps: Added to the variance.

    Returns:
        A module that keeps the shape.

    Example:
        >>> group_norm((4,), num_groups=2)(torch.tensor([[1.0, 3.0, 10.0, 30.0]])).detach().round().tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    Source: Wu and He, 2018; `torch.nn.GroupNorm`.
    """
    return nn.GroupNorm(num_groups, shape[0], eps=eps)


def local_response(
    shape: tuple[int, ...], *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> nn.Module:
    """Divide each value by (k + alpha / size * sum of squares over `size` neighbouring channels) ** beta.

    Args:
        shape: (C, H, W) or (F,) of one image.
        size: Neighbouring channels that count, itself included.
        alpha: Weight of their squares.
        beta: Exponent.
        k: Added to the sum.

    Returns:
        A module that keeps the shape.

    Example:
        >>> local_response((3,), size=1, alpha=3.0, beta=1.0)(torch.ones(1, 3)).tolist()
        [[0.25, 0.25, 0.25]]

    Source: Krizhevsky et al., 2012, whose k is 2; `torch.nn.LocalResponseNorm`.
    """
    norm = nn.LocalResponseNorm(size, alpha, beta, k)
    return norm if len(shape) == 3 else nn.Sequential(nn.Unflatten(1, (shape[0], 1)), norm, nn.Flatten())


class Dropout(nn.Module):
    """Zero a share p of the values while training, and scale the others by 1 / (1 - p).

    Draws come from `generator`, which the training reseeds every epoch; None is torch's global one.

    Args:
        p: Share that is dropped, in [0, 1).

    Example:
        >>> layer = Dropout(p=0.5)
        >>> layer.generator = torch.Generator().manual_seed(0)
        >>> sorted(set(layer(torch.ones(4, 4)).flatten().tolist()))
        [0.0, 2.0]

    Source: Srivastava et al., 2014; `torch.nn.functional.dropout` takes no generator.
    """

    def __init__(self, *, p: float = 0.25) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop values while training; otherwise return x as it is."""
        return self._drop(x, torch.empty_like(x)) if self.training and self.p else x

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"p={self.p}"

    def _drop(self, x: Tensor, mask: Tensor) -> Tensor:
        return x * mask.bernoulli_(1 - self.p, generator=self.generator).div_(1 - self.p)


class SpatialDropout(Dropout):
    """Zero a share p of the channels while training, and scale the others by 1 / (1 - p); of a vector, of its values.

    Args:
        p: Share that is dropped, in [0, 1).

    Example:
        >>> layer = SpatialDropout(p=0.5)
        >>> layer.generator = torch.Generator().manual_seed(0)
        >>> layer(torch.ones(1, 64, 2, 2)).std((2, 3)).max().item()
        0.0

    Source: Tompson et al., 2015; Keras' SpatialDropout2D.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop channels while training; otherwise return x as it is."""
        return self._drop(x, x.new_empty((*x.shape[:2], *[1] * (x.dim() - 2)))) if self.training and self.p else x


def fully_connected(in_features: int, out_features: int) -> nn.Module:
    """Connect every input with every output: y = x weight^T + bias, after flattening a volume.

    Args:
        in_features: F of the input, or C H W of a volume.
        out_features: F of the output.

    Returns:
        A module from (B, ...) to (B, out_features).

    Example:
        >>> fully_connected(12, 5)(torch.zeros(2, 3, 2, 2)).shape
        torch.Size([2, 5])

    Source: `torch.nn.Linear`.
    """
    return nn.Sequential(Flatten(), nn.Linear(in_features, out_features))


class Flatten(nn.Module):
    """A volume as a vector, channel by channel, whose gradient comes back in the volume's own order of memory.

    Max pooling's way back is 5 times slower on a CPU where its gradient is in another order than its input.

    Example:
        >>> Flatten()(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 48])

    Source: `torch.nn.Flatten`; max_pool2d_backward_kernel_impl in ATen/native/cpu/MaxPoolKernel.cpp.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Flatten (B, ...) to (B, F)."""
        if x.requires_grad and x.dim() == 4 and not x.is_contiguous():
            x.register_hook(_in_channels_last)
        return x.flatten(1)


def _in_channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


def sparse(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Leave out pixels between; the gradient comes back in the volume's own order of memory.

    Torch's own comes in another order, and what adds it to that of other ways, and all that is before, takes up to
    twice as long on a CPU.

    Args:
        x: Shape (B, C, H, W).
        stride: Step in pixels, over height and over width.

    Returns:
        Shape (B, C, H', W').

    Example:
        >>> sparse(torch.arange(6.0).view(1, 1, 2, 3), (1, 2)).flatten().tolist()
        [0.0, 2.0, 3.0, 5.0]

    Source: slice_backward in ATen/native/TensorShape.cpp.
    """
    if x.requires_grad and not x.is_contiguous():
        return cast(Tensor, _Sparse.apply(x, *stride))
    return x[..., :: stride[0], :: stride[1]]


class _Sparse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, height: int, width: int) -> Tensor:
        ctx.shape, ctx.stride = x.shape, (height, width)
        return x[..., ::height, ::width]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (height, width) = gradients, ctx.stride
        kind = {"dtype": gradient.dtype, "device": gradient.device, "memory_format": torch.channels_last}
        whole = torch.empty(ctx.shape, **kind).zero_()
        whole[..., ::height, ::width] = gradient
        return whole, None, None


def global_average_pool() -> nn.Module:
    """Average each channel over its pixels.

    Returns:
        A module from (B, C, H, W) to (B, C).

    Example:
        >>> global_average_pool()(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])

    Source: Lin et al., "Network in Network", 2014.
    """
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _split(padding: Padding) -> tuple[Padding | None, tuple[int, int]]:
    """Padding that torch's layers can do themselves goes inside (height, width), the rest around."""
    left, right, top, bottom = padding
    return (None, (top, left)) if left == right and top == bottom else (padding, (0, 0))


def _pair(value: IntOrPair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class _SparseConv2d(nn.Conv2d):
    """A convolution of single pixels with a stride, which leaves the pixels between alone.

    They are left out before it, not by it: the way back of torch 2.13 (oneDNN) writes beside its memory for such a
    layer in channels_last on a CPU, which ends the process or changes other numbers.
    """

    def forward(self, input: Tensor) -> Tensor:
        height, width = (int(side) for side in self.padding)
        padded = functional.pad(input, (width, width, height, height)) if height or width else input
        return functional.conv2d(sparse(padded, self.stride), self.weight, self.bias, groups=self.groups)


class _AverageInside(nn.Module):
    """Average over the image's pixels in a window that is padded unevenly."""

    def __init__(self, around: Padding, pool: nn.Module) -> None:
        super().__init__()
        self.around, self.pool = around, pool

    def forward(self, x: Tensor) -> Tensor:
        inside = functional.pad(torch.ones_like(x[:1, :1]), self.around)
        return self.pool(functional.pad(x, self.around)) / self.pool(inside)


class _Norm(nn.Module):
    """The root of summed squares; the floor keeps the root's infinite slope at 0 out of the gradient."""

    def __init__(self, summed: nn.Module) -> None:
        super().__init__()
        self.summed = summed

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # float16's squares overflow above 255
        return self.summed(wide.square()).clamp_min(torch.finfo(wide.dtype).tiny).sqrt().to(x.dtype)
