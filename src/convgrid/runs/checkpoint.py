"""A checkpoint that is read is whole: torch itself takes pages of zeros, as a power cut leaves them, for weights."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from convgrid.errors import RunError

CHECKPOINT_KEYS = ("state_dict", "history", "confusions", "examples")  # what every one has


def read_checkpoint(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Args:
        file: Such as `best.ckpt`.
        device: Where its tensors go.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: If there is none.
        RunError: If it is torn, damaged, or something else.
    """
    try:
        with zipfile.ZipFile(file) as parts:
            damaged = parts.testzip()
        found = {} if damaged else torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError:  # whose message says how to run what is in it
        raise RunError(f"{file} cannot be read: it holds something else than weights and numbers.") from None
    except Exception as error:  # a damaged file may fail in every way
        cause = str(error).partition("\n")[0].rstrip(".") if file.is_dir() or file.stat().st_size else "it is empty"
        raise RunError(f"{file} cannot be read: {cause}.") from None
    if damaged:
        raise RunError(f"{file} cannot be read: {damaged} in it is damaged.")
    if not isinstance(found, dict) or not found.keys() >= {*CHECKPOINT_KEYS}:
        raise RunError(f"{file} cannot be read: it is not a checkpoint of convgrid.")
    return found
