"""How a command ends: a mistake is one line on stderr, no traceback."""

import sys
from collections.abc import Callable

from convgrid.errors import ConvgridError, Interrupted


def told(work: Callable[[], int]) -> int:
    """Work, and tell on stderr what the user did wrong.

    Args:
        work: What a command does; gives its exit status.

    Returns:
        That status; 1 after the user's mistake, 130 after Ctrl-C.

    Example:
        >>> told(lambda: 0)
        0
    """
    try:
        return work()
    except ConvgridError as error:
        print(error.tell(), file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"\n{interrupt if isinstance(interrupt, Interrupted) else 'Stopped.'}", file=sys.stderr)
        return 130
    except SystemExit as end:  # Hydra's, after --help or a traceback
        return end.code if isinstance(end.code, int) else int(end.code is not None)
