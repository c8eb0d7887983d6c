"""`convgrid predict`: what a run's model predicts of image files; a mistake is told before torch is imported."""

from argparse import Namespace
from pathlib import Path

from convgrid.model.export_suffixes import EXPORT_SUFFIXES
from convgrid.runs.find import find_model
from convgrid.runs.weights import held


def predict(asked: Namespace) -> int:
    """Print what a model predicts.

    Args:
        asked: `run`, `images` and `show`.

    Returns:
        The exit status: 1 where an image could not be read.

    Raises:
        ConvgridError: If there is no such model.
    """
    source = Path(asked.run)
    if not (source.is_file() and source.suffix in EXPORT_SUFFIXES.values()):
        source = find_model(asked.run)
    with held(source):
        from convgrid.model.predict import predict as show  # torch takes 2 s to import

        return int(not show(source, asked.images, asked.show))
