"""All private names of torch that convgrid uses, and what each is for: what to look at when torch is a new one.

No other module names one. The kernels of `training/tape.py` are torch's operators, `torch.ops.aten`, whose signatures
may change as well; its tests hold them against autograd.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import torch
from torch.fx.experimental import _config
from torch.optim import Optimizer

# A Dirichlet draw from a generator; torch.distributions takes none.
sample_dirichlet = torch._sample_dirichlet  # pyright: ignore[reportPrivateImportUsage]

# All tensors times a number in one call, as torch's own optimizers do it with foreach=True.
foreach_mul_ = torch._foreach_mul_  # pyright: ignore[reportPrivateImportUsage]

# Settings of torch's tracer.
tracing: Any = _config

# What Adam with fused=True ends in: the update of all tensors in one kernel.
fused_adam_ = torch._fused_adam_  # pyright: ignore[reportPrivateImportUsage]


def import_exporter() -> None:
    """Import now what the first `torch.export.export` imports, which takes a second.

    Example:
        >>> import_exporter()
    """
    with suppress(ImportError):  # where it is called otherwise, the export imports it
        import torch.export._trace  # noqa: F401


def any_sides() -> AbstractContextManager[object]:
    """Let `torch.export` make a program for images whose maps may have one row, which it takes for a case of its own.

    Example:
        >>> with any_sides():
        ...     torch.fx.experimental._config.backed_size_oblivious
        True
    """
    return tracing.patch(backed_size_oblivious=True)


def bare_step(optimizer: Optimizer) -> Callable[[], object]:
    """Find an optimizer's step without torch's label for its profiler, which takes longer than to update few weights.

    That of a fused Adam, once it has been taken, is its kernel alone: the rest takes 30 us, each time for the same.

    Args:
        optimizer: Any of torch's kind, whose parameters have gradients.

    Returns:
        What `optimizer.step` does; itself where somebody hooked into it, or it has no label.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> w.grad = torch.tensor([2.0])
        >>> bare_step(torch.optim.SGD([w], lr=0.1))()
        >>> w.data
        tensor([0.8000])

    Source: `torch.optim.Optimizer.profile_hook_step`; `torch.optim.adam._fused_adam`.
    """
    hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    step: Any = type(optimizer).step
    if any(hooks) or "step" in vars(optimizer) or not getattr(step, "hooked", False):
        return optimizer.step
    groups = optimizer.param_groups
    is_fused = type(optimizer) is torch.optim.Adam and all(group["fused"] and _is_plain(group) for group in groups)
    is_begun = all(weights in optimizer.state for group in groups for weights in group["params"])
    return partial(_step_adam if is_fused and is_begun else step.__wrapped__, optimizer)


def _is_plain(group: dict[str, Any]) -> bool:
    return not (group["amsgrad"] or group["maximize"] or group["decoupled_weight_decay"])


@torch.no_grad()
def _step_adam(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        states = [optimizer.state[weights] for weights in group["params"]]
        averages, squares, steps = ([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step"))
        for step in steps:
            step += 1
        beta1, beta2 = group["betas"]
        fused_adam_(
            group["params"],
            [weights.grad for weights in group["params"]],
            averages,
            squares,
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
