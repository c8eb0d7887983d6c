"""Many parameters as one tensor, against the same network whose parameters are left apart."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from convgrid import optimizers
from convgrid.training.flat import flatten_parameters


def small_network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(5, 2))
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (a keyword that the stubs lack)


def batches_of_losses(network: nn.Module, steps: int = 4) -> Iterator[Tensor]:
    draws = torch.Generator().manual_seed(1)
    for _ in range(steps):
        yield network(torch.randn(6, 1, 5, 5, generator=draws)).square().mean()


def groups(network: nn.Module, *, as_one: bool) -> list[dict[str, object]]:
    found = [[weight for weight in network.parameters() if (weight.dim() > 1) == kernels] for kernels in (True, False)]
    return [
        {"params": [flatten_parameters(some)] if as_one else some, "kernels": kernels}
        for some, kernels in zip(found, (True, False), strict=True)
    ]


def test_parameters_keep_values_order_of_memory_and_place_in_the_network() -> None:
    network, plain = small_network(), small_network()
    before = list(network.parameters())
    whole = flatten_parameters(before)
    assert all(new is old for new, old in zip(network.parameters(), before, strict=True))
    for moved, weight in zip(before, plain.parameters(), strict=True):
        assert torch.equal(moved, weight)
        assert moved.stride() == weight.stride()
    with torch.no_grad():
        whole.mul_(2)
    for moved, weight in zip(before, plain.parameters(), strict=True):
        assert torch.equal(moved, 2 * weight)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", optimizers.__all__)
def test_every_optimizer_steps_as_it_does_on_parameters_apart(name: str, weight_decay: float) -> None:
    ended = []
    for as_one in (False, True):
        network = small_network()
        parts = groups(network, as_one=as_one)
        optimizer = getattr(optimizers, name)(parts, lr=0.05, weight_decay=weight_decay)
        for loss in batches_of_losses(network):
            for part in optimizer.param_groups:
                for weight in part["params"]:
                    if weight.grad is not None:
                        weight.grad.zero_()
            loss.backward()
            optimizer.step()
        ended.append([weight.detach().clone() for weight in network.parameters()])
    assert not any(torch.equal(*pair) for pair in zip(ended[0], small_network().parameters(), strict=True))
    for apart, together in zip(*ended, strict=True):
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


def test_gradients_add_up_in_one_tensor_and_are_those_of_parameters_apart() -> None:
    network, plain = small_network(), small_network()
    whole = flatten_parameters(list(network.parameters()))
    for loss, expected in zip(batches_of_losses(network), batches_of_losses(plain), strict=True):
        loss.backward()
        expected.backward()
    assert whole.grad is not None
    assert all(torch.equal(*pair) for pair in zip(gradients(network), gradients(plain), strict=True))
    assert whole.grad.abs().sum().item() == pytest.approx(sum(one.abs().sum().item() for one in gradients(plain)))


def gradients(network: nn.Module) -> list[Tensor]:
    return [weight.grad for weight in network.parameters() if weight.grad is not None]


def test_a_networks_weights_load_into_the_one_tensor() -> None:
    network, other = small_network(), copy.deepcopy(small_network())
    whole = flatten_parameters(list(network.parameters()))
    with torch.no_grad():
        for weight in other.parameters():
            weight.fill_(3)
    network.load_state_dict(other.state_dict())
    assert whole.sum().item() == 3 * sum(weight.numel() for weight in network.parameters())
