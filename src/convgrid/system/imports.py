"""Large libraries, imported without what nobody here needs of them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError

from convgrid.system.memory import uncollected


def import_lightning() -> None:
    """Import torch and Lightning in half the time that `import lightning.pytorch` takes.

    Lightning needs one base class of torchmetrics, which imports SciPy's statistics and signals and Matplotlib's plots
    where it finds them. What is imported afterwards finds both; torchmetrics goes on without them in this process.

    Example:
        >>> import_lightning()
    """
    # Seconds of processor time of a whole run of 1 epoch, least of 6 in turns: 2.65; with both seen 3.75, with the
    # collector 4.11, with both 5.60.
    with uncollected(), unseen("scipy", "matplotlib"):
        import lightning.pytorch  # noqa: F401


@contextmanager
def unseen(*packages: str) -> Iterator[None]:
    """Import a library as if packages were not installed that it imports wherever it finds them.

    Args:
        packages: Their names, as imported and as installed; one that is imported already is seen.

    Example:
        >>> with unseen("wave"):
        ...     import wave
        Traceback (most recent call last):
        ModuleNotFoundError: import of wave halted; None in sys.modules

    Source: https://docs.python.org/3/library/sys.html#sys.modules and
    https://docs.python.org/3/library/importlib.metadata.html#extending-the-search-algorithm
    """
    hidden = [package for package in packages if package not in sys.modules]
    finder = _Nothing(hidden)
    sys.meta_path.insert(0, finder)
    sys.modules.update(dict.fromkeys(hidden))  # pyright: ignore[reportCallIssue, reportArgumentType]  (None: it is not to be found)
    try:
        yield
    finally:
        for package in hidden:
            sys.modules.pop(package, None)
        sys.meta_path.remove(finder)


class _Nothing(DistributionFinder):
    """Says of some packages that they are not installed, before another finder is asked."""

    def __init__(self, packages: list[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, *_: object) -> None:
        """Leave it to others."""

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterator[Distribution]:
        if context is not None and context.name in self._packages:
            raise PackageNotFoundError(context.name)
        return iter(())
