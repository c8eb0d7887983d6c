"""`convgrid export`: a run's model in one file; a mistake is told before torch is imported."""

from argparse import Namespace
from pathlib import Path

from convgrid.errors import ModelError
from convgrid.model.export_suffixes import EXPORT_SUFFIXES
from convgrid.runs.find import find_model
from convgrid.runs.weights import held


def export(asked: Namespace) -> int:
    """Write a model file with its card, and print what they are.

    Args:
        asked: `run`, `format`, `out`, `images` and `map`.

    Returns:
        The exit status.

    Raises:
        ConvgridError: If there is no such model, or a file cannot be written.
    """
    if asked.map and asked.format == "safetensors":
        raise ModelError(
            "--map: a safetensors file holds the layers, and maps larger images as it is. Leave --map out."
        )
    folder, suffix = find_model(asked.run), EXPORT_SUFFIXES[asked.format]
    out: Path = asked.out or Path(f"{folder.resolve().name}{suffix}")
    card = out.with_name(f"{out.name}.md")
    if out.suffix != suffix:
        others = " or ".join(name for name in EXPORT_SUFFIXES if name != asked.format)
        raise ModelError(f"--out {out} must end in {suffix}. For another ending, use --format {others}.")
    if any("\ud800" <= character <= "\udfff" for character in str(out)):  # torch would end the process
        raise ModelError(f"--out {out}: its name has bytes that are not UTF-8. Use another --out.")
    if not out.parent.is_dir():
        raise ModelError(f"--out {out}: {out.parent} is not a folder.")
    for file in (out, card):
        if file.exists():
            raise ModelError(f"{file} already exists. Remove it, or use another --out.")
    with held(folder):
        from convgrid.model.export import export as write  # torch takes 2 s to import

        agreement = write(folder, asked.format, out, card, asked.images, slides=asked.map)
    print(f"{out}  {agreement}, on {agreement.count} {'given' if asked.images else 'validation'} images")
    print(f"{card}  what it is, how good it is, how to load it")
    return 0
