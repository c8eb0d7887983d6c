"""`python -m convgrid COMMAND` and the installed `convgrid COMMAND`."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(words: "Sequence[str]" = ()) -> int:
    """Do what was typed, with as little as can be imported before Ctrl-C is listened to.

    Args:
        words: That are put before those of `sys.argv`.

    Returns:
        The exit status.
    """
    try:
        from convgrid.cli.main import main as do

        return do([*words, *sys.argv[1:]], sys.argv)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
