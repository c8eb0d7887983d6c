"""`python -m convgrid COMMAND` and the installed `convgrid COMMAND`."""

import sys

from convgrid.cli.main import main as do


def main() -> int:
    """Do what was typed.

    Returns:
        The exit status.
    """
    return do(sys.argv[1:], sys.argv)


if __name__ == "__main__":
    sys.exit(main())
