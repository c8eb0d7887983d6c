"""`convgrid preview`: training images, and what augmentation makes of them, on a sheet to look at."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from convgrid.config import Settings, check, register_experiments
from convgrid.errors import ConfigError, gather, refuse

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

OUT = "preview.png"
ROWS = 8  # images
VIEWS = 7  # of each image: one an epoch


def preview(words: Sequence[str]) -> int:
    """Draw and store the sheet that a command line asks for.

    Args:
        words: Overrides as for `convgrid run`, and out=FILE.png.

    Returns:
        The exit status.

    Raises:
        ConvgridError: If something cannot be used.
    """
    named = [word.removeprefix("out=") for word in words if word.startswith("out=")]
    out = Path(named[-1] if named else OUT)
    found: list[Settings] = []
    overrides = [word for word in words if not word.startswith("out=")]
    refuse(gather([lambda: found.append(_settings(overrides)), lambda: _check_out(out)]))
    picture = draw(*found)
    try:
        picture.save(out)
    except OSError as error:
        raise ConfigError(f"out={out} cannot be written: {error.strerror}.") from None
    print(out)
    return 0


def _settings(overrides: Sequence[str]) -> Settings:
    register_experiments()
    line = check(overrides)
    if line.settings is None or line.is_sweep:
        raise ConfigError("preview shows the images of one run. Leave out -m, Hydra's flags, experiments that sweep.")
    if line.settings.resume is not None:
        raise ConfigError(f"resume={line.settings.resume}: preview does not look at runs. Leave it out.")
    return line.settings


def _check_out(out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise ConfigError(f"out={out} must end in .png, which the sheet is.")
    if not out.parent.is_dir():
        raise ConfigError(f"out={out}: {out.parent} is not a folder.")


def draw(settings: Settings) -> "Image":
    """Draw the sheet: on a CPU, its first column of views is what the training's first step takes, bit for bit.

    Returns:
        The picture.

    Raises:
        ConvgridError: If a component refuses its values, or the data cannot be read.
    """
    import torch  # a mistake is told without it

    from convgrid.augment.sheet import augmentation_sheet
    from convgrid.data import batches
    from convgrid.system.seeding import derive
    from convgrid.training.components import Components
    from convgrid.training.setup import read

    components = Components(settings)
    components.check()
    seed, balanced = settings.seed, settings.imbalance.sampling == "balanced"
    data, size = read(settings), settings.data.batch_size
    order = partial(derive, seed, "shuffle")
    chunk = next(iter(batches(data.train, batch_size=size, device="cpu", seed=order, balanced=balanced)))
    images, targets, _ = next(iter(chunk))
    views = []
    if components.make_augment is not None:
        change = components.make_augment()
        for epoch in range(VIEWS):
            draws = torch.Generator().manual_seed(derive(seed, "augment", epoch))
            views.append(change(images, targets, draws)[0][:ROWS])
    return augmentation_sheet(images[:ROWS], views, [_caption(target, data.class_names) for target in targets[:ROWS]])


def _caption(target: "Tensor", class_names: Sequence[str]) -> str:
    """Of a class its name, of labels those that apply, of numbers the numbers."""
    if class_names and target.ndim:
        return ", ".join(name for name, applies in zip(class_names, target.tolist(), strict=True) if applies)
    return class_names[int(target)] if class_names else ", ".join(f"{number:.7g}" for number in target.tolist())
