"""`python -m convgrid COMMAND` and the installed `convgrid COMMAND`."""

import sys

from convgrid.cli.preview import preview
from convgrid.cli.run import run
from convgrid.cli.told import told
from convgrid.config.nearest import nearest_option

COMMANDS = ("run", "preview", "sweeps", "sync", "ui", "export", "predict", "compare")
USAGE = """usage: convgrid run [-m] [group=option | key=value ...]
       convgrid preview [group=option | key=value ...] [out=FILE.png]
       convgrid sweeps
       convgrid sync [--tracking-uri URI] [--experiment NAME]
       convgrid ui [--port PORT] [--tracking-uri URI]
       convgrid export RUN [--format torch_export|onnx|safetensors] [--out FILE]
       convgrid predict RUN IMAGE... [--json|--csv]
       convgrid compare [--sweep ID | --experiment NAME ...]

  convgrid run                            train the default ConvNet
  convgrid run optimizer=sgd arch.m=3     with other options and values
  convgrid run dry_run=true arch.n=2      show the plan, train nothing
  convgrid run -m arch.n=1,2 arch.m=1,2   train every combination: a sweep
  convgrid run --help                     all groups, options, keys and defaults
  convgrid preview augment=cifar          draw what augmentation makes of training images
  convgrid sweeps                         the sweeps of this folder, and how to go on with each
  convgrid sync                           send to MLflow what it lacks of this folder's runs and sweeps
  convgrid ui                             MLflow's dashboard, with the last sweep's trials side by side
  convgrid export last                    the last model in one file: images in, predictions out
  convgrid predict last photo.jpg         what the last model says of an image
  convgrid compare                        which setting of the last sweep is best; --help shows the options"""


def main() -> int:
    """Run a command.

    Returns:
        The exit status.
    """
    match sys.argv[1:]:
        case ["run", *overrides]:
            sys.argv[:2] = [f"{sys.argv[0]} run"]
            return run(overrides)
        case ["sweeps", *words]:
            from convgrid.cli.sweeps import main as sweeps  # a plain run does without

            return told(lambda: sweeps(words))
        case ["export", *words]:
            from convgrid.cli.model import export

            return export(words)
        case ["predict", *words]:
            from convgrid.cli.model import predict

            return predict(words)
        case ["compare", *options]:
            from convgrid.cli.compare import compare  # pandas and scipy take a second to import

            return compare(options)
        case ["preview", *overrides]:
            return preview(overrides)
        case ["sync", *words]:
            from convgrid.tracking.sync_all import main as sync

            return told(lambda: sync(words))
        case ["ui", *words]:
            from convgrid.tracking.dashboard import main as ui

            return told(lambda: ui(words))
        case ["-h" | "--help"]:
            print(USAGE)
            return 0
        case [word, *_]:
            print(f"convgrid has no command {word!r}.{nearest_option(word, COMMANDS)}\n{USAGE}", file=sys.stderr)
            return 2
        case _:
            print(USAGE, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
