"""`convgrid adopt`: weights of another program become a weights file; a mistake is told before torch is imported."""

from argparse import Namespace
from pathlib import Path

from convgrid.errors import ModelError
from convgrid.model.export_suffixes import EXPORT_SUFFIXES
from convgrid.model.published import plan_for_weights

ADOPTED_SUFFIX = EXPORT_SUFFIXES["safetensors"]


def adopt(asked: Namespace) -> int:
    """Convert a file of weights, and print what it is.

    Args:
        asked: `file`, `words`, `size`, `mean`, `std`, `scale`, `channels`, `classes`, `check`, `order`, `leave_out`,
            `licence`, `source` and `out`.

    Returns:
        The exit status.

    Raises:
        ConvgridError: If the weights do not fit, or are not those of the network.
    """
    file: Path = asked.file
    out: Path = asked.out or Path(f"{file.stem}{ADOPTED_SUFFIX}")
    if not file.is_file():
        raise ModelError(f"{file}: there is no such file.")
    if out.suffix != ADOPTED_SUFFIX:
        raise ModelError(f"--out {out} must end in {ADOPTED_SUFFIX}.")
    if out.exists():
        raise ModelError(f"{out} already exists. Remove it, or use another --out.")
    if not any(word.startswith("arch=") for word in asked.words):
        raise ModelError("Add the network that the weights are of: arch=resnet18")
    names = _names(asked.classes) if asked.classes else None
    height, width = asked.size if len(asked.size) == 2 else asked.size * 2
    plan_for_weights(asked.words, (3, height, width), 10)  # what is mistyped is told at once
    from convgrid.model.adopt import PublishedInput
    from convgrid.model.adopt import adopt as adopt_file  # torch takes 2 s to import

    wanted = PublishedInput(
        mean=asked.mean,
        std=asked.std,
        scale=asked.scale,
        channels=asked.channels,
        names=names,
        order=asked.order,
        leave_out=asked.leave_out,
        licence=asked.licence,
        source=asked.source,
    )
    checked = adopt_file(
        file,
        lambda channels, count: plan_for_weights(asked.words, (channels, height, width), count),
        wanted,
        out,
        asked.check,
    )
    print(f"{out}  {checked}")
    return 0


def _names(file: Path) -> list[str]:
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"--classes {file} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len({*names}) < len(names) or len(names) < 2:
        raise ModelError(f"--classes {file} must have a name a line, two or more, each once.")
    return names
