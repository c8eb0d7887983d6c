"""The command lines of `convgrid export` and `convgrid predict`: a mistake in one is told before torch is imported."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from convgrid.cli.told import told
from convgrid.errors import ModelError
from convgrid.runs.find import HOW, SUFFIXES, find_trained

RUN = f"{HOW[0].lower()}{HOW[1:]}"


def export(argv: Sequence[str]) -> int:
    """Write a run's model into a file.

    Args:
        argv: What was typed behind `convgrid export`.

    Returns:
        The exit status: 0, 1 after the user's mistake, 2 where the line cannot be parsed, 130 after Ctrl-C.
    """
    return told(lambda: _export(_export_parser().parse_args(argv)))


def predict(argv: Sequence[str]) -> int:
    """Say what a model predicts of image files.

    Args:
        argv: What was typed behind `convgrid predict`.

    Returns:
        The exit status: as of `export`, and 1 where an image could not be read.
    """
    return told(lambda: _predict(_predict_parser().parse_args(argv)))


def _export_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convgrid export",
        description="Write a run's model into one file: raw images in, probabilities or the data's units out.",
        epilog="It is held against the trained model, on images of its validation or those given, before it is kept.",
    )
    parser.add_argument("run", metavar="RUN", help=RUN)
    parser.add_argument("--format", choices=SUFFIXES, default="torch_export", help="torch_export where not given")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to; the run's id in this folder otherwise")
    parser.add_argument("--images", nargs="+", metavar="IMAGE", default=[], help="image files or folders of them")
    return parser


def _export(asked: argparse.Namespace) -> int:
    folder, suffix = find_trained(asked.run), SUFFIXES[asked.format]
    out: Path = asked.out or Path(f"{folder.resolve().name}{suffix}")
    card = out.with_name(f"{out.name}.md")
    if out.suffix != suffix:
        raise ModelError(f"--out {out} must end in {suffix}, or --format be another one.")
    if not out.parent.is_dir():
        raise ModelError(f"--out {out}: {out.parent} is not a folder.")
    for file in (out, card):
        if file.exists():
            raise ModelError(f"{file} is there already. Remove it, or give another --out.")
    from convgrid.model.export import export as write  # torch takes 2 s to import

    agreement = write(folder, asked.format, out, card, asked.images)
    print(f"{out}  {agreement}, on {agreement.count} {'given' if asked.images else 'validation'} images")
    print(f"{card}  what it is, how good it is, how to load it")
    return 0


def _predict_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convgrid predict",
        description="Say what a run's model predicts of image files: classes with probabilities, or numbers.",
        epilog="Images are turned upright, made grey or RGB, resized and cropped as those of the training.",
    )
    parser.add_argument("run", metavar="RUN", help=f"{RUN}; or an exported file ({', '.join(SUFFIXES.values())})")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_const", dest="show", const="json", help="a list, with all predictions")
    shown.add_argument("--csv", action="store_const", dest="show", const="csv", help="a table, with all predictions")
    parser.set_defaults(show="text")
    return parser


def _predict(asked: argparse.Namespace) -> int:
    source = Path(asked.run)
    if not (source.is_file() and source.suffix in SUFFIXES.values()):
        source = find_trained(asked.run)
    from convgrid.model.predict import predict as say  # as above

    return int(not say(source, asked.images, asked.show))
