"""The optimizers against their docstrings' formulas in NumPy and against Keras, on one ill-conditioned quadratic."""

import inspect
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from convgrid import optimizers
from convgrid.errors import ConfigError
from convgrid.system.torch_internals import bare_step

NAMES = ["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamax", "nadam"]
CURVATURES = [0.01, 0.1, 1.0, 10.0]
START = [1.0, -2.0, 3.0, -4.0]
STEPS = 50

Twin = Callable[..., Any]


def descend(name: str, steps: int = STEPS, **options: Any) -> Any:
    """Where the optimizer stands after so many steps on sum(CURVATURES * w**2) / 2, in float64."""
    weights = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = getattr(optimizers, name)([{"params": [weights], "kernels": True}], **options)
    for _ in range(steps):
        weights.grad = torch.tensor(CURVATURES, dtype=torch.float64) * weights.detach()
        optimizer.step()
    return weights.detach().numpy()


def descend_numpy(update: Twin, *, lr: float, weight_decay: float = 0.0, **options: Any) -> Any:
    w, state = np.array(START), {}
    for t in range(1, STEPS + 1):
        g = np.array(CURVATURES) * w
        w = w * (1 - lr * weight_decay) - lr * update(g, t, state, **options)
    return w


# One update each, less the factor lr; `state` keeps what lasts.


def sgd(g: Any, t: int, state: Any, *, momentum: float = 0.0, nesterov: bool = False) -> Any:
    state["b"] = momentum * state.get("b", 0) + g
    return g + momentum * state["b"] if nesterov else state["b"]


def rmsprop(g: Any, t: int, state: Any, *, alpha: float = 0.9, momentum: float = 0.0, eps: float = 1e-7) -> Any:
    state["v"] = alpha * state.get("v", 0) + (1 - alpha) * g**2
    state["b"] = momentum * state.get("b", 0) + g / (np.sqrt(state["v"]) + eps)
    return state["b"]


def adagrad(g: Any, t: int, state: Any, *, initial_accumulator_value: float = 0.1, eps: float = 1e-7) -> Any:
    state["v"] = state.get("v", initial_accumulator_value) + g**2
    return g / (np.sqrt(state["v"]) + eps)


def adadelta(g: Any, t: int, state: Any, *, rho: float = 0.95, eps: float = 1e-7) -> Any:
    state["v"] = rho * state.get("v", 0) + (1 - rho) * g**2
    d = g * np.sqrt(state.get("u", 0) + eps) / np.sqrt(state["v"] + eps)
    state["u"] = rho * state.get("u", 0) + (1 - rho) * d**2
    return d


def adam(g: Any, t: int, state: Any, *, betas: Any = (0.9, 0.999), eps: float = 1e-7, amsgrad: bool = False) -> Any:
    b1, b2 = betas
    state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    state["v"] = b2 * state.get("v", 0) + (1 - b2) * g**2
    state["top"] = np.maximum(state.get("top", 0), state["v"])
    v = state["top"] if amsgrad else state["v"]
    return state["m"] / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)


def adamax(g: Any, t: int, state: Any, *, betas: Any = (0.9, 0.999), eps: float = 1e-7) -> Any:
    b1, b2 = betas
    state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    state["u"] = np.maximum(b2 * state.get("u", 0), np.abs(g) + eps)
    return state["m"] / ((1 - b1**t) * state["u"])


def nadam(
    g: Any, t: int, state: Any, *, betas: Any = (0.9, 0.999), eps: float = 1e-7, momentum_decay: float = 1.0
) -> Any:
    b1, b2 = betas
    k, k_next = (b1 * (1 - 0.96 ** (s * momentum_decay) / 2) for s in (t, t + 1))
    state["p"] = state.get("p", 1) * k
    state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    state["v"] = b2 * state.get("v", 0) + (1 - b2) * g**2
    ahead = k_next * state["m"] / (1 - state["p"] * k_next) + (1 - k) * g / (1 - state["p"])
    return ahead / (np.sqrt(state["v"] / (1 - b2**t)) + eps)


FORMULAS: list[tuple[str, Twin, dict[str, Any]]] = [
    ("sgd", sgd, {"lr": 0.01}),
    ("sgd", sgd, {"lr": 0.02, "momentum": 0.8}),
    ("sgd", sgd, {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.3}),
    ("rmsprop", rmsprop, {"lr": 1e-3}),
    ("rmsprop", rmsprop, {"lr": 0.01, "alpha": 0.7, "momentum": 0.5, "eps": 1e-2, "weight_decay": 0.3}),
    ("adagrad", adagrad, {"lr": 1e-3}),
    ("adagrad", adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-2, "weight_decay": 0.3}),
    ("adadelta", adadelta, {"lr": 1e-3}),
    ("adadelta", adadelta, {"lr": 1.0, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.03}),
    ("adam", adam, {"lr": 1e-3}),
    ("adam", adam, {"lr": 0.1, "betas": [0.8, 0.9], "eps": 1e-2, "weight_decay": 0.3}),
    ("adam", adam, {"lr": 0.1, "betas": [0.8, 0.9], "amsgrad": True}),
    ("adamax", adamax, {"lr": 1e-3}),
    ("adamax", adamax, {"lr": 0.1, "betas": [0.8, 0.9], "eps": 1e-2, "weight_decay": 0.3}),
    ("nadam", nadam, {"lr": 1e-3}),
    ("nadam", nadam, {"lr": 0.1, "betas": [0.8, 0.9], "eps": 1e-2, "momentum_decay": 0.1, "weight_decay": 0.3}),
]


@pytest.mark.reference("optimizer", *{name for name, _, _ in FORMULAS})
@pytest.mark.parametrize(("name", "twin", "options"), FORMULAS, ids=[f"{n}-{len(o)}" for n, _, o in FORMULAS])
def test_fifty_steps_follow_the_docstrings_formula(name: str, twin: Twin, options: dict[str, Any]) -> None:
    # torch keeps Nadam's product of momenta in float32, whose 6e-8 shrinks with the product itself.
    tolerance = 1e-8 if name == "nadam" else 1e-12
    np.testing.assert_allclose(descend(name, **options), descend_numpy(twin, **options), rtol=0, atol=tolerance)


# keras 3.15.1, torch backend, floatx float64: keras.optimizers.<X>(<options>) after 50 steps of the same quadratic;
# then how far we end from there at most, as a fraction of the coordinate's way, which is what the docstrings state.
KERAS: list[tuple[str, dict[str, Any], list[float], float]] = [
    ("sgd", {}, [0.9950122304230083, -1.902411256394063, 1.8150182014126102, -0.020615100829280447], 0),
    (
        "sgd",
        {"momentum": 0.9},
        [0.9595318923824324, -1.2877132380305982, -0.17535908160885988, 0.2667209555864334],
        0,
    ),
    (
        "sgd",
        {"momentum": 0.9, "nesterov": True},
        [0.9586927630692357, -1.2794083144442772, -0.1488611371386002, 0.019759056245041127],
        0,
    ),
    (
        "sgd",
        {"weight_decay": 0.1},
        [0.9464564961979032, -1.8094936360080722, 1.7255829245892385, -0.019500447510761475],
        0,
    ),
    ("rmsprop", {}, [0.9413316283295184, -1.9410745022583114, 2.9410095438250012, -3.9409773389307245], 1.0e-3),
    ("adagrad", {}, [0.998439702533406, -1.9889222523229184, 2.9872707469273045, -3.9872553726651643], 1.75e-7),
    ("adadelta", {}, [0.9999246075733079, -1.9999238266290995, 2.9999238242523205, -3.9999238240426096], 0),
    ("adam", {}, [0.9503097459016606, -1.9501515205163986, 2.9501005547813386, -3.950075280869738], 7.13e-5),
    (
        "adam",
        {"amsgrad": True},
        [0.9503097459016606, -1.9501515205163986, 2.9501005547813386, -3.950075280869738],
        7.13e-5,
    ),
    (
        "adam",
        {"weight_decay": 0.1},
        [0.9454745477896033, -1.9403283909499065, 2.9352895990951846, -3.9302765271831346],
        6.48e-5,
    ),
    ("adamax", {}, [0.9497058762573679, -1.949842506621353, 2.949895634929232, -3.9499219644901857], 2.37e-7),
    ("nadam", {}, [0.95447586031777, -1.9543066703741105, 2.954250907323878, -3.954223130257996], 1.05e-10),
    (
        "nadam",
        {"momentum_decay": 0.004},
        [0.95447586031777, -1.9543066703741105, 2.954250907323878, -3.954223130257996],
        1.75e-2,
    ),
]


@pytest.mark.parametrize(("name", "options", "golden", "apart"), KERAS, ids=["-".join([n, *o]) for n, o, _, _ in KERAS])
def test_fifty_steps_end_as_near_to_keras_as_the_docstring_says(
    name: str, options: dict[str, Any], golden: list[float], apart: float
) -> None:
    way = np.abs(np.array(golden) - START)
    distance = np.max(np.abs(descend(name, **options) - golden) / way)
    # 2 % for the rounding of the stated number, 1e-13 for that of 50 steps.
    assert distance == pytest.approx(apart, rel=0.02, abs=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_states_how_far_it_ends_from_keras(name: str) -> None:
    """With default values; of nadam, torch's own momentum_decay as well."""
    measured = {
        f"{apart:.0e}"
        for other, options, _, apart in KERAS
        if other == name and apart and set(options) <= {"momentum_decay"}
    }
    text = inspect.getdoc(getattr(optimizers, name)) or ""
    stated = {f"{float(number):.0e}" for number in re.findall(r"(\d[\d.]*e-\d+) apart", text)}
    assert stated == measured
    assert measured or "Keras' is the same" in text or "equal (to 1e-14)" in text


def test_default_values_are_those_of_keras() -> None:
    # keras 3.15.1, the defaults in inspect.signature of each keras.optimizers class, under torch's names.
    adam_like = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0.0}
    keras = {
        "sgd": {"lr": 0.01, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
        "rmsprop": {"lr": 0.001, "alpha": 0.9, "momentum": 0.0, "eps": 1e-7, "weight_decay": 0.0},
        "adagrad": {"lr": 0.001, "initial_accumulator_value": 0.1, "eps": 1e-7, "weight_decay": 0.0},
        "adadelta": {"lr": 0.001, "rho": 0.95, "eps": 1e-7, "weight_decay": 0.0},
        "adam": {**adam_like, "amsgrad": False},
        "adamax": adam_like,
        "nadam": {**adam_like, "momentum_decay": 1.0},  # Keras has no such knob: this value makes it Keras'
    }
    assert sorted(optimizers.__all__) == sorted(keras)
    for name, expected in keras.items():
        parameters = inspect.signature(getattr(optimizers, name)).parameters.values()
        assert {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} == expected, name


def a_network(name: str, **options: Any) -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
    kernels = [torch.full((3, 2), 2.0, requires_grad=True), torch.full((4,), -1.0, requires_grad=True)]
    bias = torch.full((3,), 5.0, requires_grad=True)
    groups = [{"params": kernels, "kernels": True}, {"params": [bias], "kernels": False}]
    return [*kernels, bias], getattr(optimizers, name)(groups, **options)


def advance(weights: list[torch.Tensor], optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        for number, weight in enumerate(weights):
            weight.grad = weight.detach() * (number + 0.3)
        optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_only_kernels_decay_and_by_the_current_lr(name: str) -> None:
    weights, optimizer = a_network(name, lr=0.1, weight_decay=0.5)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.02
    optimizer.step()
    kept = (1 - 0.1 * 0.5) * (1 - 0.02 * 0.5)
    for weight, start, share in zip(weights, [2.0, -1.0, 5.0], [kept, kept, 1.0], strict=True):
        torch.testing.assert_close(weight.detach(), torch.full_like(weight, start * share))


@pytest.mark.parametrize("name", NAMES)
def test_without_weight_decay_a_zero_gradient_moves_nothing(name: str) -> None:
    weights, optimizer = a_network(name)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert [weight.unique().tolist() for weight in weights] == [[2.0], [-1.0], [5.0]]


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "others"])
def test_one_group_alone_is_enough(kernels: bool) -> None:
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    optimizers.sgd([{"params": [weight], "kernels": kernels}], lr=0.1, weight_decay=1.0).step()
    assert weight.item() == pytest.approx(0.9 if kernels else 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_optimizer_goes_on_bit_for_bit(name: str) -> None:
    straight, optimizer = a_network(name, lr=0.05, weight_decay=0.2)
    advance(straight, optimizer, 10)
    file = io.BytesIO()
    torch.save({"weights": straight, "optimizer": optimizer.state_dict()}, file)
    advance(straight, optimizer, 10)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed, optimizer = a_network(name, lr=0.05, weight_decay=0.2)
    for weight, value in zip(resumed, saved["weights"], strict=True):
        weight.data.copy_(value)
    optimizer.load_state_dict(saved["optimizer"])
    advance(resumed, optimizer, 10)
    for ours, theirs in zip(resumed, straight, strict=True):
        assert torch.equal(ours, theirs)


def test_a_resumed_optimizer_goes_on_at_the_lr_it_was_saved_with() -> None:
    _, optimizer = a_network("sgd", lr=0.1, weight_decay=1.0)
    optimizer.param_groups[0]["lr"] = 0.01
    weights, resumed = a_network("sgd", lr=0.1, weight_decay=1.0)
    resumed.load_state_dict(optimizer.state_dict())
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    resumed.step()
    torch.testing.assert_close(weights[0].detach(), torch.full((3, 2), 2.0 * 0.99))


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    *[(name, {"lr": -1}, r"optimizer\.lr=-1 must be above 0\.") for name in NAMES],
    *[(name, {"weight_decay": -0.1}, r"optimizer\.weight_decay=-0\.1 must be 0 or above\.") for name in NAMES],
    ("adam", {"lr": 0.0}, r"optimizer\.lr=0\.0 must be above 0\."),
    ("adam", {"lr": float("nan")}, r"optimizer\.lr=nan must be above 0\."),
    ("adam", {"lr": float("inf")}, r"optimizer\.lr=inf must be above 0\."),
    ("adam", {"eps": 0.0}, r"optimizer\.eps=0\.0 must be above 0\."),
    (
        "adam",
        {"betas": [0.9, 1.0]},
        r"optimizer\.betas=\[0\.9, 1\.0\] must be two numbers, each at least 0 and below 1\.",
    ),
    ("adamax", {"betas": [0.9]}, r"optimizer\.betas=\[0\.9\] must be two numbers, each at least 0 and below 1\."),
    ("nadam", {"betas": [-0.1, 0.9]}, r"optimizer\.betas=\[-0\.1, 0\.9\] must be two numbers"),
    ("nadam", {"momentum_decay": -1.0}, r"optimizer\.momentum_decay=-1\.0 must be 0 or above\."),
    ("sgd", {"momentum": 1.0}, r"optimizer\.momentum=1\.0 must be at least 0 and below 1\."),
    ("sgd", {"nesterov": True}, r"optimizer\.nesterov=true needs momentum\. Set optimizer\.momentum above 0"),
    ("sgd", {"lr": 0.5, "weight_decay": 2.0}, r"optimizer\.weight_decay=2\.0 times optimizer\.lr=0\.5 is .* below 1\."),
    ("rmsprop", {"alpha": 1.5}, r"optimizer\.alpha=1\.5 must be at least 0 and below 1\."),
    (
        "adagrad",
        {"initial_accumulator_value": -1.0},
        r"optimizer\.initial_accumulator_value=-1\.0 must be 0 or above\.",
    ),
    ("adadelta", {"rho": -0.5}, r"optimizer\.rho=-0\.5 must be at least 0 and below 1\."),
]


@pytest.mark.parametrize(("name", "options", "message"), MISTAKES)
def test_a_value_out_of_range_is_named_as_typed(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        a_network(name, **options)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_group_keeps_what_it_says_and_may_be_a_single_tensor(weight_decay: float) -> None:
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    groups = [{"params": weights[0], "kernels": True, "lr": 0.5}, {"params": weights[1], "kernels": False}]
    optimizer = optimizers.sgd(groups, lr=0.25, weight_decay=weight_decay)
    for weight in weights:
        weight.grad = torch.ones(1)
    optimizer.step()
    kept = 1 - 0.5 * weight_decay
    assert [weight.item() for weight in weights] == [pytest.approx(kept - 0.5), 0.75]
    alone = torch.nn.Parameter(torch.ones(1))
    alone.grad = torch.ones(1)
    optimizers.sgd([{"params": alone, "kernels": False}], lr=0.25, weight_decay=weight_decay).step()
    assert alone.item() == 0.75


def test_kernels_that_are_all_frozen_do_not_decay() -> None:
    kernel, bias = torch.nn.Parameter(torch.ones(1), requires_grad=False), torch.nn.Parameter(torch.ones(1))
    groups = [{"params": [kernel], "kernels": True}, {"params": [bias], "kernels": False}]
    optimizer = optimizers.sgd(groups, lr=0.25, weight_decay=0.1)
    bias.grad = torch.ones(1)
    optimizer.step()
    assert (kernel.item(), bias.item()) == (1.0, 0.75)


def test_a_bare_step_is_the_step_and_runs_the_hooks_that_there_are() -> None:
    ended: list[torch.Tensor] = []
    for weight_decay in (0.0, 0.5):
        for is_bare in (False, True):
            weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
            weight.grad = torch.tensor([0.5, 0.25])
            made = optimizers.adam([{"params": [weight], "kernels": True}], lr=0.1, weight_decay=weight_decay)
            for _ in range(3):
                (bare_step(made) if is_bare else made.step)()
            ended.append(weight.detach())
    plain, bare, decayed, bare_decayed = ended
    assert torch.equal(plain, bare)
    assert torch.equal(decayed, bare_decayed)
    assert not torch.equal(plain, decayed)


def test_a_bare_step_leaves_out_torchs_label_for_its_profiler() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    made = optimizers.sgd([{"params": [weight], "kernels": True}])
    for step, labels in ((made.step, 1), (bare_step(made), 0)):
        with torch.profiler.profile() as profiled:
            step()
        assert sum("Optimizer.step" in event.name for event in profiled.events() or ()) == labels


@pytest.mark.parametrize("option", ["amsgrad", "maximize", "decoupled_weight_decay"])
def test_a_bare_step_of_another_kind_of_adam_is_that_kinds(option: str) -> None:
    ended: list[torch.Tensor] = []
    for is_bare in (False, True):
        weights = [torch.nn.Parameter(torch.tensor([1.0, -2.0])), torch.nn.Parameter(torch.tensor([3.0]))]
        groups = [{"params": weights[:1], option: True}, {"params": weights[1:], "lr": 0.01}]
        made = torch.optim.Adam(groups, lr=0.1, fused=True, weight_decay=0.5)
        for scale in (1.0, 0.1, -0.2):
            for weight in weights:
                weight.grad = torch.full_like(weight, scale)
            (bare_step(made) if is_bare else made.step)()
        ended.append(torch.cat([weight.detach() for weight in weights]))
    assert torch.equal(*ended)


def test_a_bare_step_takes_all_parameters_of_all_groups() -> None:
    ended: list[torch.Tensor] = []
    for is_bare in (False, True):
        weights = [torch.nn.Parameter(torch.tensor([1.0, -2.0]) * scale) for scale in (1, 2, 3)]
        made = torch.optim.Adam([{"params": weights[:2]}, {"params": weights[2:], "lr": 0.01}], lr=0.1, fused=True)
        for scale in (1.0, 0.1, -0.2):
            for weight in weights:
                weight.grad = scale * weight.detach()
            (bare_step(made) if is_bare else made.step)()
        ended.append(torch.cat([weight.detach() for weight in weights]))
    assert torch.equal(*ended)


def test_a_bare_step_is_the_optimizers_own_where_somebody_replaced_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = optimizers.sgd([{"params": [torch.nn.Parameter(torch.ones(1))], "kernels": True}])
    said: list[str] = []
    monkeypatch.setattr(made, "step", lambda: said.append("mine"))
    bare_step(made)()
    assert said == ["mine"]
