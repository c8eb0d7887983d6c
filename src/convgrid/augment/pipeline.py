"""The knobs of augmentation, and what they do to a batch.

Shapes: B batch, C channels, H height, W width, T target columns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convgrid.augment.colour import jitter, turn_hue, value_range
from convgrid.augment.erasing import cutout
from convgrid.augment.geometry import FILL_MODES, FillMode, affine, copy, warp
from convgrid.augment.mixing import Mixed, blend, cutmix_weight, draw_shares
from convgrid.errors import ConfigError

# Smallest and largest value of each number, and its unit for messages.
RANGES: Mapping[str, tuple[float, float, str]] = {
    "rotation_range": (0, 180, "degrees"),
    "width_shift_range": (0, 1, "a fraction of the width"),
    "height_shift_range": (0, 1, "a fraction of the height"),
    "shear_range": (0, 89, "degrees"),
    "zoom_range": (0, 0.99, "the largest change of the factor 1"),
    "random_crop": (0, math.inf, "pixels"),
    "brightness": (0, 1, "the largest change of the factor 1"),
    "contrast": (0, 1, "the largest change of the factor 1"),
    "saturation": (0, 1, "the largest change of the factor 1"),
    "hue": (0, 0.5, "turns of the colour circle"),
    "cutout": (0, math.inf, "pixels"),
    "mixup": (0, math.inf, "alpha of a Beta distribution"),
    "cutmix": (0, math.inf, "alpha of a Beta distribution"),
}


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Change training images at random, each in its own way; every knob at its default leaves them as they are.

    In this order: random crop; rotation, shifts, shear, zoom and flips in one sampling; colours; cutout; mixup or
    cutmix. Crops, and flips without rotation, shift, shear and zoom, copy pixels exactly. Pixels keep their units:
    dividing by 255, Keras' `rescale`, is the normalisation's task. All draws come from the generator, in a fixed order.

    Args:
        rotation_range: Largest rotation either way, in degrees.
        width_shift_range: Largest shift to either side, as a fraction of the width.
        height_shift_range: Largest shift up or down, as a fraction of the height.
        shear_range: Largest shear either way, in degrees; the Keras of 2016 read radians.
        zoom_range: Width and height are each divided by a factor within 1 - zoom_range and 1 + zoom_range.
        horizontal_flip: Whether half of the images are mirrored left to right.
        vertical_flip: Whether half of the images are mirrored top to bottom.
        fill_mode: What is beyond an image: nearest, constant, reflect (its edge pixels twice) or wrap.
        cval: Value of fill_mode=constant and of cutout, in raw pixel units.
        random_crop: Pixels that an image is padded by on each side, as fill_mode says, before a crop of its own size.
        brightness: The distance from black is scaled by a factor within 1 - brightness and 1 + brightness.
        contrast: Likewise, the distance from the image's mean grey.
        saturation: Likewise, the distance from each pixel's own grey.
        hue: Largest turn of the colours round their circle either way, in turns, where there are three channels.
        cutout: Side of the square that is hidden in each image, in pixels; 0 hides none.
        mixup: Alpha of the Beta distribution of each image's share in a mix with another of its batch; 0 mixes none.
        cutmix: Likewise, of the share outside a box from another; with mixup, each image gets one of the two, evenly.

    Raises:
        ConfigError: If a knob is out of its range.

    Example:
        >>> augment = Augment(horizontal_flip=True, random_crop=4)
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> images, targets = augment(images, torch.tensor([3, 7]), torch.Generator().manual_seed(0))
        >>> images.dtype, targets
        (torch.float32, tensor([3, 7]))

    Source: Keras' ImageDataGenerator; torchvision's RandomCrop and ColorJitter; the papers of cutout, mixup and cutmix.
    """

    rotation_range: float = 0.0
    width_shift_range: float = 0.0
    height_shift_range: float = 0.0
    shear_range: float = 0.0
    zoom_range: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    fill_mode: FillMode = "nearest"
    cval: float = 0.0
    random_crop: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if self.fill_mode not in FILL_MODES:
            raise ConfigError(f"augment.fill_mode={self.fill_mode} must be one of {', '.join(FILL_MODES)}.")
        if not math.isfinite(self.cval):
            raise ConfigError(f"augment.cval={self.cval} must be finite: it is the value of a pixel.")
        for key, (least, most, unit) in RANGES.items():
            value = getattr(self, key)
            if not (least <= value <= most and math.isfinite(value)):
                bound = f"in [{least}, {most}]" if math.isfinite(most) else f"{least} or above, and finite"
                raise ConfigError(f"augment.{key}={value} must be {bound}: it is {unit}.")

    @torch.no_grad()
    def __call__(
        self, images: Tensor, targets: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | Mixed | None]:
        """Change a batch.

        Args:
            images: Raw pixels as stored, uint8 or float32, shape (B, C, H, W); they are not changed in place.
            targets: The data's, classes (B,) or numbers (B, T); None where only the images are wanted.
            generator: Of all draws, on the images' device.

        Returns:
            Images in raw pixel units, float32, in the memory format given; and the targets, which are `Mixed` where
            mixup or cutmix is on.
        """
        changed = self._placed(images, generator)
        if self.brightness or self.contrast or self.saturation:
            ranges = (self.brightness, self.contrast, self.saturation)
            brightness, contrast, saturation = 1 + _changes(ranges, len(images), generator)
            changed = jitter(changed, brightness, contrast, saturation, *value_range(images))
        if self.hue:
            changed = turn_hue(changed, _changes((self.hue,), len(images), generator)[0])
        if self.cutout:
            changed = cutout(changed, _points(images, generator), size=self.cutout, cval=self.cval)
        if self.mixup or self.cutmix:
            return self._mixed(changed, targets, generator)
        return changed, targets

    def views(self) -> "Augment":
        """What shows the same image in another way: these changes, less those that hide parts or mix in other images.

        Returns:
            The changes without cutout, mixup and cutmix.

        Raises:
            ConfigError: If nothing is left.

        Example:
            >>> Augment(horizontal_flip=True, cutout=8).views() == Augment(horizontal_flip=True)
            True
        """
        kept = replace(self, cutout=0, mixup=0.0, cutmix=0.0)
        if kept == Augment(fill_mode=self.fill_mode, cval=self.cval):
            raise ConfigError(
                "trainer.test_views above 1 needs an augment that shows an image in other ways: rotation, shifts, "
                "shear, zoom, flips, crops or colours. Set one, or trainer.test_views=1."
            )
        return kept

    def _placed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Crop and flip by copying; sample where that is impossible."""
        flips = self.horizontal_flip or self.vertical_flip
        flip = self._flips(len(images), generator) if flips else images.new_zeros((len(images), 2), dtype=torch.bool)
        shifts = self.width_shift_range or self.height_shift_range
        samples = bool(self.rotation_range or shifts or self.shear_range or self.zoom_range)
        if self.random_crop:
            reach = self.random_crop
            shift = torch.randint(-reach, reach + 1, (len(images), 2), generator=generator, device=images.device)
            images = copy(images, shift, flip & (not samples), fill_mode=self.fill_mode, cval=self.cval)
        elif flips and not samples:
            images = copy(images, torch.zeros_like(flip, dtype=torch.int64), flip)
        return self._sampled(images, flip, generator) if samples else images.float()

    def _sampled(self, images: Tensor, flip: Tensor, generator: torch.Generator) -> Tensor:
        height, width = images.shape[2:]
        angle, shear = math.radians(self.rotation_range), math.radians(self.shear_range)
        shift_x, shift_y = width * self.width_shift_range, height * self.height_shift_range
        ranges = (angle, shear, shift_x, shift_y, self.zoom_range, self.zoom_range)
        changes = _changes(ranges, len(images), generator)
        matrix, offset = affine(changes[0], changes[2:4].T, changes[1], 1 + changes[4:].T)
        mirrored = matrix * (1 - 2 * flip.float())[:, None]
        return warp(images, mirrored, offset, fill_mode=self.fill_mode, cval=self.cval)

    def _mixed(self, images: Tensor, targets: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Mixed | None]:
        order = torch.randperm(len(images), generator=generator, device=images.device)
        mixed, share = blend(images, order, self._weight(images, generator))
        return mixed, None if targets is None else Mixed(targets, order, share)

    def _weight(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Of each image against the one that is mixed into it, (B, 1, H, W) or (B, 1, 1, 1)."""
        count, _, height, width = images.shape
        if not self.cutmix:
            return draw_shares(self.mixup, count, generator).view(-1, 1, 1, 1)
        boxes = cutmix_weight(height, width, draw_shares(self.cutmix, count, generator), _points(images, generator))
        if not self.mixup:
            return boxes
        boxed = torch.rand((count, 1, 1, 1), generator=generator, device=images.device) < 0.5
        return torch.where(boxed, boxes, draw_shares(self.mixup, count, generator).view(-1, 1, 1, 1))

    def _flips(self, count: int, generator: torch.Generator) -> Tensor:
        """Whether each image is mirrored along x and along y, (B, 2)."""
        drawn = torch.rand((count, 2), generator=generator, device=generator.device)
        return drawn < drawn.new_tensor((0.5 * self.horizontal_flip, 0.5 * self.vertical_flip))


def _changes(ranges: Sequence[float], count: int, generator: torch.Generator) -> Tensor:
    """Draw evenly from [-range, range], a row for each range: (len(ranges), B)."""
    drawn = torch.rand((len(ranges), count), generator=generator, device=generator.device)
    return (2 * drawn - 1) * drawn.new_tensor(ranges)[:, None]


def _points(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one pixel of each image, evenly, as (x, y): (B, 2)."""
    height, width = images.shape[2:]
    drawn = torch.rand((len(images), 2), generator=generator, device=images.device, dtype=torch.float64)
    return (drawn * drawn.new_tensor((width, height))).long()
