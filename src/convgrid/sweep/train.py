"""A surveyed sweep is trained, tracked, shown, and ranked."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from convgrid.config import Settings, component, digest_of
from convgrid.objective.glossary import Mode, objective_of
from convgrid.runs.trial import read_record, set_right
from convgrid.sweep.executor import Local
from convgrid.sweep.interfaces import Outcome, Source, Survey, Trial, Wait
from convgrid.sweep.objectives import objectives_of
from convgrid.sweep.plan_table import show_front
from convgrid.sweep.retention import Retention, how_many
from convgrid.sweep.scheduler import Ending, Rules, Scheduler
from convgrid.sweep.search_plan import SearchPlan
from convgrid.sweep.sweeps import SweepFolder
from convgrid.sweep.view import view_for
from convgrid.sweep.winner_artifacts import WinnerArtifacts
from convgrid.system.memory import uncollected
from convgrid.tracking.writer import FLUSH, start_writer

if TYPE_CHECKING:
    from convgrid.sweep.search import Search

SWEEP_STATUS: Mapping[Ending, str] = {
    "complete": "finished",
    "interrupted": "killed",
    "disk": "killed",
    "failing": "failed",
}
AGAIN = {None: (), "failed": ("failed",), "all": ("finished", "pruned", "failed")}


class GridSource:
    """The trials of a grid, longest first, so that no long one is left to the end."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._left = sorted(trials, key=lambda trial: trial.cost)

    def next(self) -> Trial | Wait | None:
        """Hand out the longest that is left."""
        return self._left.pop() if self._left else None

    def epoch(self, trial: Trial, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Prune nothing."""
        return False

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Learn nothing."""


class Noting:
    """A source whose outcomes are noted on the way: in the sweep's folder, and for the weights that it keeps.

    Args:
        keep: Which weights to keep.
        maker: Of what the winner gets in MLflow; None where nothing is tracked.
    """

    def __init__(self, source: Source, sweep: SweepFolder, keep: Retention, maker: WinnerArtifacts | None) -> None:
        self._source, self._sweep, self._keep, self._maker = source, sweep, keep, maker
        self.epoch = source.epoch

    def next(self) -> Trial | Wait | None:
        """Hand out the next; where there is none, the asking worker's core is free to import what the end needs."""
        trial = self._source.next()
        if trial is None:
            if self._maker:
                self._maker.warm_up()
            _import_summary()
        return trial

    def ended(self, trial: Trial, outcome: Outcome) -> None:
        """Note it, and hand it on."""
        self._sweep.ended(trial, outcome)
        if outcome.folder:  # a single run keeps what it has
            self._keep.ended(trial, outcome, removable="sweep" in read_record(Path(outcome.folder)))
        self._source.ended(trial, outcome)


def train_sweep(
    survey: Survey, settings: Settings, command: str, console: Console, search: SearchPlan | None = None
) -> int:
    """Train what a survey found, each trial once, or what a search asks for; and show which is best.

    Args:
        survey: Of the sweep's points.
        settings: What is not swept, and the `sweep` group.
        command: As typed, which also continues the sweep.
        console: Where to show it.
        search: Where a search looks that learns; None trains the survey's trials.

    Returns:
        The exit status: 0; 1 where trials failed or the sweep was stopped; 130 after Ctrl-C.

    Raises:
        ConfigError: If another process runs the same search.
        DiskError: If the sweep's folder cannot be made.
    """
    options: Mapping[str, Any] = settings.values["sweep"]
    objective = _objective(settings)
    keep = Retention(how_many(options["keep_checkpoints"]), *objective)
    points = search.key if search else sorted(trial.key for trial in survey.trials)
    sweep = SweepFolder(
        digest_of({"trials": points, "objective": list(objective)})[:12],
        survey,
        {
            "command": command,
            "definition": {"sweep": options},
            "objective": objective,
            "searched": [dimension.key for dimension in search.space.dimensions] if search else [],
            "tracking": settings.values["tracking"],
        },
        shared=search is None,
    )
    asked = _ask(settings, sweep.id, search) if search else None
    source = _pruned(asked or GridSource(survey.trials), survey, settings)
    tracker = start_writer(settings, sweep.path)
    for folder in set_right():
        if tracker:
            tracker.tell(folder, is_member=False)
    workers = _workers(settings)  # it waits for the fork server, which imports all the while
    shown = view_for(console, *objective)
    shown.start(survey, len(workers.workers), options["max_trials"] if search else None)
    maker = WinnerArtifacts()
    noting = Noting(source, sweep, keep, maker if tracker else None)
    scheduler = Scheduler(sweep.id, noting, workers, _rules(settings), shown, tracker)
    try:
        ending = scheduler.run()
        shown.close()
        winner = keep.close() if ending == "complete" else None
        sweep.update(winner=Path(winner.folder).name if winner else None)
        sweep.close(SWEEP_STATUS[ending])
        results = [*scheduler.outcomes.values()]
        wanted = options["max_trials"] if search else len(survey.trials)
        left = 0 if ending == "complete" else wanted - sum(outcome.status != "killed" for _, outcome in results)
        if tracker and winner:
            maker.begin(Path(winner.folder))
        _import_summary()(results, sweep.id, console, left=left, command=command)
        if asked:
            _tell_search(asked, results, settings, sweep, console)
        if tracker and winner:
            tracker.tell(Path(winner.folder), whole=True, parts=maker.parts())
        unsent = tracker.close(FLUSH) if tracker else []
        for note in tracker.notes() if tracker else ():
            shown.note(note)
    finally:
        shown.close()
        workers.close()
        if tracker:
            tracker.end()
        maker.close()
    _tell_ending(ending, results, unsent, settings, console)
    if ending == "interrupted":
        return 130
    return int(ending != "complete" or any(outcome.status == "failed" for _, outcome in results))


@cache
def _import_summary() -> Callable[..., None]:
    with uncollected():
        from convgrid.sweep.summary import show_summary  # pandas and scipy take a second to import
    return show_summary


def _workers(settings: Settings) -> Local:
    options, trainer = settings.values["sweep"], settings.values["trainer"]
    return Local(
        workers=options["workers"],
        trials_per_gpu=options["trials_per_gpu"],
        threads=trainer["threads"],
        accelerator=trainer["accelerator"],
    )


def _rules(settings: Settings) -> Rules:
    options = settings.values["sweep"]
    return Rules(
        trial_timeout=options["trial_timeout"],
        retries=options["retries"],
        max_consecutive_failures=options["max_consecutive_failures"],
        again=AGAIN[options["rerun"]],
        asks=component(settings, "sweep/pruner") is not None,
    )


def _ask(settings: Settings, sweep: str, search: SearchPlan) -> "Search":
    from convgrid.sweep.search import search_of  # Optuna takes half a second to import

    return search_of(settings, sweep, search.space, search.trials)


def _pruned(source: Source, survey: Survey, settings: Settings) -> Source:
    if component(settings, "sweep/pruner") is None:
        return source
    from convgrid.sweep.pruning import with_pruning  # as above

    return with_pruning(source, settings, survey.trials)


def _tell_search(
    asked: "Search", results: Sequence[tuple[Trial, Outcome]], settings: Settings, sweep: SweepFolder, console: Console
) -> None:
    """Say what a search found beside the best, and what it could not train."""
    sweep.update(skipped={reason: list(map(" ".join, points)) for reason, points in asked.skipped.items()})
    show_front(results, objectives_of(settings), console)
    skipped = sum(map(len, asked.skipped.values()))
    lines = [f"{skipped:,} points drawn are infeasible, such as: {next(iter(asked.skipped))}"] if skipped else []
    for line in [*lines, *([asked.note] if asked.note else [])]:
        console.print(line, highlight=False, soft_wrap=True)


def _tell_ending(
    ending: Ending,
    results: Sequence[tuple[Trial, Outcome]],
    unsent: Sequence[Path],
    settings: Settings,
    console: Console,
) -> None:
    """Say what the user may do next."""
    lines: list[str] = []
    reasons = [outcome.reason for _, outcome in results if outcome.reason]
    if ending == "failing":
        most = settings.values["sweep"]["max_consecutive_failures"]
        lines.append(f"Stopped: the first {most} trials failed alike (sweep.max_consecutive_failures={most}).")
    if ending == "disk":
        lines.append(f"Stopped: {reasons[-1]}" if reasons else "Stopped: the disk cannot be written.")
    if unsent:
        lines.append(
            f"{len(unsent)} runs are not in {settings.values['tracking']['uri']} yet. "
            "To send them: python -m convgrid sync"
        )
    if any(outcome.status == "finished" for _, outcome in results):
        lines.append("report     python -m convgrid compare")
        if settings.values["tracking"].get("uri"):
            lines.append("dashboard  python -m convgrid ui")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _objective(settings: Settings) -> tuple[str, Mode]:
    task, objective = settings.values["data"].get("task", "classification"), settings.values["objective"]
    return objective_of(task, objective["metric"], objective["mode"])
