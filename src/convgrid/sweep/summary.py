"""What a sweep came to: the answer of its folders, why trials failed, and how to go on."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from convgrid.compare import answer
from convgrid.compare.analysis import alike
from convgrid.compare.console import Cause, show
from convgrid.compare.folders import from_folders
from convgrid.sweep.interfaces import Outcome, Trial, TrialResult
from convgrid.sweep.view import setting


def show_summary(results: Sequence[TrialResult], sweep: str, console: Console, *, left: int, command: str) -> None:
    """Print the ranked settings, the failures by their causes, and how to go on where something is left.

    Args:
        left: Trials that have not ended.
        command: What continues the sweep.
    """
    trials = replace(from_folders(sweep), left=left, command=command)
    show(trials, answer(trials, in_full=False), console, _causes(results))


def _causes(results: Sequence[TrialResult]) -> list[Cause]:
    """Reasons that differ in numbers only are one; a trial may fail before it has a folder."""
    causes: dict[str, list[TrialResult]] = {}
    for trial, outcome in results:
        if outcome.status == "failed":
            causes.setdefault(alike(outcome.reason), []).append((trial, outcome))
    return [
        Cause(found[0][1].reason, len(found), _example(*found[0]))
        for found in sorted(causes.values(), key=len, reverse=True)
    ]


def _example(trial: Trial, outcome: Outcome) -> str:
    return setting(trial) + (f": {outcome.folder}/log.txt" if outcome.folder else "")
