"""A plain network's way there and back as a fixed list of kernel calls.

Modules and autograd find out at every step what is the same at every step: with small images that takes as long as a
third of the arithmetic. The kernels are autograd's, so every gradient is, bit for bit, what autograd gives; on x86,
where that is tested.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import dropwhile
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from convgrid.activations import relu
from convgrid.layers import Flatten
from convgrid.network.build import Activation

aten = torch.ops.aten


class Tape:
    """The layers of a network in order, each with its way back.

    Args:
        layers: From the images to the scores.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), Activation(partial(relu)), Flatten(), nn.Linear(8, 2))
        >>> for weights in network.parameters():
        ...     weights.grad = torch.zeros_like(weights)
        >>> tape = Tape.record(network)
        >>> tape.forward(torch.ones(1, 1, 4, 4)).shape
        torch.Size([1, 2])
        >>> tape.backward(torch.ones(1, 2))
        >>> network[-1].bias.grad
        tensor([1., 1.])

    Source: R. E. Wengert, "A simple automatic derivative evaluation program", 1964.
    """

    def __init__(self, layers: Sequence["_Layer"]) -> None:
        self._there = layers
        # Nothing is learnt below the first weights, so that the way back ends with them.
        self._back = [*dropwhile(lambda layer: not _has_weights(layer), layers)][::-1]

    @classmethod
    def record(cls, network: nn.Module) -> Self | None:
        """Take down the layers of a network.

        Args:
            network: Any; it is left as it is.

        Returns:
            The tape; None for a network that is not a sequence of convolutions, ReLU, max pooling and fully connected
            layers, weights first, all of them trained, each at one place.
        """
        layers: list[_Layer] = []
        modules = [*_leaves(network)]
        if len({*modules}) < len(modules) or not all(weights.requires_grad for weights in network.parameters()):
            return None
        for module in modules:
            layer = _layer(module, is_first=not any(map(_has_weights, layers)))
            if layer is None:
                return None
            layers.append(layer)
            if isinstance(layer, _MaxPool) and isinstance(layers[-2:][0], _ReLU):
                # Pooled first, fewer numbers pass the ReLU, there and back. It changes no bit:
                layers[-2:] = layers[:-3:-1]  # the largest of positive parts is the largest one's positive part
        return cls(layers)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Score images, and keep what the way back needs.

        Args:
            images: Normalised, shape (B, C, H, W).

        Returns:
            Scores, shape (B, U).
        """
        x = images
        for layer in self._there:
            x = layer.forward(x)
        return x

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> None:
        """Overwrite the `grad` of every parameter; once after each `forward`.

        Args:
            gradient: Of the scores, shape (B, U); it may be overwritten, too.
        """
        for layer in self._back:
            gradient = layer.backward(gradient)


def crossentropy(scores: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each example, - log softmax(scores)[target], and the gradient of what the examples add up to.

    Args:
        scores: Shape (B, C).
        targets: Classes, shape (B,).
        share: What each example counts, shape (B,).

    Returns:
        Losses in nats, shape (B,), and the gradient of sum(share * losses), shape (B, C).

    Example:
        >>> crossentropy(torch.zeros(1, 2), torch.tensor([0]), torch.ones(1))
        (tensor([0.6931]), tensor([[-0.5000,  0.5000]]))
    """
    logarithms = scores.log_softmax(-1)
    none = (None, 0, -100)  # no class weights, no reduction, and torch's own label of what is to be ignored
    losses, weight = aten.nll_loss_forward.default(logarithms, targets, *none)
    gradient = aten.nll_loss_backward.default(share, logarithms, targets, *none, weight)
    return losses, aten._log_softmax_backward_data.default(gradient, logarithms, -1, scores.dtype)


class _Layer(Protocol):
    """What a tape asks of a layer; the way back lets go of what the way there has kept."""

    def forward(self, x: Tensor) -> Tensor: ...

    def backward(self, gradient: Tensor) -> Tensor: ...


class _Conv:
    def __init__(self, module: nn.Conv2d, *, is_first: bool) -> None:
        weight, bias = module.weight, module.bias
        self._weight, self._bias = weight, bias
        assert not isinstance(module.padding, str)
        self._geometry = (module.stride, module.padding, module.dilation)
        self._groups = module.groups
        self._sizes = None if bias is None else [len(bias)]
        self._wanted = [not is_first, True, bias is not None]  # gradients of input, weight, bias; images need none

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return torch.conv2d(x, self._weight, self._bias, *self._geometry, self._groups)

    def backward(self, gradient: Tensor) -> Tensor:
        further, weight, bias = aten.convolution_backward.default(
            gradient, self._x, self._weight, self._sizes, *self._geometry, False, (0, 0), self._groups, self._wanted
        )
        del self._x
        _write(self._weight, weight)
        if self._bias is not None:
            _write(self._bias, bias)
        return further


class _Linear:
    def __init__(self, module: nn.Linear, *, is_first: bool) -> None:
        self._weight, self._bias, self._is_first = module.weight, module.bias, is_first

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return functional.linear(x, self._weight, self._bias)

    def backward(self, gradient: Tensor) -> Tensor:
        torch.mm(gradient.t(), self._x, out=self._weight.grad)
        torch.sum(gradient, 0, out=self._bias.grad)
        del self._x
        return gradient if self._is_first else gradient.mm(self._weight)


class _ReLU:
    def forward(self, x: Tensor) -> Tensor:
        self._y = torch.relu_(x)  # in place: no kernel before it asks for its own output on the way back
        return self._y

    def backward(self, gradient: Tensor) -> Tensor:
        aten.threshold_backward.grad_input(gradient, self._y, 0, grad_input=gradient)
        del self._y
        return gradient


class _MaxPool:
    def __init__(self, module: nn.MaxPool2d) -> None:
        sides = (module.kernel_size, module.stride, module.padding, module.dilation)
        self._geometry = (*map(_pair, sides), module.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        y, self._places = aten.max_pool2d_with_indices.default(x, *self._geometry)
        return y

    def backward(self, gradient: Tensor) -> Tensor:
        further = aten.max_pool2d_with_indices_backward.default(gradient, self._x, *self._geometry, self._places)
        del self._x, self._places
        return further


class _Flatten:
    def forward(self, x: Tensor) -> Tensor:
        self._shape = x.shape
        # The gradient gets the order of memory that autograd gives it: in another, convolutions may round otherwise.
        self._order = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        return x.flatten(1)

    def backward(self, gradient: Tensor) -> Tensor:
        return gradient.view(self._shape).contiguous(memory_format=self._order)


def _leaves(module: nn.Module) -> Iterable[nn.Module]:
    if type(module) is not nn.Sequential:
        yield module
        return
    for child in module:
        yield from _leaves(child)


def _layer(module: nn.Module, *, is_first: bool) -> _Layer | None:
    """The one for a module; None where there is none."""
    if type(module) not in (nn.Conv2d, nn.Linear, nn.MaxPool2d, Activation, Flatten):  # a kind of them may do otherwise
        return None
    match module:
        case nn.Conv2d(padding_mode="zeros") if not isinstance(module.padding, str) and module.weight[0].numel() > 1:
            return _Conv(module, is_first=is_first)  # a weight of one number has two orders of memory
        case nn.Linear() if module.bias is not None:
            return _Linear(module, is_first=is_first)
        case nn.MaxPool2d(return_indices=False) if not is_first:
            return _MaxPool(module)
        case Activation(function=partial(func=function)) if function is relu and not is_first:
            return _ReLU()  # in place, but not on the images
        case Flatten():
            return _Flatten()
        case _:
            return None


def _has_weights(layer: _Layer) -> bool:
    return isinstance(layer, _Conv | _Linear)


def _pair(sides: int | tuple[int, ...]) -> tuple[int, ...]:
    return (sides, sides) if isinstance(sides, int) else sides


def _write(parameter: Tensor, gradient: Tensor) -> None:
    assert parameter.grad is not None  # a view of the one tensor that the optimizer sees: filled, not replaced
    parameter.grad.copy_(gradient)
