"""`convgrid features`: what a run's network sees in images, as numbers and as a map."""

from argparse import Namespace
from pathlib import Path

from convgrid.runs.find import find_model
from convgrid.runs.weights import held
from convgrid.system.text import escaped


def features(asked: Namespace) -> int:
    """Write features and a map of them, and print what they are.

    Args:
        asked: `run`, `images`, `map` and `out`.

    Returns:
        The exit status.

    Raises:
        ConvgridError: If there is no such model, or a file cannot be written.
    """
    folder = find_model(asked.run)
    out: Path = asked.out or folder / ("features-of-images" if asked.images else "features")
    with held(folder):
        from convgrid.model.features import features_of  # torch takes 2 s to import

        for line in features_of(folder, asked.images, out, asked.map):
            print(escaped(line))
    return 0
