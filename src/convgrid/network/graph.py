"""A planned network that branches, as a module.

Shapes: B batch, C channels, H height, W width, F features.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from convgrid.layers import sparse
from convgrid.network.planned import IMAGE


class Branching(nn.Module):
    """Layers in order, each given the outputs that it takes; an output is let go of once no later layer takes it.

    Args:
        layers: By name, in topological order.
        inputs: Names of the layers that each takes, by its own.

    Example:
        >>> network = Branching({"relu1": nn.ReLU(), "sum1": Sum()}, {"relu1": ["input"], "sum1": ["relu1", "input"]})
        >>> network(torch.tensor([[-1.0, 2.0]]))
        tensor([[-1.,  4.]])
    """

    def __init__(self, layers: Mapping[str, nn.Module], inputs: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        last = {source: name for name in layers for source in inputs[name]}
        self._steps = [
            (name, tuple(inputs[name]), tuple(source for source in dict.fromkeys(inputs[name]) if last[source] == name))
            for name in layers
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Run step by step."""
        made = {IMAGE: x}
        del x
        name = IMAGE
        for name, inputs, finished in self._steps:
            taken = [made[source] for source in inputs]
            for source in finished:
                del made[source]
            made[name] = self._modules[name](*taken)  # pyright: ignore[reportOptionalCall]
        return made[name]


class Sum(nn.Module):
    """Add equal shapes.

    Example:
        >>> Sum()(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
        tensor([4., 6.])

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016.
    """

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """From the first to the last."""
        for other in others:
            x = x + other
        return x


class Concat(nn.Module):
    """Put channels behind one another: (B, C_i, H, W) -> (B, sum C_i, H, W).

    Example:
        >>> Concat()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4)).shape
        torch.Size([2, 8, 4, 4])

    Source: Szegedy et al., "Going Deeper with Convolutions", 2015.
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        """In the pattern's order."""
        return torch.cat(inputs, 1)


class Mul(nn.Module):
    """Multiply equal shapes; vectors (B, C) scale the channels of a volume (B, C, H, W).

    Example:
        >>> Mul()(torch.ones(1, 2, 1, 2), torch.tensor([[3.0, 4.0]])).tolist()
        [[[[3.0, 3.0]], [[4.0, 4.0]]]]

    Source: Hu et al., "Squeeze-and-Excitation Networks", 2018.
    """

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """From the first to the last."""
        for other in others:
            x, other = _broadcast(x, other)
            x = x * other
        return x


class PadSkip(nn.Module):
    """Every so many pixels, with channels of zeros around: (B, C, H, W) -> (B, channels, H / stride, W / stride).

    Args:
        channels: To be made, at least C; half of the new ones come first.
        stride: Step in pixels, over height and over width.

    Example:
        >>> PadSkip(channels=4, stride=(2, 2))(torch.ones(1, 2, 2, 2)).flatten().tolist()
        [0.0, 1.0, 1.0, 0.0]

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016, option A.
    """

    def __init__(self, *, channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Leave out pixels, add channels."""
        more = self.channels - x.shape[1]
        return functional.pad(sparse(x, self.stride), (0, 0, 0, 0, more // 2, more - more // 2))

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"channels={self.channels}, stride={self.stride}"


def _broadcast(one: Tensor, other: Tensor) -> Iterable[Tensor]:
    most = max(one.dim(), other.dim())
    return (x[(..., *[None] * (most - x.dim()))] for x in (one, other))
