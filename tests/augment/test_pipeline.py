"""What the knobs of augmentation do to a batch: draws, colours, erased and mixed images, presets, refusals."""

import colorsys
import math
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy import stats
from torch import Tensor
from torch.nn import functional

from convgrid.augment import Augment, Mixed, mixed_losses
from convgrid.augment.colour import LUMA, jitter, turn_hue
from convgrid.augment.erasing import cutout
from convgrid.augment.mixing import cutmix_weight, draw_shares
from convgrid.augment.pipeline import RANGES
from convgrid.config import CONF
from convgrid.errors import ConfigError

EVERYTHING = Augment(
    rotation_range=30.0, width_shift_range=0.1, height_shift_range=0.1, shear_range=10.0, zoom_range=0.2,
    horizontal_flip=True, vertical_flip=True, fill_mode="reflect", random_crop=2, brightness=0.3, contrast=0.3,
    saturation=0.3, hue=0.2, cutout=3, mixup=0.4, cutmix=1.0,
)  # fmt: skip
CIFAR = Augment(random_crop=4, horizontal_flip=True, fill_mode="constant")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, channels: int = 3, height: int = 12, width: int = 10) -> Tensor:
    return torch.randint(0, 256, (count, channels, height, width), generator=seeded(9), dtype=torch.uint8)


def knobs(key: str, value: Any) -> Augment:
    chosen: dict[str, Any] = {key: value}
    return Augment(**chosen)


def augmented(augment: Augment, images: Tensor, seed: int = 0) -> Tensor:
    return augment(images, None, seeded(seed))[0]


# --- the contract with the training


def test_no_knob_changes_nothing() -> None:
    images, targets = noise(4), torch.arange(4)
    changed, same = Augment()(images, targets, seeded())
    assert same is targets
    assert changed.dtype == torch.float32
    assert torch.equal(changed, images.float())


@pytest.mark.parametrize("augment", [EVERYTHING, CIFAR])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(augment: Augment) -> None:
    images, before = noise(16), torch.get_rng_state()
    given = images.clone()
    first, again, other = (augmented(augment, images, seed) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, given)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "augment", [Augment(), EVERYTHING, CIFAR, Augment(rotation_range=9.0), Augment(brightness=0.5)]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_memory_format_stays_and_changes_no_pixel(augment: Augment, dtype: torch.dtype, channels: int) -> None:
    images = noise(8, channels).to(dtype)
    stored = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # as the readers store them
    changed, twin = augmented(augment, images), augmented(augment, stored)
    assert changed.stride() == images.stride()
    assert twin.stride() == stored.stride()
    assert changed.dtype == twin.dtype == torch.float32
    torch.testing.assert_close(changed, twin, rtol=1e-5, atol=1e-3)


def test_images_are_not_changed_in_place() -> None:
    images = noise(8).float()
    given = images.clone()
    for augment in (EVERYTHING, Augment(brightness=0.5, cutout=4, cval=3.0), Augment(mixup=1.0)):
        augmented(augment, images)
    assert torch.equal(images, given)


def test_values_stay_in_the_range_of_the_pixels() -> None:
    images = noise(64)
    for given in (images, images / 255 - 0.5):
        low, high = (0, 255) if given.dtype == torch.uint8 else (given.min(), given.max())
        wild = Augment(
            rotation_range=180.0, zoom_range=0.9, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5, mixup=1.0
        )  # fmt: skip
        changed = augmented(wild, given)
        assert changed.min() >= low - 1e-4
        assert changed.max() <= high + 1e-4
        assert changed.std() > 0.1 * given.float().std()


# --- draws


def placed(augment: Augment, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The map that each image was sampled by, read off pictures of the coordinates: matrices and offsets."""
    y, x = np.mgrid[-40:41, -30:31].astype(np.float32)
    images = torch.from_numpy(np.stack([x, y])).expand(count, 2, 81, 61)
    seen = augmented(augment, images).numpy()
    offset = seen[:, :, 40, 30]
    return np.stack([seen[:, :, 40, 31] - offset, seen[:, :, 41, 30] - offset], -1), offset


def test_draws_are_even_independent_and_one_for_each_image() -> None:
    augment = Augment(
        rotation_range=40.0, width_shift_range=0.2, height_shift_range=0.1, shear_range=15.0, zoom_range=0.3,
        horizontal_flip=True,
    )  # fmt: skip
    matrix, offset = placed(augment, 3000)
    mirrored = matrix[:, 0, 0] < 0
    matrix[:, :, 0] *= np.where(mirrored, -1, 1)[:, None]
    angle = np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])
    shear = np.arctan2(-matrix[:, 0, 1], matrix[:, 1, 1]) - angle
    cos, sin = np.cos(angle), np.sin(angle)
    drawn = {
        "angle": (np.degrees(angle), -40, 40),
        "shear": (np.degrees(shear), -15, 15),
        "width": (cos * offset[:, 0] + sin * offset[:, 1], -0.2 * 61, 0.2 * 61),
        "height": (cos * offset[:, 1] - sin * offset[:, 0], -0.1 * 81, 0.1 * 81),
        "zoom of x": (np.hypot(*matrix[:, :, 0].T), 0.7, 1.3),
        "zoom of y": (np.hypot(*matrix[:, :, 1].T), 0.7, 1.3),
    }
    for name, (values, least, most) in drawn.items():
        assert stats.kstest(values, stats.uniform(least, most - least).cdf).pvalue > 0.01, name
        assert least - 0.01 <= values.min() < values.max() <= most + 0.01, name
    together = np.corrcoef([*(values for values, _, _ in drawn.values()), mirrored])
    assert np.abs(together - np.eye(7)).max() < 0.08
    assert abs(mirrored.mean() - 0.5) < 0.04


@pytest.mark.parametrize(
    ("knob", "value"),
    [("rotation_range", 30.0), ("width_shift_range", 0.1), ("height_shift_range", 0.1), ("shear_range", 20.0)],
)
def test_a_knob_moves_only_what_it_names(knob: str, value: float) -> None:
    matrix, offset = placed(knobs(knob, value), 50)
    moves = {
        "width_shift": np.ptp(offset[:, 0]) > 1,
        "height_shift": np.ptp(offset[:, 1]) > 1,
        "rotation": np.ptp(matrix[:, 1, 0]) > 0.1,
        "shear": np.ptp(matrix[:, 0, 1]) > 0.1 and np.ptp(matrix[:, 1, 0]) < 1e-3,
    }
    assert [name for name, moved in moves.items() if moved] == [knob.removesuffix("_range")]


def test_crops_and_flips_are_even_and_exact() -> None:
    y, x = torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij")
    image = torch.stack((x, y)).byte()
    changed = augmented(Augment(random_crop=2, horizontal_flip=True, vertical_flip=True), image.expand(8000, 2, 20, 20))
    centre = changed[:, :, 9:11, 9:11]
    assert torch.equal(changed, changed.round())
    mirror, turn = centre[:, 0, 0, 1] < centre[:, 0, 0, 0], centre[:, 1, 1, 0] < centre[:, 1, 0, 0]
    shift = centre.mean((2, 3)) - 9.5
    kinds = torch.stack((shift[:, 0], shift[:, 1], mirror, turn), 1)
    found, counts = kinds.unique(dim=0, return_counts=True)
    assert len(found) == 5 * 5 * 2 * 2
    assert found[:, :2].abs().max() == 2
    assert stats.chisquare(counts.numpy()).pvalue > 0.01


def test_a_crop_beside_a_rotation_still_moves_the_image() -> None:
    image = torch.zeros(1, 1, 15, 15)
    image[..., 7, 7] = 100
    changed = augmented(Augment(random_crop=3, rotation_range=1e-6, fill_mode="constant"), image.expand(200, 1, 15, 15))
    places = changed.flatten(1).argmax(1)
    assert len(places.unique()) == 49
    torch.testing.assert_close(changed.amax((1, 2, 3)), torch.full((200,), 100.0), atol=0.01, rtol=0)


def test_a_crop_beside_a_rotation_leaves_half_of_the_images_mirrored() -> None:
    image = torch.arange(15.0).expand(400, 1, 15, 15)
    changed = augmented(Augment(random_crop=1, rotation_range=1e-6, horizontal_flip=True), image)
    mirrored = changed[:, 0, 7, 8] < changed[:, 0, 7, 6]
    assert 0.4 < mirrored.float().mean() < 0.6


def test_flips_go_into_the_sampling() -> None:
    images = noise(64, height=9)
    both = augmented(Augment(rotation_range=1e-7, horizontal_flip=True, vertical_flip=True), images)
    pixels = images.float()
    kinds = [pixels, pixels.flip(3), pixels.flip(2), pixels.flip((2, 3))]
    hits = torch.stack([(both - kind).abs().amax((1, 2, 3)) < 0.01 for kind in kinds])
    assert torch.equal(hits.sum(0), torch.ones(64, dtype=torch.int64))
    assert hits.sum(1).min() > 4


# --- colours


def colour_twin(image: np.ndarray, factors: list[float], low: float) -> np.ndarray:
    brightness, contrast, saturation = factors
    weights = np.array(LUMA if len(image) == 3 else [1 / len(image)] * len(image))
    image = low + brightness * (image - low)
    mean = np.tensordot(weights, image, 1).mean()
    image = mean + contrast * (image - mean)
    grey = np.tensordot(weights, image, 1)
    return grey + saturation * (image - grey)


@pytest.mark.reference("augment", "custom")
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("low", [0.0, -300.0])
def test_colours_are_those_of_a_numpy_twin(channels: int, low: float) -> None:
    images = noise(10, channels).float()
    factors = 0.4 + 1.2 * torch.rand(3, 10, generator=seeded())
    changed = jitter(images, factors[0], factors[1], factors[2], torch.tensor(low), torch.tensor(255.0))
    for result, image, drawn in zip(changed, images.double().numpy(), factors.T.tolist(), strict=True):
        expected = colour_twin(image, drawn, low).clip(low, 255)
        np.testing.assert_allclose(result, expected, atol=2e-3)


@pytest.mark.parametrize("knob", ["brightness", "contrast", "saturation"])
def test_colour_factors_are_even_within_the_knob(knob: str) -> None:
    colours = torch.tensor([[90.0, 100.0, 80.0], [120.0, 100.0, 140.0], [0.0, 0.0, 0.0], [255.0, 255.0, 255.0]])
    changed = augmented(knobs(knob, 0.25), colours.T.view(1, 3, 1, 4).expand(2000, 3, 1, 4))[:, :, 0].transpose(1, 2)
    if knob == "brightness":
        factors = changed[:, 0, 0] / 90
    elif knob == "contrast":  # of the distance between two pixels
        factors = (changed[:, 1, 0] - changed[:, 0, 0]) / 30
    else:  # of the distance between two channels
        factors = (changed[:, 0, 0] - changed[:, 0, 2]) / 10
    assert stats.kstest(factors.numpy(), stats.uniform(0.75, 0.5).cdf).pvalue > 0.01


@pytest.mark.parametrize("turn", [0.0, 0.1, -0.25, 1 / 3, 0.5, -0.5])
def test_a_turned_hue_is_that_of_colorsys(turn: float) -> None:
    images = noise(2).float()
    edges = [
        [255.0, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [9, 9, 0],
        [9, 0, 9],
        [0, 9, 9],
    ]  # sixths of the circle
    images[0, :, 0, : len(edges)] = torch.tensor(edges).T
    images[0, :, 1] = torch.linspace(0, 255, 10)  # greys
    changed = turn_hue(images, torch.tensor([turn, turn])).permute(0, 2, 3, 1).reshape(-1, 3)
    for result, (red, green, blue) in zip(changed, images.permute(0, 2, 3, 1).reshape(-1, 3).tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
        expected = 255 * np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
        np.testing.assert_allclose(result, expected, atol=2e-3)


def test_each_image_has_a_hue_of_its_own_and_grey_ones_have_none() -> None:
    red = torch.tensor([200.0, 50.0, 50.0]).view(1, 3, 1, 1).expand(2000, 3, 1, 1)
    changed = augmented(Augment(hue=0.1), red)[:, :, 0, 0] / 255
    turns = np.array([(colorsys.rgb_to_hsv(*pixel)[0] + 0.5) % 1 - 0.5 for pixel in changed.tolist()])
    assert stats.kstest(turns, stats.uniform(-0.1, 0.2).cdf).pvalue > 0.01
    for channels in (1, 2, 4):
        images = noise(4, channels)
        assert torch.equal(augmented(Augment(hue=0.5), images), images.float())


def test_hue_comes_after_the_other_colours_and_leaves_their_draws() -> None:
    images = noise(6)
    without = augmented(Augment(saturation=0.5), images)
    turned = augmented(Augment(saturation=0.5, hue=0.3), images)
    torch.testing.assert_close(turned.amax(1), without.amax(1), rtol=0, atol=1e-3)
    torch.testing.assert_close(turned.amin(1), without.amin(1), rtol=0, atol=1e-3)
    assert (turned - without).abs().mean() > 5


# --- erasing


@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_hides_a_square_that_the_edges_cut_off(size: int) -> None:
    y, x = np.mgrid[:6, :8]
    for cx, cy in ((0, 0), (7, 5), (3, 2)):
        erased = cutout(torch.ones(1, 2, 6, 8), torch.tensor([[cx, cy]]), size=size, cval=7.0)
        left, top = cx - size // 2, cy - size // 2
        hidden = (x >= left) & (x < left + size) & (y >= top) & (y < top + size)
        np.testing.assert_array_equal(erased[0], np.broadcast_to(np.where(hidden, 7, 1), (2, 6, 8)))


def test_cutout_centres_are_even_over_the_image() -> None:
    changed = augmented(Augment(cutout=1, cval=-1.0), torch.zeros(6000, 3, 5, 6))
    assert torch.equal((changed == -1).sum((1, 2, 3)), torch.full((6000,), 3))
    counts = (changed[:, 0] == -1).sum(0).flatten().numpy()
    assert stats.chisquare(counts).pvalue > 0.01


# --- mixing


def numbered(count: int, side: int = 8) -> tuple[Tensor, Tensor]:
    """Images that are their target all over."""
    targets = torch.arange(count)
    return targets.float().view(-1, 1, 1, 1).expand(count, 3, side, side).contiguous(), targets


def mix(augment: Augment, images: Tensor, targets: Tensor) -> tuple[Tensor, Mixed]:
    changed, mixed = augment(images, targets, seeded())
    assert isinstance(mixed, Mixed)
    assert torch.equal(mixed.targets, targets)
    assert mixed.share.shape == (len(images),)
    return changed, mixed


@pytest.mark.parametrize("augment", [Augment(mixup=1.0), Augment(cutmix=1.0), Augment(mixup=0.4, cutmix=0.7)])
def test_targets_are_shared_as_the_pixels_are(augment: Augment) -> None:
    images, targets = numbered(500)
    changed, mixed = mix(augment, images, targets)
    others = targets[mixed.order]
    assert mixed.order.sort().values.tolist() == list(range(500))
    expected = mixed.share * mixed.targets + (1 - mixed.share) * others
    torch.testing.assert_close(changed.mean((1, 2, 3)), expected, rtol=1e-5, atol=1e-3)
    boxed = ((changed == mixed.targets.view(-1, 1, 1, 1)) | (changed == others.view(-1, 1, 1, 1))).all((1, 2, 3))
    uniform = (changed == changed[:, :1, :1, :1]).all((1, 2, 3))
    if not augment.cutmix:
        assert uniform.all()
    if not augment.mixup:
        assert boxed.all()
    if augment.mixup and augment.cutmix:
        assert 0.4 < (uniform & ~boxed).float().mean() < 0.6
        assert (uniform | boxed).all()


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    shares = draw_shares(alpha, 4000, seeded()).numpy()
    at = np.array([0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999])  # nearer to 1, float32 rounds to 1
    below = (shares[:, None] <= at).mean(0)
    assert np.abs(below - stats.beta(alpha, alpha).cdf(at)).max() < 1.36 / math.sqrt(4000)  # Kolmogorov's 5 %
    assert ((shares >= 0) & (shares <= 1)).all()


def test_shares_of_a_tiny_alpha_are_numbers() -> None:
    shares = draw_shares(0.01, 4000, seeded())
    assert torch.isfinite(shares).all()
    assert abs(shares.mean() - 0.5) < 0.05


def test_a_cutmix_box_is_that_of_the_papers_code() -> None:
    shares, centres = torch.rand(40, generator=seeded()), torch.randint(0, 9, (40, 2), generator=seeded())
    weights = cutmix_weight(9, 12, shares, centres)
    for weight, share, (cx, cy) in zip(weights, shares.tolist(), centres.tolist(), strict=True):
        wide, high = int(12 * np.float32(np.sqrt(1 - share))), int(9 * np.float32(np.sqrt(1 - share)))
        expected = np.ones((9, 12))
        top, left = cy - high // 2, cx - wide // 2
        expected[max(top, 0) : max(top + high, 0), max(left, 0) : max(left + wide, 0)] = 0
        np.testing.assert_array_equal(weight[0], expected)


def test_mixed_cross_entropy_is_that_of_the_mixed_distribution() -> None:
    scores, share = torch.randn(5, 4, generator=seeded()), torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    targets, order = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([3, 1, 0, 2, 4])
    others = targets[order]
    losses: Callable[..., Tensor] = lambda some, _=None: functional.cross_entropy(scores, some, reduction="none")  # noqa: E731
    soft = share[:, None] * functional.one_hot(targets, 4) + (1 - share[:, None]) * functional.one_hot(others, 4)
    torch.testing.assert_close(mixed_losses(losses, Mixed(targets, order, share)), losses(soft))
    assert torch.equal(mixed_losses(losses, targets), losses(targets))


def test_a_mixed_squared_error_has_the_gradient_of_the_mixed_number() -> None:
    predictions = torch.randn(6, 2, generator=seeded(), requires_grad=True)
    targets, order = torch.randn(6, 2, generator=seeded(1)), torch.randperm(6, generator=seeded(3))
    share = torch.rand(6, generator=seeded(2))
    losses: Callable[..., Tensor] = lambda some, _=None: (predictions - some).square().mean(-1)  # noqa: E731
    number = share[:, None] * targets + (1 - share[:, None]) * targets[order]
    (ours,) = torch.autograd.grad(mixed_losses(losses, Mixed(targets, order, share)).sum(), predictions)
    (expected,) = torch.autograd.grad(losses(number).sum(), predictions)
    torch.testing.assert_close(ours, expected)


def test_each_of_two_mixed_losses_keeps_its_own_weight() -> None:
    targets, order = torch.tensor([3.0, 5.0, 7.0]), torch.tensor([1, 2, 0])
    share, weights = torch.tensor([0.25, 0.5, 1.0]), torch.tensor([2.0, 0.0, 1.0])
    losses: Callable[..., Tensor] = lambda some, weight: some * weight  # noqa: E731
    found = mixed_losses(losses, Mixed(targets, order, share), weights)
    assert found.tolist() == [0.25 * 6, 0.5 * 7, 7]


# --- views


def test_views_neither_hide_nor_mix() -> None:
    everything = Augment(rotation_range=9.0, random_crop=1, brightness=0.1, cutout=4, mixup=1.0, cutmix=1.0, cval=3.0)
    assert everything.views() == Augment(rotation_range=9.0, random_crop=1, brightness=0.1, cval=3.0)


@pytest.mark.parametrize("augment", [Augment(), Augment(cutout=4, fill_mode="wrap", cval=9.0), Augment(mixup=1.0)])
def test_views_that_would_all_be_alike_are_refused(augment: Augment) -> None:
    with pytest.raises(
        ConfigError, match=r"^trainer\.test_views above 1 needs an augment that shows an image in other"
    ):
        augment.views()


# --- presets and refusals


def preset(name: str) -> dict[str, Any]:
    values = yaml.safe_load((CONF / "augment" / f"{name}.yaml").read_text())
    assert values.pop("_target_") == "convgrid.augment.Augment"
    return values


def test_presets_show_every_knob_and_custom_its_default() -> None:
    defaults = {name: item.default for name, item in signature(Augment).parameters.items()}
    assert {path.stem for path in (CONF / "augment").glob("*.yaml")} == {"none", "custom", "keras_blog", "cifar"}
    for name in ("custom", "keras_blog", "cifar"):
        assert list(preset(name)) == list(defaults)
        assert {type(value) for value in preset(name).values()} <= {float, int, bool, str}
    assert preset("custom") == defaults
    assert len(defaults) == 17
    assert yaml.safe_load((CONF / "augment" / "none.yaml").read_text()) is None


@pytest.mark.reference("augment", "keras_blog", "cifar")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "keras_blog",
            {
                "rotation_range": 40.0, "width_shift_range": 0.2, "height_shift_range": 0.2, "shear_range": 11.46,
                "zoom_range": 0.2, "horizontal_flip": True,
            },
        ),
        ("cifar", {"random_crop": 4, "horizontal_flip": True, "fill_mode": "constant"}),
    ],
)  # fmt: skip
def test_a_preset_sets_what_its_source_says(name: str, expected: dict[str, Any]) -> None:
    neutral = preset("custom")
    assert {key: value for key, value in preset(name).items() if value != neutral[key]} == expected
    changed = augmented(Augment(**preset(name)), noise(8))
    assert changed.shape == (8, 3, 12, 10)


@pytest.mark.parametrize("key", RANGES)
def test_a_knob_out_of_its_range_is_refused_by_name(key: str) -> None:
    least, most, unit = RANGES[key]
    for value in (least - 1, most + 1 if math.isfinite(most) else math.inf, math.nan):
        with pytest.raises(ConfigError) as caught:
            knobs(key, value)
        assert str(caught.value).startswith(f"augment.{key}={value} must be ")
        assert str(caught.value).endswith(f": it is {unit}.")
    knobs(key, least)
    knobs(key, most if math.isfinite(most) else 5)


def test_refusals_read_well() -> None:
    with pytest.raises(ConfigError) as caught:
        Augment(zoom_range=1.5)
    assert str(caught.value) == (
        "augment.zoom_range=1.5 must be in [0, 0.99]: it is the largest change of the factor 1."
    )
    with pytest.raises(ConfigError) as caught:
        Augment(fill_mode="mirror")  # pyright: ignore[reportArgumentType]
    assert str(caught.value) == "augment.fill_mode=mirror must be one of nearest, constant, reflect, wrap."
    with pytest.raises(ConfigError, match=r"^augment\.cval=nan must be finite"):
        Augment(cval=math.nan)


def test_every_number_has_a_range() -> None:
    numbers = {name for name, item in signature(Augment).parameters.items() if type(item.default) in (int, float)}
    assert numbers == {*RANGES, "cval"}
    assert len(RANGES) == 13
