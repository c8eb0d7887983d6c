"""What the user sees of a sweep: a live view in a terminal or a notebook, a line for each trial's end elsewhere."""

import math
import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from convgrid.objective.glossary import Mode
from convgrid.runs.best import Results, is_finite
from convgrid.sweep.interfaces import Outcome, Survey, Trial
from convgrid.sweep.race import Look
from convgrid.system.notebook import InPlace, NotebookConsole
from convgrid.terminal import duration, printable, shortened

SWEEP_BAR_WIDTH = 20  # characters
REASON_WIDTH = 80  # characters of a failure's reason; the ranking has it in full
HOST_WIDTH = 12  # characters of a machine's name
OTHER_LINES = 6  # lines of the screen that are not a worker's
WORTH_TELLING = 5.0  # seconds left
MOST_IN = 8  # settings in question that are named
SCREEN_REDRAW_INTERVAL = 0.1  # seconds after which the screen is drawn again at the earliest


@dataclass
class _Running:
    trial: Trial
    epoch: int = 0
    max_epochs: int = 0
    value: float | None = None


class SweepProgress:
    """How far a sweep is.

    Args:
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
        total: Trials in all; None where the survey has them all.
    """

    def __init__(self, survey: Survey, metric: str, mode: Mode, total: int | None = None) -> None:
        self.metric, self.mode = metric, mode
        self.total = len(survey.trials) if total is None else total
        self.counts: Counter[str] = Counter(finished=len(survey.finished))
        self.running: dict[int, _Running] = {}
        self.hosts: dict[int, str] = {}
        self._results = Results(mode)
        self._before = set(survey.finished)
        todo = [trial.cost for trial in survey.trials if trial.key not in survey.finished]
        self._cost_todo = sum(todo) if total is None else None
        self._cost_done, self._began, self._done_before = 0, time.monotonic(), len(survey.finished)
        self.race: Look | None = None
        self._under_way = 0.0  # what running trials have done, kept: hundreds may run
        self.crew = ""  # nodes and workers, where those come and go

    def look(self, look: Look) -> None:
        """A race goes on with these settings and trials, all of which count anew."""
        self.race, self.total = look, look.asked
        self._before |= look.finished
        self.counts["finished"] += len(look.finished)
        self._done_before += len(look.finished)
        if self._cost_todo is not None:
            self._cost_todo += sum(trial.cost for trial in look.trials if trial.key not in look.finished)

    @property
    def best(self) -> tuple[str, float, int] | None:
        """The best setting so far, its mean, and of how many trials; None before a trial has finished."""
        best = self._results.best()
        if best is None:
            return None
        return in_words(dict(best)) or "as it is", self._results.mean(best), self._results.count(best)

    @property
    def done(self) -> int:
        """Trials that have ended for good."""
        return self.counts["finished"] + self.counts["pruned"] + self.counts["failed"]

    @property
    def left(self) -> int:
        """Trials that nobody has begun."""
        return max(0, self.total - self.done - len(self.running))

    def seconds_left(self) -> float | None:
        """The cost to come at the rate so far; None before an epoch has ended.

        Returns:
            Seconds.
        """
        if self._cost_todo is None:  # a search: nobody knows its trials, so each counts the same
            done, todo = self.done - self._done_before + self._under_way, self.total - self._done_before
        else:
            done, todo = self._cost_done + self._under_way, self._cost_todo
        return (todo - done) * (time.monotonic() - self._began) / done if done else None

    def started(self, worker: int, trial: Trial, host: str = "") -> None:
        """A worker has begun a trial, perhaps one that an earlier run had finished.

        Args:
            host: The worker's machine; "" for this one.
        """
        self.hosts[worker] = host
        if not self.running and self.done == self._done_before:  # machines may have been long in coming
            self._began = time.monotonic()
        self._runs(worker, _Running(trial))
        if trial.key in self._before:
            self._before.remove(trial.key)
            self.counts["finished"] -= 1
            self._done_before -= 1
            if self._cost_todo is not None:
                self._cost_todo += trial.cost

    def lost(self, worker: int) -> None:
        """A worker is gone; its trial will go on elsewhere."""
        self._runs(worker, None)

    def is_from_before(self, trial: Trial) -> bool:
        """Whether an earlier run finished a trial, which is counted from the start."""
        return trial.key in self._before

    def epoch(self, worker: int, trial: Trial, epoch: int, max_epochs: int, metrics: Mapping[str, float]) -> None:
        """A trial has finished an epoch, counted from 1."""
        self._runs(worker, _Running(trial, epoch, max_epochs, metrics.get(self.metric)))

    def ended(self, worker: int, trial: Trial, outcome: Outcome) -> None:
        """A trial has its outcome."""
        if not self.is_from_before(trial):
            self._runs(worker, None)
            self.counts[outcome.status] += 1
            self._cost_done += trial.cost
        value = outcome.metrics.get(f"best/{self.metric}", math.nan)
        if outcome.status == "finished" and is_finite(value):
            self._results.add(trial.varying, value, trial.plan.multiply_adds)

    def _runs(self, worker: int, now: _Running | None) -> None:
        """A worker is at something else, or at nothing."""
        before = self.running.pop(worker, None)
        self._under_way -= self._done_of(before) if before else 0.0
        if now is not None:
            self.running[worker] = now
            self._under_way += self._done_of(now)

    def _done_of(self, running: _Running) -> float:
        cost = 1 if self._cost_todo is None else running.trial.cost
        return cost * running.epoch / running.max_epochs if running.epoch else 0.0


class LineView:
    """A line for each trial's end, and for what else the user should know.

    Args:
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
    """

    def __init__(self, console: Console, metric: str, mode: Mode) -> None:
        self._console, self._metric = console, metric
        self._mode: Mode = mode

    def start(self, survey: Survey, total: int | None = None) -> None:
        """Begin.

        Args:
            survey: Of the sweep's points.
            total: Trials in all; None where the survey has them all.
        """
        self.progress = SweepProgress(survey, self._metric, self._mode, total)

    def started(self, worker: int, trial: Trial, host: str = "") -> None:
        """A worker has begun a trial; `host` is its machine, "" for this one."""
        self.progress.started(worker, trial, host)

    def epoch(self, worker: int, trial: Trial, epoch: int, max_epochs: int, metrics: Mapping[str, float]) -> None:
        """A trial has finished an epoch, counted from 1."""
        self.progress.epoch(worker, trial, epoch, max_epochs, metrics)

    def ended(self, worker: int, trial: Trial, outcome: Outcome) -> None:
        """Print a trial's outcome, unless an earlier run has."""
        self.progress.ended(worker, trial, outcome)
        if self.progress.is_from_before(trial):
            return
        count, seconds = f"[{self.progress.done}/{self.progress.total}]", self.progress.seconds_left()
        told = f"{count} {setting(trial)}  {_outcome(outcome, self._metric)}  {outcome.seconds:.1f} s"
        self.note(f"{told}, about {duration(seconds)} left" if seconds and seconds >= WORTH_TELLING else told)

    def lost(self, worker: int) -> None:
        """A worker is gone; its trial will go on elsewhere."""
        self.progress.lost(worker)

    def crew(self, text: str) -> None:
        """Who is there now, which notes tell."""

    def look(self, look: Look) -> None:
        """Print who is still in a race."""
        self.progress.look(look)
        self.note(in_question(look))

    def note(self, text: str) -> None:
        """Print something that the user should know now."""
        self._console.print(Text(printable(text, self._console)), soft_wrap=True)

    def close(self) -> None:
        """End: every line is printed."""


class LiveView:
    """A live view: counts, time left, the best so far, what each worker does; notes and failures pass by above it.

    Args:
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".
    """

    def __init__(self, console: Console, metric: str, mode: Mode) -> None:
        self._console, self._metric = console, metric
        self._mode: Mode = mode
        self._live = (
            InPlace()
            if isinstance(console, NotebookConsole)
            else Live(console=console, auto_refresh=False, transient=True)  # a thread would be one more to fork
        )
        self._drawn = 0.0

    def start(self, survey: Survey, total: int | None = None) -> None:
        """Begin to draw.

        Args:
            survey: Of the sweep's points.
            total: Trials in all; None where the survey has them all.
        """
        self.progress = SweepProgress(survey, self._metric, self._mode, total)
        self._live.start()
        self._draw()

    def started(self, worker: int, trial: Trial, host: str = "") -> None:
        """A worker has begun a trial; `host` is its machine, "" for this one."""
        self.progress.started(worker, trial, host)
        self._draw()

    def epoch(self, worker: int, trial: Trial, epoch: int, max_epochs: int, metrics: Mapping[str, float]) -> None:
        """A trial has finished an epoch, counted from 1."""
        self.progress.epoch(worker, trial, epoch, max_epochs, metrics)
        self._draw()

    def ended(self, worker: int, trial: Trial, outcome: Outcome) -> None:
        """A trial has its outcome; a failure is told at once."""
        self.progress.ended(worker, trial, outcome)
        if outcome.status == "failed":
            self.note(f"{setting(trial)}  {_outcome(outcome, self._metric)}")
        self._draw()

    def lost(self, worker: int) -> None:
        """A worker is gone; its trial will go on elsewhere."""
        self.progress.lost(worker)
        self._draw()

    def crew(self, text: str) -> None:
        """Who is there now."""
        self.progress.crew = text
        self._draw()

    def look(self, look: Look) -> None:
        """A race goes on with fewer settings."""
        self.progress.look(look)
        self._draw()

    def note(self, text: str) -> None:
        """Print something that the user should know now."""
        self._console.print(Text(printable(text, self._console)))

    def close(self) -> None:
        """Clear the view; that of a notebook stays, as it is at the end."""
        if self._drawn and isinstance(self._live, InPlace):
            self._live.update(screen(self.progress, self._console))
        self._live.stop()

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn >= SCREEN_REDRAW_INTERVAL:
            self._drawn = now
            self._live.update(screen(self.progress, self._console), refresh=True)


def view_for(console: Console, metric: str, mode: Mode) -> LineView | LiveView:
    """Choose what suits the console.

    Args:
        console: A terminal, a notebook's, or one that keeps every line.
        metric: What is best, such as "val/accuracy".
        mode: "max" or "min".

    Returns:
        A view, not yet started.
    """
    is_live = console.is_terminal or isinstance(console, NotebookConsole)
    return LiveView(console, metric, mode) if is_live else LineView(console, metric, mode)


def screen(progress: SweepProgress, console: Console) -> Group:
    """Draw a sweep.

    Args:
        console: Says how much room there is.

    Returns:
        No line is longer than the console is wide.
    """
    seconds = progress.seconds_left()
    counts = [f"{progress.done}/{progress.total}"]
    counts += [f"{progress.counts[status]} {status}" for status in ("failed", "pruned") if progress.counts[status]]
    counts += [f"{len(progress.running)} running", f"{progress.left} left"]
    counts += [progress.crew] if progress.crew else []
    head = Table.grid(padding=(0, 2))
    told = ["  ".join(counts), *([] if seconds is None else [f"about {duration(seconds)}"])]
    head.add_row(ProgressBar(max(1, progress.total), progress.done, width=SWEEP_BAR_WIDTH), Text("  ".join(told)))
    lines: list[Text] = []
    if progress.best is not None:
        words, value, count = progress.best
        mean = f" (mean of {count})" if count > 1 else ""
        lines.append(_line("best", words, f"{progress.metric} {value:.4g}{mean}", console, "bold"))
    if progress.race is not None:
        lines.append(Text(printable(in_question(progress.race), console)[: console.width - 1]))
    rows = sorted(progress.running.items())
    most = max(1, console.height - OTHER_LINES)
    named = [(_name(number, progress.hosts.get(number, "")), running) for number, running in rows[:most]]
    width = max((len(name) for name, _ in named), default=0)
    lines += [_worker(f"{name:<{width}}", running, progress.metric, console) for name, running in named]
    if len(rows) > most:
        lines.append(Text(f"and {len(rows) - most} more"))
    return Group(head, *lines)


def setting(trial: Trial) -> str:
    """What is special about a trial.

    Returns:
        The overrides that vary, or all where none does.
    """
    return in_words(trial.varying) or " ".join(trial.overrides) or "as it is"


def in_words(varying: Mapping[str, str]) -> str:
    """Values by their keys, as they are typed; a long one without its middle."""
    return " ".join(f"{key}={shortened(value)}" for key, value in varying.items())


def in_question(look: Look) -> str:
    """Who is still in a race."""
    text = f"race  {len(look.left):,} of {look.settings:,} settings in question, now with {look.seeds} seeds each"
    if len(look.left) == look.settings:
        return text
    shown = "; ".join(in_words(dict(setting)) for setting in look.left[:MOST_IN])
    return f"{text}: {shown}{'; ...' if len(look.left) > MOST_IN else ''}"


def _name(number: int, host: str) -> str:
    """On other machines, which one it is says more than the worker's number; names differ most at their ends."""
    return host.partition(".")[0][-HOST_WIDTH:] if host else str(number + 1)


def _worker(name: str, running: _Running, metric: str, console: Console) -> Text:
    if not running.epoch:
        state = "starting"
    else:
        width = len(str(running.max_epochs))
        value = "" if running.value is None else f"  {metric} {running.value:<6.4g}"
        state = f"{running.epoch:>{width}}/{running.max_epochs}{value}"
    return _line(name, setting(running.trial), state, console)


def _line(name: str, text: str, right: str, console: Console, style: str = "") -> Text:
    """What is to the right keeps its place; the text takes what is left."""
    width = console.width - 1  # a terminal may break a line that is full
    name = f"{printable(name, console):<5}"
    room = max(8, width - len(name) - 3 - len(right))
    text = printable(text, console)
    text = text if len(text) <= room else f"{text[: room - 2]}.."
    return Text(f"{name} {text:<{room}}  {right}"[:width], style=style)


def _outcome(outcome: Outcome, metric: str) -> str:
    """How a trial ended, in a few words; the test is the chosen setting's alone, and told with the answer."""
    if outcome.status in ("failed", "killed"):
        return f"{outcome.status}: {textwrap.shorten(outcome.reason, REASON_WIDTH, placeholder=' ...')}"
    best = outcome.metrics.get(f"best/{metric}")
    words = [] if best is None else [f"{metric} {best:.4g}"]
    if outcome.status == "pruned":
        return "  ".join([f"pruned after epoch {outcome.epochs}", *words])
    return "  ".join(words)
