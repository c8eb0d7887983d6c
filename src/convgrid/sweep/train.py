"""A planned sweep is trained, tracked, shown, and ranked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.text import Text

from convgrid.config import Settings, component, digest_of
from convgrid.config.address import without_password
from convgrid.runs.best import REPETITIONS
from convgrid.runs.sweep import SweepFolder
from convgrid.runs.trial import set_right
from convgrid.sweep.executors.choice import workers_of
from convgrid.sweep.executors.interface import Launcher, Workers
from convgrid.sweep.interfaces import Outcome, Source, Survey, TrialResult
from convgrid.sweep.objectives import main_objective, objectives_of
from convgrid.sweep.plan_table import show_front
from convgrid.sweep.race import Look, RaceSource, rules_of
from convgrid.sweep.retention import Retention, how_many
from convgrid.sweep.scheduler import Ending, Scheduler, SchedulerRules
from convgrid.sweep.search_plan import SearchPlan
from convgrid.sweep.sources import GridSource, NotedSource
from convgrid.sweep.view import LineView, LiveView, view_for
from convgrid.sweep.winner_artifacts import WinnerArtifacts
from convgrid.system.memory import uncollected
from convgrid.terminal import printable, show_store
from convgrid.tracking.writer import FLUSH, Writer, start_writer

if TYPE_CHECKING:
    from convgrid.sweep.search import Search

STATUS_OF_ENDING: Mapping[Ending, str] = {
    "complete": "finished",
    "interrupted": "killed",
    "disk": "killed",
    "failing": "failed",
    "alone": "killed",
}
STATUSES_RERUN = {None: (), "failed": ("failed",), "all": ("finished", "pruned", "failed")}


@dataclass(frozen=True)
class Crew:
    """What a sweep works with: who trains, who shows, who sends to the tracking store (None where nothing is tracked).

    Args:
        artifacts: What the winner gets in the tracking store.
        has_repetitions: Whether settings are compared by statistics.
    """

    workers: Workers
    view: LineView | LiveView
    tracker: Writer | None
    artifacts: WinnerArtifacts
    has_repetitions: bool

    def prepare_end(self) -> None:
        """Import what the end needs, while the last trials train."""
        if self.tracker:
            self.artifacts.warm_up()
        _import_summary()
        if self.has_repetitions:
            with uncollected():
                import scipy.stats  # noqa: F401  (which the comparison of many settings needs)

    def make_artifacts(self, winner: Outcome | None) -> None:
        """Begin to make what the winner gets. Returns at once."""
        if self.tracker and winner:
            self.artifacts.begin(Path(winner.folder))

    def send_rest(self, winner: Outcome | None) -> list[Path]:
        """Send what is left, with the winner's artifacts.

        Returns:
            Folders of which the store lacks something.
        """
        if self.tracker is None:
            return []
        if winner:
            self.tracker.tell(Path(winner.folder), whole=True, parts=self.artifacts.parts())
        unsent = self.tracker.close(FLUSH)
        for note in self.tracker.notes():
            self.view.note(note)
        return unsent


class Swept(NamedTuple):
    """A sweep that has ended.

    Args:
        status: The exit status: 0; 1 where trials failed or the sweep was stopped; 130 after Ctrl-C.
    """

    id: str
    status: int


def train_sweep(
    survey: Survey,
    settings: Settings,
    command: str,
    console: Console,
    launcher: Launcher | None = None,
    search: SearchPlan | None = None,
) -> Swept:
    """Train what a survey found, each trial once, or what a search asks for; and show which is best.

    Args:
        settings: What is not swept, and the `sweep` group.
        command: As typed, which also continues the sweep.
        launcher: Who brings machines; None trains on this one.
        search: Where a search looks that learns; None trains the survey's trials.

    Returns:
        What it was, and how it ended.

    Raises:
        ConfigError: If another process runs the same search.
        DiskError: If the sweep's folder cannot be made.
    """
    retention = Retention(how_many(settings.sweep.keep_checkpoints), *main_objective(settings))
    with _folder(survey, settings, command, search) as folder:
        show_store(settings.tracking.uri, settings.tracking.experiment, console)
        asked = _ask(settings, folder.id, search) if search else None
        with _crew(survey, settings, folder.path, console, launcher, is_search=search is not None) as crew:
            raced = _race(survey, settings, crew.view.look) if settings.sweep.is_race else None
            source = raced or _pruned(asked or GridSource(survey.trials), survey, settings)
            noted = NotedSource(source, folder, retention, crew.prepare_end)
            scheduler = Scheduler(
                folder.id, noted, crew.workers, _rules(settings, survey.finished), crew.view, crew.tracker
            )
            ending = scheduler.run()
            crew.view.close()
            results = [*scheduler.outcomes.values()]
            winner = retention.close(raced.leader if raced else None) if ending == "complete" else None
            _close(folder, ending, winner, asked)
            crew.make_artifacts(winner)
            wanted = raced.asked if raced else (settings.sweep.max_trials or 0) if asked else len(survey.trials)
            left = 0 if ending == "complete" else wanted - _ended(results)
            _import_summary()(results, folder.id, console, left=left, command=command)
            if asked:
                _tell_search(asked, results, settings, console)
            unsent = crew.send_rest(winner)
    _tell_ending(ending, scheduler.alone, results, unsent, settings, console)
    return Swept(folder.id, _exit_status(ending, results))


@contextmanager
def _crew(
    survey: Survey, settings: Settings, folder: Path, console: Console, launcher: Launcher | None, *, is_search: bool
) -> Iterator[Crew]:
    """Open what a sweep works with; it is closed in the opposite order, whatever happens.

    The writer starts before the workers, which wait for the fork server: MLflow is imported all the while. The view
    starts last, since it hides what others print, and ends first.
    """
    with ExitStack() as stack:
        artifacts = stack.enter_context(closing(WinnerArtifacts()))
        tracker = start_writer(settings, folder)
        if tracker:
            stack.callback(tracker.end)
        for other in set_right():
            if tracker:
                tracker.tell(other, is_member=False)
        trained = [trial.settings for trial in survey.trials] or [settings]
        workers = stack.enter_context(closing(workers_of(settings, launcher, folder, trained)))
        view = stack.enter_context(closing(view_for(console, *main_objective(settings))))
        begun = replace(survey, trials=(), finished=frozenset()) if settings.sweep.is_race else survey
        view.start(begun, settings.sweep.max_trials if is_search else None)
        yield Crew(workers, view, tracker, artifacts, not survey.varying.keys().isdisjoint(REPETITIONS))


@cache
def _import_summary() -> Callable[..., None]:
    with uncollected():
        from convgrid.sweep.summary import show_summary  # pandas takes half a second to import
    return show_summary


def _folder(survey: Survey, settings: Settings, command: str, search: SearchPlan | None) -> SweepFolder:
    """The same trials and objective, or the same search, have the same folder."""
    objective = main_objective(settings)
    points = search.key if search else sorted(trial.key for trial in survey.trials)
    race = {"race": asdict(rules_of(survey.trials, settings.sweep))} if settings.sweep.is_race else {}
    return SweepFolder(
        digest_of({"trials": points, "objective": list(objective), **race})[:12],
        [] if race else [trial.key for trial in survey.trials],
        {
            "command": without_password(command),
            "definition": {"sweep": settings.values["sweep"]},  # with the sampler's and the pruner's own keys
            "objective": objective,
            **race,
            "searched": [dimension.key for dimension in search.space.dimensions] if search else [],
            "tracking": asdict(settings.tracking) | settings.values["tracking"],  # which holds no secrets
            "varying": survey.varying,
            "points": survey.num_points,
            "skipped": _texts(survey.skipped),
        },
        shared=search is None,
    )


def _close(folder: SweepFolder, ending: Ending, winner: Outcome | None, asked: "Search | None") -> None:
    skipped = {"skipped": _texts(asked.skipped)} if asked else {}
    folder.close(STATUS_OF_ENDING[ending], winner=Path(winner.folder).name if winner else None, **skipped)


def _texts(skipped: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[str]]:
    return {reason: [" ".join(overrides) for overrides in points] for reason, points in skipped.items()}


def _rules(settings: Settings, finished: frozenset[str]) -> SchedulerRules:
    return SchedulerRules(
        trial_timeout=settings.sweep.trial_timeout,
        retries=settings.sweep.retries,
        max_consecutive_failures=settings.sweep.max_consecutive_failures,
        again=STATUSES_RERUN[settings.sweep.rerun],
        asks=component(settings, "sweep/pruner") is not None,
        finished=finished,
    )


def _ask(settings: Settings, sweep: str, search: SearchPlan) -> "Search":
    from convgrid.sweep.search import search_of  # Optuna takes half a second to import

    return search_of(settings, sweep, search.space, search.trials)


def _pruned(source: Source, survey: Survey, settings: Settings) -> Source:
    if component(settings, "sweep/pruner") is None:
        return source
    from convgrid.sweep.pruning import with_pruning  # as above

    return with_pruning(source, settings, survey.trials)


def _race(survey: Survey, settings: Settings, begins: Callable[[Look], None]) -> RaceSource:
    return RaceSource(survey, rules_of(survey.trials, settings.sweep), *main_objective(settings), begins)


def _ended(results: Sequence[TrialResult]) -> int:
    return sum(outcome.status != "killed" for _, outcome in results)


def _tell_search(asked: "Search", results: Sequence[TrialResult], settings: Settings, console: Console) -> None:
    """Say what a search found beside the best, and what it could not train."""
    show_front(results, objectives_of(settings), console)
    skipped = sum(map(len, asked.skipped.values()))
    lines = [f"{skipped:,} points drawn are infeasible, such as: {next(iter(asked.skipped))}"] if skipped else []
    for line in [*lines, *([asked.note] if asked.note else [])]:
        console.print(Text(printable(line, console)), soft_wrap=True)


def _tell_ending(
    ending: Ending,
    alone: str,
    results: Sequence[TrialResult],
    unsent: Sequence[Path],
    settings: Settings,
    console: Console,
) -> None:
    """Say what the user may do next."""
    lines: list[str] = []
    reasons = [outcome.reason for _, outcome in results if outcome.status == "killed"]  # the others were stopped for it
    if ending == "failing":
        most = settings.sweep.max_consecutive_failures
        lines.append(
            f"Stopped: the first {most} settings failed alike (sweep.max_consecutive_failures={most}). "
            "Once the cause is mended, add sweep.rerun=failed."
        )
    if ending == "disk":
        lines.append(f"Stopped: {reasons[0]}" if reasons else "Stopped: the disk cannot be written.")
    if ending == "alone":
        lines.append(f"Stopped: {alone}.")
    if unsent:
        place = without_password(settings.tracking.uri or "")
        lines.append(f"{len(unsent)} runs are not in {place} yet. To send them: python -m convgrid sync")
    if any(outcome.status == "finished" for _, outcome in results):
        lines.append("report     python -m convgrid compare")
        if settings.tracking.uri:
            lines.append("dashboard  python -m convgrid ui")
    for line in lines:
        console.print(Text(printable(line, console)), soft_wrap=True)


def _exit_status(ending: Ending, results: Sequence[TrialResult]) -> int:
    if ending == "interrupted":
        return 130
    return int(ending != "complete" or any(outcome.status == "failed" for _, outcome in results))
