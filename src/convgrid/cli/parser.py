"""What can be typed: every command with its options, in one parser that imports nothing of what they do."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convgrid.cli.argparse_internals import option_strings
from convgrid.model.export_suffixes import EXPORT_SUFFIXES

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

RUN_HELP = "last, a run's folder or checkpoint, its id (or the start of it) or MLflow's; a sweep stands for its winner"
SWEEP_HELP = "last (default), a sweep's id or the start of it, its folder, or the id of its MLflow run"
STORE_HELP = "sqlite:///mlflow.db or a server's address"
DESCRIPTION = """\
Train the ConvNet that a pattern describes, sweep over its settings, and say which is best.

commands:
{commands}

convgrid COMMAND --help shows what a command takes; that of run, all groups, options and keys.
Every command looks at runs/ and sweeps/ of the folder in which it is started."""
NO_FLAGS = "\0"  # no word starts so: those with dashes are left to Hydra's parser


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """Print it, or fail: argparse's own ends well where nothing can be written."""
        print(self.format_help(), end="", file=file)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read a command line.

    Args:
        words: What was typed behind `convgrid`.

    Returns:
        `command`, and what that one takes.

    Raises:
        SystemExit: With status 0 after a help, with 2 where the line cannot be parsed, of which stderr tells.
    """
    parser, commands = _parsers()
    first = next(iter(words), None)
    if first is None:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if first not in commands and not first.startswith("-"):
        from convgrid.config.nearest import nearest_option

        listed = f" Commands: {', '.join(commands)}."
        parser.error(f"{first!r} is not a command.{nearest_option(first, commands) or listed}")
    asked, unknown = parser.parse_known_args(words)
    if unknown:
        commands[asked.command].error(f"{' '.join(unknown)} is not an argument of {asked.command}.")
    if asked.command == "preview" and {"-h", "--help"} & {*asked.words}:
        commands["preview"].print_help()
        raise SystemExit(0)
    return asked


def flags_of(command: str) -> list[str]:
    """List a command's flags, for a shell to complete; none of a command that does not exist."""
    _, commands = _parsers()
    return option_strings(commands[command]) if command in commands else []


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The whole, and the commands by name, in the order of the help."""
    parser = _Parser(
        prog="convgrid",
        usage="%(prog)s COMMAND ...",
        description=DESCRIPTION.format(commands="\n".join(f"  {name:<9} {COMMANDS[name][0]}" for name in COMMANDS)),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, prog="convgrid", help=argparse.SUPPRESS)
    for name, (line, add) in COMMANDS.items():
        hydra = name in ("run", "preview")
        add(
            commands.add_parser(
                name,
                description=f"{line[0].upper()}{line[1:]}.",
                allow_abbrev=False,
                add_help=not hydra,
                prefix_chars=NO_FLAGS if hydra else "-",
                formatter_class=argparse.RawDescriptionHelpFormatter if hydra else argparse.HelpFormatter,
            )
        )
    return parser, commands.choices


def _add_nothing(_: argparse.ArgumentParser) -> None:
    """The command takes none."""


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs=argparse.REMAINDER)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Without options: the last sweep of this folder. A metric that --map names and convgrid does not know "
        "is better when higher, unless its name ends in loss or error."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("named", nargs="?", metavar="SWEEP", help=SWEEP_HELP)
    which.add_argument("--sweep", metavar="SWEEP", help="the same")
    parser.add_argument("--experiment", metavar="NAME", help="an MLflow experiment; convgrid with a store or filter")
    parser.add_argument("--filter", metavar="F", help="MLflow's filter: \"params.optimizer = 'adam'\"")
    parser.add_argument("--tracking-uri", metavar="URI", help=f"where the experiment is: {STORE_HELP}")
    parser.add_argument(
        "--map", nargs="+", metavar="OURS=THEIRS", default=[], help="names of others: val/accuracy=valid_acc seed=rs"
    )
    parser.add_argument(
        "--keys",
        nargs="+",
        metavar="KEY",
        help="what tells settings apart, where not all that differs: others count as repetitions, with a warning",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="where the report goes instead of sweeps/ID/report, or report-KEYS"
    )


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Images are turned upright, made grey or RGB, resized and cropped as those of the training."
    parser.add_argument(
        "run", metavar="RUN", help=f"{RUN_HELP}; or an exported file ({', '.join(EXPORT_SUFFIXES.values())})"
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, or folders of them")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_const", dest="show", const="json", help="a list, with all predictions")
    shown.add_argument("--csv", action="store_const", dest="show", const="csv", help="a table, with all predictions")
    shown.add_argument(
        "--map",
        action="store_const",
        dest="show",
        const="map",
        help="what stands where in photos of any size: PHOTO.map.png and PHOTO.map.csv, in this folder",
    )
    parser.set_defaults(show="text")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "It is compared with the trained model, on images of its validation or those given, before it is kept."
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--format", choices=EXPORT_SUFFIXES, default="torch_export", help="torch_export where not given"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to; the run's id in this folder otherwise")
    parser.add_argument("--images", nargs="+", metavar="IMAGE", default=[], help="image files or folders of them")
    parser.add_argument("--map", action="store_true", help="for larger images, too: predictions at each place of them")


def _add_adopt(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Modules are matched in the file's order, shape by shape. The file is kept where the check is far above chance."
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="weights by name: .pt, .pth, .th or .safetensors; no code of it is run")
    add("words", nargs="+", metavar="arch=NAME", help="the network that they are of, and other overrides of run")
    add("--size", type=_sizes, required=True, metavar="N[,N]", help="height and width of the images, in pixels")
    add("--mean", type=_numbers, required=True, metavar="N,..", help="of each channel, on the scale of --scale")
    add("--std", type=_above_zero, required=True, metavar="N,..", help="likewise; one number holds for all")
    add(
        "--scale", type=_scale, default=1.0, metavar="N", help="white, before the mean is taken off: 1 (default) or 255"
    )
    add("--channels", choices=("rgb", "bgr"), default="rgb", help="their order; bgr becomes rgb; default: rgb")
    add("--classes", type=Path, metavar="FILE", help="names, a line each, in the order of the outputs")
    add(
        "--check",
        nargs="+",
        required=True,
        metavar="IMAGES",
        help="folders with a folder a class, or tables: a .csv with columns file and class (several: 281|282)",
    )
    add("--order", nargs="+", default=[], metavar="NAME", help="parts of names in the network's order, if sorted")
    add("--leave-out", nargs="+", default=[], metavar="NAME", help="what names start with that the network lacks")
    add("--licence", default="not stated", help="of the weights, to be kept with them")
    add("--source", default="", help="where they are from; the file's name otherwise")
    add("--out", type=Path, metavar="FILE", help="where to; FILE.safetensors in this folder otherwise")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} must be numbers, such as 0.485,0.456,0.406") from None


def _above_zero(text: str) -> list[float]:
    numbers = _numbers(text)
    if not min(numbers) > 0:  # nor NaN
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return numbers


def _scale(text: str) -> float:
    return _above_zero(text)[0]


def _sizes(text: str) -> list[int]:
    sizes = text.split(",")
    if len(sizes) > 2 or not all(size.isdecimal() and int(size) for size in sizes):
        raise argparse.ArgumentTypeError(f"{text} must be pixels, such as 224, or height and width: 192,256")
    return [int(size) for size in sizes]


def _add_features(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "A map shows 3,000 images at most. Its page holds them, small; it needs nothing else."
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="image files or folders of them; else the run's data"
    )
    parser.add_argument("--map", choices=("tsne", "pca"), help="draw the images in two dimensions, near where alike")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to; a folder in the run's otherwise")


def _add_preview(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [group=option | key=value ...] [out=FILE.png]"
    parser.epilog = """\
  convgrid preview data=cifar10 augment=keras_blog
  convgrid preview augment=custom augment.rotation_range=15 out=turned.png
  convgrid preview experiments=very_little_data seed=1

Draws the first 8 images of the training's first minibatch, a row each: its target, the image as it is, and what
augmentation makes of it in each of 7 epochs. Another seed shows other images. The sheet is written to preview.png,
or to what out= says. Groups, options and keys are those of convgrid run --help."""
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "CONVGRID_CACHE_GIB=20 lets all files take 20 GiB instead of 10; the least recently used ones go."
    parser.add_argument("what", nargs="?", choices=("list", "clear"), default="list", help="list where not given")


def _add_node(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Ctrl-C, SIGTERM and SIGUSR1 end it: its trials keep their finished epochs and go on elsewhere. "
        "A scheduler that is started again finds it waiting."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="sweeps/ID/scheduler.json, as the sweep prints it")


def _add_sync(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tracking-uri", metavar="URI", help=f"send all there, not to where each belongs: {STORE_HELP}"
    )
    parser.add_argument("--experiment", metavar="NAME", help="of that store; else each one's own")


def _add_ui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=5000, help="of 127.0.0.1; default: %(default)s")
    parser.add_argument("--tracking-uri", metavar="URI", help="of the store; else that of the last sweep or run here")


COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {  # in the order of the help
    "run": ("train a ConvNet, or with -m a sweep of them", _add_run),
    "compare": ("say which setting of a sweep is best, by how much, and how sure that is", _add_compare),
    "predict": ("say what a trained model predicts of images", _add_predict),
    "export": ("write a trained model into one file: images in, predictions out", _add_export),
    "adopt": ("turn published weights into a file for arch.weights, once images show that they fit", _add_adopt),
    "features": ("write what a network's last layer but one makes of images, and draw a map of them", _add_features),
    "preview": ("draw what augmentation makes of training images", _add_preview),
    "cache": ("list the features that frozen layers have made of images, or remove them", _add_cache),
    "sweeps": ("list the sweeps of this folder, and the command that goes on with each", _add_nothing),
    "node": ("train on this machine for a sweep that runs on another", _add_node),
    "sync": ("send to MLflow what it lacks of this folder's runs and sweeps", _add_sync),
    "ui": ("show MLflow's dashboard, with the last sweep's trials side by side", _add_ui),
}
