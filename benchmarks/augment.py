"""Images per second of the keras_blog preset, beside kornia's own pipeline and a loop over samples with Pillow.

Usage: python benchmarks/augment.py [--quick] [--device cuda] [--threads 1]

All start from the same stored uint8 images and end with a float32 batch on the device in channels_last order, as a
network takes them. They draw the same knobs in their own ways: kornia shifts after rotating, and Pillow, which does not
repeat edge pixels, fills with black. The sides take turns; a ratio is the median of those of the turns.
kornia is no dependency of convgrid: without it, its lines say so.
"""

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor

from convgrid.augment import Augment
from convgrid.config import CONF

Side = Callable[[], Tensor]
CASES = ((128, 32), (32, 150))  # images a batch, pixels a side


def preset(name: str) -> dict[str, Any]:
    """Read a preset's knobs.

    Returns:
        By name.
    """
    values = yaml.safe_load((CONF / "augment" / f"{name}.yaml").read_text())
    return {key: value for key, value in values.items() if key != "_target_"}


def ours(images: Tensor, knobs: dict[str, Any]) -> Side:
    """Augment with convgrid.

    Args:
        images: Stored, uint8 (B, C, H, W).

    Returns:
        What makes one batch.
    """
    augment, generator = Augment(**knobs), torch.Generator(images.device).manual_seed(0)
    return lambda: augment(images, None, generator)[0]


def kornias(images: Tensor, knobs: dict[str, Any]) -> Side | None:
    """Augment with kornia's modules.

    Args:
        images: Stored, uint8 (B, C, H, W).

    Returns:
        What makes one batch; None where kornia is not installed.
    """
    if importlib.util.find_spec("kornia") is None:
        return None
    from kornia import augmentation  # pyright: ignore[reportMissingImports]

    zoom = knobs["zoom_range"]
    pipeline = augmentation.AugmentationSequential(
        augmentation.RandomAffine(
            degrees=knobs["rotation_range"],
            translate=(knobs["width_shift_range"], knobs["height_shift_range"]),
            scale=(1 - zoom, 1 + zoom, 1 - zoom, 1 + zoom),
            shear=knobs["shear_range"],
            padding_mode="border",
            p=1.0,
        ),
        augmentation.RandomHorizontalFlip(p=0.5),
        data_keys=["input"],
    )

    def augment() -> Tensor:
        changed = pipeline(images.float())
        assert isinstance(changed, Tensor)
        return changed.contiguous(memory_format=torch.channels_last)

    return augment


def pillows(images: Tensor, knobs: dict[str, Any]) -> Side:
    """Augment with Pillow, one image after the other, as a data set's __getitem__ does.

    Args:
        images: Stored, uint8 (B, C, H, W).

    Returns:
        What makes one batch.
    """
    device, rng = images.device, np.random.default_rng(0)
    stored = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def augment() -> Tensor:
        changed = np.stack([np.asarray(_pillows_image(pixels, knobs, rng)) for pixels in stored])
        return torch.from_numpy(changed).to(device).permute(0, 3, 1, 2).float()

    return augment


def _pillows_image(pixels: np.ndarray, knobs: dict[str, Any], rng: np.random.Generator) -> Image.Image:
    size = pixels.shape[0]
    angle, shear = np.radians(rng.uniform(-1, 1, 2) * (knobs["rotation_range"], knobs["shear_range"]))
    x, y = rng.uniform(-1, 1, 2) * (knobs["width_shift_range"], knobs["height_shift_range"]) * size + size / 2
    zoom = 1 + knobs["zoom_range"] * rng.uniform(-1, 1, 2)
    a, b = zoom[0] * math.cos(angle), -zoom[1] * math.sin(angle + shear)
    c, d = zoom[0] * math.sin(angle), zoom[1] * math.cos(angle + shear)
    affine = (a, b, x - (a + b) * size / 2, c, d, y - (c + d) * size / 2)
    image = Image.fromarray(pixels).transform(
        (size, size), Image.Transform.AFFINE, affine, resample=Image.Resampling.BILINEAR
    )
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def measure(count: int, size: int, device: torch.device, turns: int) -> None:
    """Let all sides make batches in turn, and print images per second and ratios.

    Args:
        device: Where the images are.
        turns: Batches a side, after two to warm up.
    """
    stored = torch.randint(0, 256, (count, size, size, 3), generator=torch.Generator().manual_seed(0))
    images, knobs = stored.byte().to(device).permute(0, 3, 1, 2), preset("keras_blog")
    sides = {"convgrid": ours(images, knobs), "kornia": kornias(images, knobs), "Pillow": pillows(images, knobs)}
    present = {name: side for name, side in sides.items() if side is not None}
    times = {name: [] for name in present}
    for _ in range(turns + 2):
        for name, side in present.items():
            times[name].append(_seconds(side, device))
    print(f"{count} images of 3x{size}x{size} a batch, on {device}, {torch.get_num_threads()} thread(s), {turns} turns")
    for name in sides:
        if name not in present:
            print(f"  {name:9} not installed, left out: pip install kornia")
            continue
        speeds = count / statistics.median(times[name][2:])
        pairs = sorted(other / mine for other, mine in zip(times[name][2:], times["convgrid"][2:], strict=True))
        ratio = (
            f"convgrid is {statistics.median(pairs):.2f} times as fast (half of the turns {pairs[turns // 4]:.2f} to "
        )
        print(
            f"  {name:9} {speeds:>10,.0f} images/s"
            + (f"   {ratio}{pairs[3 * turns // 4]:.2f})" if name != "convgrid" else "")
        )


def _seconds(side: Side, device: torch.device) -> float:
    started = time.perf_counter()
    changed = side()
    if device.type == "cuda":
        torch.cuda.synchronize()
    ended = time.perf_counter()
    assert changed.dtype == torch.float32
    assert changed.is_contiguous(memory_format=torch.channels_last)
    return ended - started


def main() -> None:
    """Measure both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? Two turns; no true times")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for count, size in CASES:
        measure(count, size, torch.device(args.device), 2 if args.quick else 40)


if __name__ == "__main__":
    main()
