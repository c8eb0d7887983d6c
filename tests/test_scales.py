"""Scales of numbers to predict against NumPy, back and forth, and at the edges of their domains."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from convgrid.errors import DataError
from convgrid.scales import Log, Mean, MinMax, Scale, Standardize, Unchanged

RNG = np.random.default_rng(0)
PRICES = RNG.lognormal([12, 1], [0.5, 1.0], size=(60, 2))  # houses, and something small
OTHERS = RNG.lognormal([13, 0], [1.0, 0.5], size=(20, 2))

Twin = Callable[[np.ndarray, np.ndarray], np.ndarray]
SCALES: dict[Callable[[Tensor], Scale], Twin] = {  # to the twin's (training targets, targets)
    Standardize: lambda fitted, new: (new - fitted.mean(0)) / fitted.std(0),
    MinMax: lambda fitted, new: (new - fitted.min(0)) / np.ptp(fitted, 0),
    Log: lambda fitted, new: (np.log(new) - np.log(fitted).mean(0)) / np.log(fitted).std(0),
    Mean: lambda fitted, new: new / fitted.mean(0),
    Unchanged: lambda fitted, new: new,
}
DIVIDING = [Standardize, MinMax, Log, Mean]


@pytest.mark.reference("target", "standardize", "minmax", "log", "none")
@pytest.mark.parametrize("scale", SCALES)
def test_a_scale_is_its_formula_fitted_on_the_training_part(scale: Callable[[Tensor], Scale]) -> None:
    made = scale(torch.tensor(PRICES))
    for targets in (PRICES, OTHERS):  # what is encoded later changes nothing
        encoded = made.encode(torch.tensor(targets))
        np.testing.assert_allclose(encoded.numpy(), SCALES[scale](PRICES, targets), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_decoding_undoes_encoding(scale: Callable[[Tensor], Scale]) -> None:
    made = scale(torch.tensor(PRICES, dtype=torch.float32))
    others = torch.tensor(OTHERS, dtype=torch.float32)
    torch.testing.assert_close(made.decode(made.encode(others)), others, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", DIVIDING)
@pytest.mark.parametrize("value", [7.0, 0.1, 250_000.0])
def test_a_column_that_never_varies_is_not_divided_by_next_to_nothing(scale: type, value: float) -> None:
    """0.1 is no binary fraction: a thousand of them deviate from their mean by a rounding."""
    made = scale(torch.full((1000, 1), value))
    encoded = made.encode(torch.tensor([[value], [value * 1.5]]))
    assert encoded.abs().max() <= max(1.5, value)
    torch.testing.assert_close(made.decode(encoded), torch.tensor([[value], [value * 1.5]]), rtol=1e-5, atol=0)


def test_a_mean_of_0_divides_by_1() -> None:
    assert Mean(torch.zeros(3, 1)).encode(torch.tensor([[2.0]])).item() == 2


@pytest.mark.parametrize("least", [0.0, -3.5])
def test_the_logarithm_takes_targets_above_0_only(least: float) -> None:
    with pytest.raises(DataError) as caught:
        Log(torch.tensor([[5.0, 1.0], [2.0, least]]))
    assert str(caught.value) == (
        f"target=log needs targets above 0; the least of the training part is {least:g}. Use target=standardize."
    )


def test_the_logarithms_predictions_are_always_above_0() -> None:
    made = Log(torch.tensor(PRICES))
    assert (made.decode(torch.full((1, 2), -20.0, dtype=torch.float64)) > 0).all()


@pytest.mark.parametrize("scale", DIVIDING)
def test_a_scales_numbers_travel_with_the_weights(scale: type) -> None:
    made, other = scale(torch.tensor(PRICES)), scale(torch.tensor(OTHERS))
    other.load_state_dict(made.state_dict())
    assert len(made.state_dict()) >= 1
    assert torch.equal(other.encode(torch.tensor(OTHERS)), made.encode(torch.tensor(OTHERS)))


POSITIVE = arrays(np.float64, (7, 2), elements=st.floats(1e-3, 1e6))


@pytest.mark.parametrize("scale", SCALES)
@given(targets=POSITIVE)
def test_any_targets_come_back(scale: Callable[[Tensor], Scale], targets: np.ndarray) -> None:
    made = scale(torch.from_numpy(targets))
    encoded = made.encode(torch.from_numpy(targets))
    assert encoded.isfinite().all()
    np.testing.assert_allclose(made.decode(encoded).numpy(), targets, rtol=1e-6, atol=1e-6)
