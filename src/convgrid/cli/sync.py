"""`convgrid sync`: what MLflow lacks of all runs and sweeps of a folder is sent."""

import os
from argparse import Namespace

from rich.console import Console

from convgrid.config.address import check_uri
from convgrid.tracking.sync_all import sync_everything
from convgrid.tracking.writer import MLFLOW_ENVIRONMENT


def sync(asked: Namespace) -> int:
    """Send, and print what was sent.

    Args:
        asked: `tracking_uri` and `experiment`.

    Returns:
        The exit status: 1 where something could not be sent.

    Raises:
        TrackingError: If a store cannot be used.
    """
    if asked.tracking_uri:
        check_uri(asked.tracking_uri, "--tracking-uri")
    os.environ.update({key: value for key, value in MLFLOW_ENVIRONMENT.items() if key not in os.environ})
    return sync_everything(Console(), asked.tracking_uri, asked.experiment)
