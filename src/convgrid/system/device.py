"""The device that a training runs on."""

from pathlib import Path

from convgrid.errors import ConfigError

DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of NVIDIA's and AMD's GPUs, and of either below WSL


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


def check_precision(precision: str, device: str) -> None:
    """Refuse what a device cannot compute in.

    Args:
        precision: The config's `trainer.precision`.
        device: "cuda" or "cpu"; or a `trainer.accelerator`, of which only "cpu" says enough.

    Raises:
        ConfigError: If it is 16-mixed on a CPU, for which Lightning would take another one.

    Example:
        >>> check_precision("bf16-mixed", "cpu")
    """
    if precision == "16-mixed" and device == "cpu":
        raise ConfigError("trainer.precision=16-mixed wants a GPU. Use trainer.precision=bf16-mixed on a CPU.")


def is_on_cpu(accelerator: str) -> bool:
    """Foresee, without torch, whether a training will run on the CPU.

    Args:
        accelerator: The config's `trainer.accelerator`.

    Example:
        >>> is_on_cpu("cpu"), is_on_cpu("gpu")
        (True, False)
    """
    return accelerator == "cpu" or (accelerator == "auto" and not any(Path(driver).exists() for driver in DRIVERS))
