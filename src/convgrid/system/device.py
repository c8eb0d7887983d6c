"""The device that a training runs on."""

from convgrid.errors import ConfigError


def find_device(accelerator: str) -> str:
    """Settle what to train on.

    Args:
        accelerator: The config's `trainer.accelerator`.

    Returns:
        "cuda" or "cpu".

    Raises:
        ConfigError: If a GPU is asked for and there is none.

    Example:
        >>> find_device("cpu")
        'cpu'
    """
    import torch  # takes seconds, and the rest of this room does without

    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError("trainer.accelerator=gpu, but torch finds no GPU. Use trainer=auto or trainer=cpu.")
    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"
