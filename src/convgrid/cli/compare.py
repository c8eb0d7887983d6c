"""`convgrid compare`: which setting of a sweep, or of an MLflow experiment, is best."""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from convgrid.compare.analysis import answer
from convgrid.compare.console import show
from convgrid.compare.sources import load
from convgrid.compare.trials import Trials
from convgrid.errors import ConfigError
from convgrid.runs.sweep import SWEEPS, TRACKED_SWEEP
from convgrid.runs.trial import read_tracked
from convgrid.terminal import printable


def compare(asked: Namespace) -> int:
    """Print which setting is best, and write the report.

    Args:
        asked: What `convgrid compare --help` lists.

    Returns:
        The exit status.

    Raises:
        ConvgridError: If there are no such trials, or none of them has finished.
    """
    trials = load(
        asked.sweep or asked.named,
        experiment=asked.experiment,
        filter=asked.filter,
        tracking_uri=asked.tracking_uri,
        mapping=_mapping(asked.map),
        keys=asked.keys,
    )
    if trials.finished.empty:
        raise ConfigError(_unfinished(trials))
    found = answer(trials)
    console = Console()
    show(trials, found, console)
    from convgrid.compare.report import write

    assert trials.folder is not None
    folder = Path(asked.out) if asked.out else trials.folder
    report = write(trials, found, folder)
    console.print(Text.assemble(("report  ", "bold"), printable(str(report), console)), soft_wrap=True)
    if trials.sweep and not asked.out and not asked.keys:  # elsewhere are files that are not the sweep's report
        _log(trials.sweep, folder)
    return 0


def _mapping(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    for word, (own, _, theirs) in zip(words, pairs, strict=True):
        if not own or not theirs:
            raise ConfigError(f"--map {word} is not OURS=THEIRS. Use one such as val/accuracy=valid_acc.")
    return {own: theirs for own, _, theirs in pairs}


def _unfinished(trials: Trials) -> str:
    counts = trials.frame["status"].value_counts()
    states = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    then = f" To go on: {trials.command}" if trials.command else ""
    return f"No trial of {trials.title} has finished with {trials.metric}: {states}.{then}"


def _log(sweep: str, folder: Path) -> None:
    """Store the report with the sweep's MLflow run, where it has one; a comparison without it is still one."""
    known = next(iter(read_tracked(SWEEPS / sweep / TRACKED_SWEEP).values()), {})
    if not known.get("run_id"):
        return
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from convgrid.compare.mlflow_runs import open_existing

        open_existing(known["uri"]).log_artifacts(known["run_id"], str(folder), "report")
    except Exception as error:  # a store may fail in every way that a database, a network or a disk can
        cause = str(error).strip().partition("\n")[0]
        print(f"The report is in its folder only, not in MLflow: {cause}", file=sys.stderr)
