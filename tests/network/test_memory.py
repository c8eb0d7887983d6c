"""What a training step takes, worked out by hand; that the estimate holds is for benchmarks/memory.py to show."""

from pathlib import Path

import pytest
import torch
import yaml

from convgrid.component import Component
from convgrid.config import CONF
from convgrid.network.memory import training_bytes
from networks import lay_out

SGD = Component("sgd", "convgrid.optimizers.sgd", {"momentum": 0.0})


def numbers(pattern: str, batch_size: int = 2, optimizer: Component = SGD, **options: object) -> float:
    return training_bytes(lay_out(pattern, (1, 4, 4), 1, **options), batch_size, optimizer) / 4  # pyright: ignore


def test_weights_images_and_what_is_needed_at_the_worst_moment_add_up() -> None:
    # 9 weights of a bias-free convolution and 17 of the output; 2 images of 16 pixels.
    # Back in the relu: its output of 32, 2 scores, the gradients of its output and of its input.
    assert numbers("INPUT -> CONV(1, bias=false) -> RELU -> FC") == 2 * 26 + 32 + 32 + 2 + 32 + 32
    # With two channels back in the output layer: the relu's 64, their flat copy, 2 scores, gradients of both.
    assert numbers("INPUT -> CONV(2, bias=false) -> RELU -> FC") == 2 * 51 + 32 + 64 + 64 + 2 + 2 + 64


def test_a_sum_keeps_nothing_and_hands_on_one_gradient() -> None:
    # A tanh keeps its output, the convolution behind it takes the same, a SUM keeps nothing. At worst, back in the
    # output layer, are there: tanh1, tanh2, sum1 for the weights' gradient, this, scores, gradients of both.
    pattern = "INPUT -> CONV(1, bias=false) -> TANH -> SUM[CONV(1, bias=false) -> TANH | SKIP] -> FC"
    assert numbers(pattern) == 2 * 35 + 32 + (32 + 32 + 32 + 17 + 2 + 2 + 32)


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml")))
def test_an_optimizer_keeps_as_many_numbers_a_weight_as_is_counted(option: str) -> None:
    options = yaml.safe_load(Path(CONF, "optimizer", f"{option}.yaml").read_text())
    target = options.pop("_target_")
    for changes in ({}, {"momentum": 0.9}, {"amsgrad": True}):
        if not changes.keys() <= options.keys():
            continue
        component = Component(option, target, options | changes)
        weight = torch.nn.Parameter(torch.ones(50, 50))
        weight.grad = torch.ones(50, 50)
        optimizer = component.bind()([{"params": [weight], "kernels": True}])
        optimizer.step()
        kept = sum(
            state.numel()
            for states in optimizer.state.values()
            for state in states.values()
            if isinstance(state, torch.Tensor) and state.dim()
        )
        pattern, weights = "INPUT -> GAP -> FC(9) -> FC", 2 * 9 + 10
        assert 0 <= numbers(pattern, 99, component) - numbers(pattern, 99) - kept / 2500 * weights < 1
