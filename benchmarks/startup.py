"""What a command takes before it trains: its wall time over `python -c "import hydra"`, and what it must not import.

Usage: python benchmarks/startup.py [--quick]

The commands run in turn, each in a process of its own; a ratio is the median over the turns. The last line is of what
every training imports: wall time of plain imports over that of convgrid's, without Python's garbage collector and
without what torchmetrics alone asks for.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

RUN = str(Path(__file__).parents[1] / "run.py")
COMMANDS = {
    "import hydra": ("-c", "import hydra"),
    "--help": (RUN, "--help"),
    "--cfg job": (RUN, "--cfg", "job"),
    "dry_run=true": (RUN, "dry_run=true"),
}
TRAINING = {
    "plain": ("-c", "import convgrid.training.trial"),
    "lean": (
        "-c",
        "from convgrid.system.imports import import_lightning; import_lightning(); import convgrid.training.trial",
    ),
}
HEAVY = {"torch", "lightning", "mlflow", "sklearn"}
LIMIT = 3.0


def run(arguments: Sequence[str]) -> tuple[float, str]:
    """Run Python once.

    Returns:
        Seconds, and what it wrote to stderr.
    """
    # As on the user's machine, where byte code is kept: the first round writes it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stderr


def heavy_imports(report: str) -> list[str]:
    """List the packages that a command imports and must not.

    Args:
        report: What `python -X importtime` wrote of it.

    Returns:
        Names, sorted; none is how it should be.
    """
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in report.splitlines()}
    assert "hydra" in imported, "Python's report of imports cannot be parsed"
    return sorted(imported & HEAVY)


def timed(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[float]]:
    """Run commands in turn.

    Args:
        commands: Arguments of the interpreter by name.

    Returns:
        Seconds of every round by name.
    """
    times = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            times[name].append(run(arguments)[0])
    return times


def main() -> None:
    """Time every command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run? Each command once, with its report")
    quick = parser.parse_args().quick
    rounds = 1 if quick else 15
    reported = {name: run(["-X", "importtime", *arguments]) for name, arguments in COMMANDS.items()}
    heavy = {name: heavy_imports(report) for name, (_, report) in reported.items()}
    times = {name: [seconds] for name, (seconds, _) in reported.items()} if quick else timed(COMMANDS, rounds)
    base = times.pop("import hydra")
    print(f"import hydra: median {statistics.median(base) * 1e3:.0f} ms of {rounds}")
    for name, values in times.items():
        ratio = statistics.median(value / other for value, other in zip(values, base, strict=True))
        told = f"imports {', '.join(heavy[name])}, which it must not" if heavy[name] else f"imports no {_listed(HEAVY)}"
        median = f"median {statistics.median(values) * 1e3:.0f} ms"
        print(f"{name:<13} ratio {ratio:.2f} (at most {LIMIT:.0f})  {median}, {told}")
    if not quick:
        plain, lean = timed(TRAINING, rounds).values()
        ratio = statistics.median(slow / fast for slow, fast in zip(plain, lean, strict=True))
        print(f"imports of a training: ratio {ratio:.2f}  median {statistics.median(lean) * 1e3:.0f} ms")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


if __name__ == "__main__":
    main()
