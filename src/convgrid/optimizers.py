"""The optimizers: torch's, with Keras 3's default values, and decoupled weight decay of the kernels for every one.

In the formulas w is a parameter, g its gradient, t the step counted from 1; all states start at 0 unless stated. How
far torch's update ends from Keras' was measured with Keras 3.15.1 (torch backend, float64, default values) in 50 steps
on the quadratic sum(c * w**2) / 2 with curvatures c from 0.01 to 10, as a fraction of the way gone; the numbers and the
test are in tests/test_optimizers.py.

`parameters` are torch's parameter groups; those with `"kernels": True` decay. Weight decay is
w *= 1 - lr * weight_decay before the update, as in Keras, with the group's lr of that step. A closure given to `step`
runs after that, so compute the gradients first and call `step()` bare.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from convgrid.errors import ConfigError
from convgrid.system.torch_internals import foreach_mul_

__all__ = ["adadelta", "adagrad", "adam", "adamax", "nadam", "rmsprop", "sgd"]

# Those that treat every number by itself, whichever parameter it is in: all of these.
ELEMENTWISE = frozenset(f"{__name__}.{name}" for name in __all__)

ParameterGroups = list[dict[str, Any]]

# foreach=True: the same arithmetic on every device, and on CPU up to 1.7 times faster than a loop over parameters.
# fused=True: for Adam, on CPU, 2.5 times faster than that.


def sgd(
    parameters: ParameterGroups,
    *,
    lr: float = 0.01,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Gradient descent, with momentum where asked.

    b = momentum * b + g; w -= lr * b, or with nesterov w -= lr * (g + momentum * b).
    Keras keeps lr inside b: equal (to 1e-14) at a constant lr, while under a schedule Keras' old gradients keep the lr
    of their time and torch's take the current one.

    Args:
        parameters: Parameter groups; those flagged "kernels" decay.
        lr: Learning rate, above 0.
        momentum: Share of the last step's direction that is kept, in [0, 1).
        nesterov: Look ahead along the momentum; needs momentum above 0.
        weight_decay: Decoupled weight decay, 0 or above; lr * weight_decay is the share of a kernel lost each step.

    Returns:
        The optimizer.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> w.grad = torch.tensor([2.0])
        >>> sgd([{"params": [w], "kernels": True}], lr=0.1).step()
        >>> w.data
        tensor([0.8000])

    Source: Sutskever et al., ICML 2013; `torch.optim.SGD`; defaults of Keras 3 `optimizers.SGD`.
    """
    _check(lr=lr, momentum=momentum, weight_decay=weight_decay)
    if nesterov and momentum == 0:
        raise ConfigError("optimizer.nesterov=true needs momentum. Set optimizer.momentum above 0, such as 0.9.")
    optimizer = torch.optim.SGD(
        _groups(parameters, weight_decay), lr=lr, momentum=momentum, nesterov=nesterov, foreach=True
    )
    return _decaying(optimizer, weight_decay)


def rmsprop(
    parameters: ParameterGroups,
    *,
    lr: float = 1e-3,
    alpha: float = 0.9,
    momentum: float = 0.0,
    eps: float = 1e-7,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Gradients divided by the root of their recent mean square.

    v = alpha * v + (1 - alpha) * g**2; b = momentum * b + g / (sqrt(v) + eps); w -= lr * b.
    Keras has eps inside the root, sqrt(v + eps), so its steps are smaller where |g| is not far above sqrt(eps) = 3e-4:
    1e-3 apart after 50 steps. It also keeps lr inside b (see sgd). There is no `centered`: torch's takes the root of a
    difference that rounds below 0 after some hundred steady gradients, and gives NaN.

    Args:
        parameters: Parameter groups; those flagged "kernels" decay.
        lr: Learning rate, above 0.
        alpha: Share of the mean square kept each step, in [0, 1); Keras' rho.
        momentum: Share of the last step's direction that is kept, in [0, 1).
        eps: Keeps the divisor from 0, above 0.
        weight_decay: Decoupled weight decay, 0 or above.

    Returns:
        The optimizer.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> w.grad = torch.tensor([2.0])
        >>> rmsprop([{"params": [w], "kernels": True}], lr=0.1, alpha=0.75).step()
        >>> w.data
        tensor([0.8000])

    Source: Tieleman and Hinton, Coursera lecture 6.5, 2012; `torch.optim.RMSprop`; defaults of Keras 3
    `optimizers.RMSprop`.
    """
    _check(lr=lr, alpha=alpha, momentum=momentum, eps=eps, weight_decay=weight_decay)
    optimizer = torch.optim.RMSprop(
        _groups(parameters, weight_decay), lr=lr, alpha=alpha, momentum=momentum, eps=eps, foreach=True
    )
    return _decaying(optimizer, weight_decay)


def adagrad(
    parameters: ParameterGroups,
    *,
    lr: float = 1e-3,
    initial_accumulator_value: float = 0.1,
    eps: float = 1e-7,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Gradients divided by the root of the sum of all their squares so far.

    v = v + g**2, from initial_accumulator_value; w -= lr * g / (sqrt(v) + eps).
    Keras has eps inside the root, sqrt(v + eps): 2e-7 apart after 50 steps.

    Args:
        parameters: Parameter groups; those flagged "kernels" decay.
        lr: Learning rate, above 0.
        initial_accumulator_value: Where the sum of squares starts, 0 or above.
        eps: Keeps the divisor from 0, above 0.
        weight_decay: Decoupled weight decay, 0 or above.

    Returns:
        The optimizer.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> w.grad = torch.tensor([2.0])
        >>> adagrad([{"params": [w], "kernels": True}], lr=0.1, initial_accumulator_value=0.0).step()
        >>> w.data
        tensor([0.9000])

    Source: Duchi et al., JMLR 2011; `torch.optim.Adagrad`; defaults of Keras 3 `optimizers.Adagrad`.
    """
    _check(lr=lr, initial_accumulator_value=initial_accumulator_value, eps=eps, weight_decay=weight_decay)
    optimizer = torch.optim.Adagrad(
        _groups(parameters, weight_decay),
        lr=lr,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
        foreach=True,
    )
    return _decaying(optimizer, weight_decay)


def adadelta(
    parameters: ParameterGroups,
    *,
    lr: float = 1e-3,
    rho: float = 0.95,
    eps: float = 1e-7,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Gradients scaled by the ratio of recent steps to recent gradients; the paper's has lr=1.

    v = rho * v + (1 - rho) * g**2; d = g * sqrt(u + eps) / sqrt(v + eps); u = rho * u + (1 - rho) * d**2; w -= lr * d.
    Keras' is the same.

    Args:
        parameters: Parameter groups; those flagged "kernels" decay.
        lr: Learning rate, above 0.
        rho: Share of the mean squares kept each step, in [0, 1).
        eps: Keeps the divisor from 0 and sets the size of the first step, above 0.
        weight_decay: Decoupled weight decay, 0 or above.

    Returns:
        The optimizer.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> w.grad = torch.tensor([2.0])
        >>> adadelta([{"params": [w], "kernels": True}], lr=1.0, rho=0.75, eps=0.01).step()
        >>> w.data
        tensor([0.8010])

    Source: Zeiler, 2012, arXiv:1212.5701; `torch.optim.Adadelta`; defaults of Keras 3 `optimizers.Adadelta`.
    """
    _check(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
    optimizer = torch.optim.Adadelta(_groups(parameters, weight_decay), lr=lr, rho=rho, eps=eps, foreach=True)
    return _decaying(optimizer, weight_decay)


def adam(
    parameters: ParameterGroups,
    *,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-7,
    amsgrad: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """The mean gradient over the root of the mean square, both corrected for starting at 0.

    m = b1 * m + (1 - b1) * g; v = b2 * v + (1 - b2) * g**2; with amsgrad v stands below for its maximum so far;
    w -= lr * (m / (1 - b1**t)) / (sqrt(v / (1 - b2**t)) + eps).
    Keras adds eps before the correction, which makes it eps / sqrt(1 - b2**t) here, 32 eps at t = 1: 7e-5 apart after
    50 steps.

    Args:
        parameters: Parameter groups; those flagged "kernels" decay.
        lr: Learning rate, above 0.
        betas: b1 and b2, the shares of m and v kept each step, in [0, 1).
        eps: Keeps the divisor from 0, above 0.
        amsgrad: Divide by the largest v so far.
        weight_decay: Decoupled weight decay, 0 or above, which makes it AdamW.

    Returns:
        The optimizer.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> w.grad = torch.tensor([2.0])
        >>> adam([{"params": [w], "kernels": True}], lr=0.1).step()
        >>> w.data
        tensor([0.9000])

    Source: Kingma and Ba, ICLR 2015; `torch.optim.Adam`; defaults of Keras 3 `optimizers.Adam`.
    """
    _check(lr=lr, eps=eps, weight_decay=weight_decay)
    optimizer = torch.optim.Adam(
        _groups(parameters, weight_decay), lr=lr, betas=_pair(betas), eps=eps, amsgrad=amsgrad, fused=True
    )
    return _decaying(optimizer, weight_decay)


def adamax(
    parameters: ParameterGroups,
    *,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-7,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam with the decayed maximum of the gradients in place of their mean square.

    m = b1 * m + (1 - b1) * g; u = max(b2 * u, |g| + eps); w -= lr * m / ((1 - b1**t) * u).
    Keras adds eps after the maximum, u = max(b2 * u, |g|) and m / (u + eps): 2e-7 apart after 50 steps.

    Args:
        parameters: Parameter groups; those flagged "kernels" decay.
        lr: Learning rate, above 0.
        betas: b1 and b2, the shares of m and u kept each step, in [0, 1).
        eps: Keeps the divisor from 0, above 0.
        weight_decay: Decoupled weight decay, 0 or above.

    Returns:
        The optimizer.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> w.grad = torch.tensor([2.0])
        >>> adamax([{"params": [w], "kernels": True}], lr=0.1).step()
        >>> w.data
        tensor([0.9000])

    Source: Kingma and Ba, ICLR 2015, section 7.1; `torch.optim.Adamax`; defaults of Keras 3 `optimizers.Adamax`.
    """
    _check(lr=lr, eps=eps, weight_decay=weight_decay)
    optimizer = torch.optim.Adamax(_groups(parameters, weight_decay), lr=lr, betas=_pair(betas), eps=eps, foreach=True)
    return _decaying(optimizer, weight_decay)


def nadam(
    parameters: ParameterGroups,
    *,
    lr: float = 1e-3,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-7,
    momentum_decay: float = 1.0,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam with Nesterov's look-ahead and a momentum that warms up from b1 / 2 to b1.

    k_t = b1 * (1 - 0.96**(t * momentum_decay) / 2); p_t = k_1 * ... * k_t; m and v as in Adam;
    w -= lr * (k_(t+1) * m / (1 - p_(t+1)) + (1 - k_t) * g / (1 - p_t)) / (sqrt(v / (1 - b2**t)) + eps).
    With momentum_decay=1 this is Keras' (1e-10 apart after 50 steps, for torch keeps p in float32). torch's own
    default of 0.004 is 1.8e-2 apart.

    Args:
        parameters: Parameter groups; those flagged "kernels" decay.
        lr: Learning rate, above 0.
        betas: b1 and b2, the shares of m and v kept each step, in [0, 1).
        eps: Keeps the divisor from 0, above 0.
        momentum_decay: How fast the momentum warms up, 0 or above; 1 takes about 50 steps, 0.004 about 10,000.
        weight_decay: Decoupled weight decay, 0 or above.

    Returns:
        The optimizer.

    Raises:
        ConfigError: If a value is out of its range.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> w.grad = torch.tensor([2.0])
        >>> nadam([{"params": [w], "kernels": True}], lr=0.1).step()
        >>> w.data
        tensor([0.8937])

    Source: Dozat, ICLR workshop 2016; `torch.optim.NAdam`; defaults of Keras 3 `optimizers.Nadam`.
    """
    _check(lr=lr, eps=eps, momentum_decay=momentum_decay, weight_decay=weight_decay)
    optimizer = torch.optim.NAdam(
        _groups(parameters, weight_decay),
        lr=lr,
        betas=_pair(betas),
        eps=eps,
        momentum_decay=momentum_decay,
        foreach=True,
    )
    return _decaying(optimizer, weight_decay)


def _groups(parameters: ParameterGroups, weight_decay: float) -> ParameterGroups:
    """One group where nothing tells kernels from others: each costs 50 us a step."""
    if weight_decay or any(group.keys() != {"params", "kernels"} for group in parameters):
        return parameters
    each = [[group["params"]] if isinstance(group["params"], Tensor) else group["params"] for group in parameters]
    return [{"params": [parameter for some in each for parameter in some], "kernels": False}]


def _decaying(optimizer: Optimizer, weight_decay: float) -> Optimizer:
    """Lets the kernels decay before each update."""

    @torch.no_grad()
    def decay(optimizer: Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            trained = [kernel for kernel in group["params"] if kernel.requires_grad]
            if group["kernels"] and trained:
                keep = 1 - group["lr"] * weight_decay
                foreach_mul_(trained, keep)

    if weight_decay > 0:
        optimizer.register_step_pre_hook(decay)
    return optimizer


_SHARE = (lambda value: 0 <= value < 1, "at least 0 and below 1")
_NOT_NEGATIVE = (lambda value: 0 <= value < math.inf, "0 or above")
_POSITIVE = (lambda value: 0 < value < math.inf, "above 0")
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": _POSITIVE,
    "eps": _POSITIVE,
    "momentum": _SHARE,
    "alpha": _SHARE,
    "rho": _SHARE,
    "momentum_decay": _NOT_NEGATIVE,
    "initial_accumulator_value": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
}


def _check(*, lr: float, weight_decay: float, **others: float) -> None:
    for key, value in {"lr": lr, "weight_decay": weight_decay, **others}.items():
        holds, rule = _RANGES[key]
        if not holds(value):
            raise ConfigError(f"optimizer.{key}={value} must be {rule}.")
    if lr * weight_decay >= 1:
        raise ConfigError(
            f"optimizer.weight_decay={weight_decay} times optimizer.lr={lr} is the share of a kernel lost each step "
            "and must be below 1."
        )


def _pair(betas: Sequence[float]) -> tuple[float, float]:
    """The tuple that torch wants from the list that YAML has."""
    holds, rule = _SHARE
    if len(betas) != 2 or not all(map(holds, betas)):
        raise ConfigError(f"optimizer.betas={list(betas)} must be two numbers, each {rule}.")
    return betas[0], betas[1]
