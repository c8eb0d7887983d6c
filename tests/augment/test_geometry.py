"""Warps against scipy and Keras, copies of pixels against NumPy's pad."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage

from convgrid.augment.geometry import FILL_MODES, FillMode, affine, copy, warp

SCIPY = {"nearest": "nearest", "constant": "constant", "reflect": "reflect", "wrap": "grid-wrap"}
PAD = {"nearest": "edge", "constant": "constant", "reflect": "symmetric", "wrap": "wrap"}
RNG = np.random.default_rng(0)


def test_the_fill_modes_are_those_of_keras() -> None:
    assert set(FILL_MODES) == set(SCIPY) == set(PAD) == {"nearest", "constant", "reflect", "wrap"}


# --- one sampling

# keras 3.15.1, torch backend: apply_affine_transform of the image below with row_axis=0, col_axis=1, cval=-3
IMAGE = (np.arange(25.0) * 7 % 25).reshape(5, 5)
MANY = {"theta": -25, "tx": 0.75, "ty": 1.5, "shear": 10, "zx": 0.9, "zy": 1.2}
# fmt: off
KERAS: list[tuple[dict[str, float], FillMode, list[float]]] = [
    ({"theta": 30}, "nearest", [
        8.87564, 14.93782, 16.98076, 10.51889, 15.67949, 6.71539, 17.77757, 14.66506, 14.90192, 20.99038, 11.87564,
        10.43782, 9.0, 9.23686, 6.12436, 18.66025, 8.89935, 14.16025, 10.27053, 11.28461, 9.01924, 8.25833, 19.32051,
        6.41154, 9.12436]),
    ({"tx": 1.25, "ty": -0.5}, "nearest", [
        8.75, 15.75, 16.5, 3.0, 3.0, 13.75, 17.625, 12.125, 8.0, 8.0, 11.25, 15.125, 12.75, 18.0, 18.0, 8.75, 12.625,
        10.25, 15.5, 15.5, 15.625, 10.125, 7.75, 13.0, 13.0]),
    ({"shear": 20}, "nearest", [
        5.99443, 12.99443, 17.9318, 8.94069, 4.20615, 12.48156, 18.48953, 17.45469, 8.99721, 13.60307, 20.0, 2.0, 9.0,
        16.0, 23.0, 5.90461, 9.51844, 16.00279, 7.54531, 6.51047, 13.79385, 16.00557, 16.05931, 7.0682, 12.00557]),
    ({"zx": 1.3, "zy": 0.8}, "nearest", [
        4.0, 8.9, 18.0, 12.6, 7.0, 12.0, 13.4, 21.0, 10.1, 15.0, 20.0, 7.4, 9.0, 18.1, 23.0, 8.0, 9.4, 17.0, 6.1, 11.0,
        11.0, 15.9, 10.0, 9.1, 14.0]),
    (MANY, "nearest", [
        10.15314, 21.56822, 13.55131, 11.06339, 3.0, 11.04305, 11.7136, 14.8554, 16.76157, 14.22674, 11.10738, 8.95786,
        3.62059, 13.06788, 18.77322, 4.12803, 9.65995, 15.36969, 16.21253, 12.40896, 6.12429, 11.83403, 17.54377, 18.0,
        18.0]),
    (MANY, "constant", [
        10.15314, 21.56822, 13.55131, 11.06339, -3.0, 11.04305, 11.7136, 14.8554, 16.76157, -3.0, 11.10738, 8.95786,
        3.62059, -3.0, -3.0, -3.0, -3.0, -3.0, -3.0, -3.0, -3.0, -3.0, -3.0, -3.0, -3.0]),
    (MANY, "reflect", [
        10.15314, 21.56822, 13.55131, 11.06339, 3.0, 11.04305, 11.7136, 14.8554, 16.76157, 14.22674, 11.10738, 8.95786,
        3.62059, 13.06788, 18.77322, 4.12803, 9.65995, 15.36969, 16.21253, 10.6198, 13.24449, 4.42326, 13.93657, 18.0,
        14.03675]),
]
# fmt: on


@pytest.mark.reference("augment", "custom")
@pytest.mark.parametrize(("knobs", "fill_mode", "expected"), KERAS)
def test_a_warp_is_the_same_as_keras(knobs: dict[str, float], fill_mode: FillMode, expected: list[float]) -> None:
    angles = torch.tensor([knobs.get("theta", 0.0), knobs.get("shear", 0.0)]).deg2rad()
    shift = torch.tensor([[knobs.get("tx", 0.0), knobs.get("ty", 0.0)]])
    zoom = torch.tensor([[knobs.get("zx", 1.0), knobs.get("zy", 1.0)]])
    matrix, offset = affine(angles[:1], shift, angles[1:], zoom)
    image = torch.from_numpy(IMAGE).float()[None, None]
    warped = warp(image, matrix, offset, fill_mode=fill_mode, cval=-3.0)
    np.testing.assert_allclose(warped.flatten(), expected, atol=1e-4)


def scipys(image: np.ndarray, matrix: np.ndarray, offset: np.ndarray, fill_mode: str, cval: float) -> np.ndarray:
    """Its coordinates are (row, column) from the first pixel."""
    centre = (np.array(image.shape) - 1) / 2
    swapped = matrix[::-1, ::-1]
    start = centre + offset[::-1] - swapped @ centre
    return ndimage.affine_transform(image, swapped, start, None, None, 1, SCIPY[fill_mode], cval)  # pyright: ignore


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (2, 20, 7)])
def test_a_warp_is_the_same_as_scipys(shape: tuple[int, int, int], fill_mode: FillMode) -> None:
    images = RNG.integers(0, 256, (6, *shape)).astype(np.float64)
    matrix, offset = np.eye(2) + 0.5 * RNG.standard_normal((6, 2, 2)), 6 * RNG.standard_normal((6, 2))
    warped = warp(*(torch.from_numpy(a).float() for a in (images, matrix, offset)), fill_mode=fill_mode, cval=7.0)
    expected = np.stack(
        [[scipys(c, m, o, fill_mode, 7.0) for c in image] for image, m, o in zip(images, matrix, offset, strict=True)]
    )
    assert warped.shape == expected.shape
    far = np.abs(warped.numpy() - expected) > 0.02
    # a point within rounding of the edge may fall on either side of the constant's border
    assert far.sum() <= (shape[0] if fill_mode == "constant" else 0)
    assert (warped.numpy() != images).mean() > 0.9


@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_a_warp_by_whole_pixels_is_a_copy(fill_mode: FillMode) -> None:
    images = torch.from_numpy(RNG.integers(0, 256, (30, 2, 6, 5)))
    shift = torch.from_numpy(RNG.integers(-14, 15, (30, 2)))
    flip = torch.from_numpy(RNG.integers(0, 2, (30, 2)) == 1)
    mirrored = torch.eye(2) * (1 - 2 * flip.float())[:, None]
    warped = warp(images, mirrored, shift.float(), fill_mode=fill_mode, cval=-20.0)
    torch.testing.assert_close(warped, copy(images, shift, flip, fill_mode=fill_mode, cval=-20.0), atol=0.01, rtol=0)


def test_no_change_keeps_the_border_pixels_from_the_constant() -> None:
    images = torch.rand(1, 1, 211, 173, generator=torch.Generator().manual_seed(0))
    warped = warp(images, torch.eye(2)[None], torch.zeros(1, 2), fill_mode="constant", cval=-1e6)
    torch.testing.assert_close(warped, images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_a_batch_sampled_in_parts_is_sampled_alike(fill_mode: FillMode, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(7, 2, 6, 5, generator=generator)
    matrix, offset = torch.randn(7, 2, 2, generator=generator), torch.randn(7, 2, generator=generator)
    whole = warp(images, matrix, offset, fill_mode=fill_mode)
    for pixels in (1, 60, 100):
        monkeypatch.setattr("convgrid.augment.geometry.CACHED", pixels)
        assert torch.equal(warp(images, matrix, offset, fill_mode=fill_mode), whole)


# --- copies


@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_copy_is_a_crop_of_the_padded_image(
    channels: int, dtype: torch.dtype, channels_last: bool, fill_mode: FillMode
) -> None:
    pixels = RNG.integers(0, 256, (12, channels, 5, 7))
    images = torch.from_numpy(pixels).to(dtype)
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    shifts, flips = RNG.integers(-11, 12, (12, 2)), RNG.integers(0, 2, (12, 2)) == 1
    copied = copy(images, torch.from_numpy(shifts), torch.from_numpy(flips), fill_mode=fill_mode, cval=9.0)
    for result, image, (x, y), (mirror, turn) in zip(copied, pixels, shifts, flips, strict=True):
        constant = {"constant_values": 9} if fill_mode == "constant" else {}
        padded = np.pad(image, ((0, 0), (11, 11), (11, 11)), PAD[fill_mode], **constant)  # pyright: ignore
        crop = padded[:, 11 + y : 16 + y, 11 + x : 18 + x]
        np.testing.assert_array_equal(result, crop[:, :: -1 if turn else 1, :: -1 if mirror else 1])
    assert copied.dtype == torch.float32
    assert copied.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


@pytest.mark.parametrize(("mirror", "turn"), list(product([False, True], repeat=2)))
def test_a_flip_is_exact(mirror: bool, turn: bool) -> None:
    images = torch.rand(2, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    dims = [dim for dim, flipped in ((3, mirror), (2, turn)) if flipped]
    copied = copy(images, torch.zeros(2, 2, dtype=torch.int64), torch.tensor([[mirror, turn]]).expand(2, 2))
    assert torch.equal(copied, images.flip(dims))
