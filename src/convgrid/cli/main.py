"""From the words of a command line to its exit status; what is not asked for is not imported."""

from collections.abc import Sequence

from convgrid.cli.exit import exit_status


def main(words: Sequence[str], typed: Sequence[str] = ()) -> int:
    """Do what a command line says.

    Args:
        words: A command and its words, such as ["predict", "last", "photo.jpg"].
        typed: All of it with the program before it, as in `sys.argv`; () for `convgrid` and the words.

    Returns:
        The exit status: 0, 1 after the user's mistake, 2 where the line cannot be parsed, 130 after Ctrl-C, 141 where
        nobody reads the output.
    """
    return exit_status(lambda: _do(words, typed or ["convgrid", *words]))


def _do(words: Sequence[str], typed: Sequence[str]) -> int:
    """Imported here: that takes up to seconds, in which Ctrl-C must not print a traceback either."""
    from convgrid.cli.parser import parse

    asked = parse(words)
    match asked.command:
        case "run":
            from convgrid.cli.run import run

            return run(asked.words, retyped(*typed))
        case "compare":
            from convgrid.cli.compare import compare

            return compare(asked)
        case "predict":
            from convgrid.cli.predict import predict

            return predict(asked)
        case "export":
            from convgrid.cli.export import export

            return export(asked)
        case "adopt":
            from convgrid.cli.adopt import adopt

            return adopt(asked)
        case "features":
            from convgrid.cli.features import features

            return features(asked)
        case "preview":
            from convgrid.cli.preview import preview

            return preview(asked.words)
        case "cache":
            from convgrid.cli.cache import cache

            return cache(asked)
        case "sweeps":
            from convgrid.cli.sweeps import sweeps

            return sweeps()
        case "node":
            from convgrid.cli.node import node

            return node(asked)
        case "sync":
            from convgrid.cli.sync import sync

            return sync(asked)
        case "ui":
            from convgrid.cli.ui import ui

            return ui(asked)
        case _:
            raise AssertionError(asked.command)


def retyped(program: str, *words: str) -> str:
    """Write what was typed, to be typed again in the same folder.

    Args:
        program: As in `sys.argv[0]`.
        words: What was typed behind it.

    Returns:
        The command.

    Example:
        >>> retyped("../run.py", "-m", "arch.n=1,2")
        'python ../run.py -m arch.n=1,2'
        >>> retyped("/venv/convgrid/__main__.py", "run", "-m", "arch.n=1,2")
        'python -m convgrid run -m arch.n=1,2'
        >>> retyped("/venv/bin/convgrid", "run", "-m", "arch.n=range(1,3)")
        "convgrid run -m 'arch.n=range(1,3)'"
    """
    import shlex
    from pathlib import Path

    path = Path(program)
    match path.name, path.suffix:
        case "__main__.py", _:
            start = ["python", "-m", path.parent.name]
        case _, ".py":
            start = ["python", program]
        case _:
            start = [path.name]
    return shlex.join([*start, *words])
