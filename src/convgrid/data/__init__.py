"""Readers of image data, their division, their statistics, and minibatches on the device."""

# ruff: noqa: F401  (what type checkers see; at run time `__getattr__` finds it)
TYPE_CHECKING = False
if TYPE_CHECKING:
    from convgrid.data.angles import digits_angle
    from convgrid.data.cifar import cifar10, cifar100
    from convgrid.data.dataset import Batch, Files, ImageData, Split, check_data, fingerprint
    from convgrid.data.embedded import digits, random
    from convgrid.data.folders import image_folder
    from convgrid.data.idx import fashion_mnist, mnist
    from convgrid.data.loader import Batches, Chunk, batches
    from convgrid.data.moments import statistics
    from convgrid.data.notes import notes_on
    from convgrid.data.npz import arrays
    from convgrid.data.profile import Profile, pick_examples
    from convgrid.data.splits import Pool, divide, limit_evaluation, refold
    from convgrid.data.tables import table_images

_HOMES = {
    "angles": ["digits_angle"],
    "cifar": ["cifar10", "cifar100"],
    "dataset": ["Batch", "Files", "ImageData", "Split", "check_data", "fingerprint"],
    "embedded": ["digits", "random"],
    "folders": ["image_folder"],
    "idx": ["fashion_mnist", "mnist"],
    "loader": ["Batches", "Chunk", "batches"],
    "moments": ["statistics"],
    "notes": ["notes_on"],
    "npz": ["arrays"],
    "profile": ["Profile", "pick_examples"],
    "splits": ["Pool", "divide", "limit_evaluation", "refold"],
    "tables": ["table_images"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: a plan counts classes without torch."""
    if name in _HOME_OF:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
