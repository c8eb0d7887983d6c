"""Declarative experiment pipelines for ConvNets."""

__version__ = "0.1.0"
__all__ = ["ConvgridError", "Interrupted", "Model", "Run", "Sweep", "load", "multirun", "plan", "train"]

TYPE_CHECKING = False  # as typing's, which takes as long to import as all of this
if TYPE_CHECKING:
    from convgrid.api import ConvgridError, Interrupted, Model, Run, Sweep, load, multirun, plan, train


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("convgrid.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
