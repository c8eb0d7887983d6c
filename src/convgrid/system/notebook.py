"""What a notebook shows: text as in a terminal, and one output that is drawn anew in its place."""

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType

NOTEBOOK_WIDTH = 120  # characters
HTML_TEMPLATE = '<pre style="white-space:pre;overflow-x:auto;line-height:normal;font-family:monospace">{code}</pre>'


class Written:
    """Text and HTML of what is written to a console, as Python, rich and notebooks ask for it.

    Args:
        write: Prints it.

    Example:
        >>> Written(lambda console: console.print("[bold]total[/bold] 3"))
        total 3
    """

    def __init__(self, write: Callable[[Console], object], width: int = NOTEBOOK_WIDTH) -> None:
        self._console = Console(file=io.StringIO(), record=True, width=width, force_jupyter=False, color_system=None)
        write(self._console)

    def __repr__(self) -> str:
        return self._console.export_text(clear=False).rstrip("\n")

    def _repr_html_(self) -> str:
        return self._console.export_html(clear=False, inline_styles=True, code_format=HTML_TEMPLATE)


class NotebookConsole(Console):
    """Prints in a notebook as to a file; rich would make an output of its own of every line."""

    def __init__(self) -> None:
        super().__init__(force_jupyter=False, force_terminal=False, width=NOTEBOOK_WIDTH)


def find_console() -> Console:
    """The console of where this runs: a terminal, a file, or a notebook."""
    console = Console()
    return NotebookConsole() if console.is_jupyter else console


class InPlace:
    """What convgrid calls of rich's `Live`, which leaves a notebook without ipywidgets with nothing to see.

    What is shown last stays.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def start(self) -> None:
        """There is nothing to show yet."""

    def update(self, renderable: RenderableType, *, refresh: bool = True) -> None:
        """Show something else than before."""
        from IPython.display import display  # a notebook has it

        written = Written(lambda console: console.print(renderable))
        if self._handle is None:
            self._handle = display(written, display_id=True)
        else:
            self._handle.update(written)

    def stop(self) -> None:
        """Leave it as it is."""
