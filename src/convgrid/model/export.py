"""A run's model in one file, held against the trained one before it gets its name."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from convgrid.errors import ModelError
from convgrid.model.agreement import Agreement, hold_against
from convgrid.model.card import card
from convgrid.model.export_formats import EXPORT_FORMATS, InferenceModel, in_process, slid
from convgrid.model.image_files import check_readable, find_images, read_images
from convgrid.model.trained_model import Trained, load
from convgrid.runs.files import write as write_text


def export(
    folder: Path, format_: str, out: Path, described: Path, named: Sequence[str] = (), *, slides: bool = False
) -> Agreement:
    """Write a trial's model into a file, and its card beside it.

    Args:
        format_: A name in `EXPORT_FORMATS`.
        out: The file, which does not exist yet.
        described: The card, which does not exist yet, either.
        named: Image files and folders to hold the model against; () takes some of those it was validated on.
        slides: Whether the file's model shall take larger images, too, and predict at each place.

    Returns:
        How alike the file's model and the trained one predict.

    Raises:
        ConvgridError: If they differ, or something cannot be read or written: then there is no file.
    """
    trained = load(folder)
    written = slid(trained) if slides else trained
    agreement = write(written, format_, out, _given(named, trained) if named else trained.images, in_process(trained))
    try:
        write_text(described, card(folder, written.meta, format_, out.name))
    except OSError as error:
        out.unlink()
        raise ModelError(f"{described} cannot be written: {error.strerror or error}.") from None
    return agreement


def write(
    trained: Trained, format_: str, out: Path, images: Tensor, original: InferenceModel | None = None
) -> Agreement:
    """Write a model file that predicts what the trained model does; one that does not leaves nothing.

    Args:
        format_: A name in `EXPORT_FORMATS`.
        out: The file, which does not exist yet.
        images: Real ones to hold it against, shape (E, C, H, W).
        original: What it shall predict, where that is not the model itself.

    Returns:
        How alike the two predict.

    Raises:
        ModelError: If they differ, or the file cannot be made.
    """
    partial = out.with_name(f".{out.name}.partial{out.suffix}")
    try:
        EXPORT_FORMATS[format_].write(trained, partial)
        agreement = hold_against(EXPORT_FORMATS[format_].read(partial), original or in_process(trained), images)
        partial.rename(out)
    except OSError as error:
        raise ModelError(f"{out} cannot be written: {error.strerror or error}.") from None
    finally:
        partial.unlink(missing_ok=True)
    return agreement


def _given(named: Sequence[str], trained: Trained) -> Tensor:
    check_readable(trained.meta.profile)
    _, pixels, broken = read_images(find_images(named)[0], trained.meta.profile)
    if broken:
        raise ModelError(f"--images: {'; '.join(broken)}.")
    return pixels
