"""What a store lacks of all runs and sweeps of a folder is sent."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from convgrid.component import revealed
from convgrid.config.address import DEFAULT_EXPERIMENT, knock, without_password
from convgrid.errors import RunError, TrackingError, reason_of
from convgrid.runs.sweep import SWEEP, SWEEPS, TRACKED_SWEEP, read_sweep, winner
from convgrid.runs.trial import RECORD, RUNS, TRACKED, read_record, read_settings, read_tracked, set_right

if TYPE_CHECKING:
    from convgrid.tracking.store import Store


@dataclass
class _Place:
    """What belongs into one experiment of one store."""

    sweeps: list[Path] = field(default_factory=list)
    trials: list[Path] = field(default_factory=list)


@dataclass
class _Report:
    """What became of the folders."""

    sent: list[Path] = field(default_factory=list)
    there: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)

    def line(self, uri: str, experiment: str) -> str:
        """In a sentence, such as "sent 2 runs and 1 sweep to ..., where 3 were already"."""
        sweeps = sum((path / SWEEP).exists() for path in self.sent)
        counts = [(len(self.sent) - sweeps, "run"), (sweeps, "sweep")]
        what = " and ".join(f"{count} {noun}{'s' * (count > 1)}" for count, noun in counts if count) or "nothing"
        already = f"; {len(self.there)} {'was' if len(self.there) == 1 else 'were'} there already" if self.there else ""
        return f"sent {what} to {without_password(uri)}, experiment {experiment}{already}"


def sync_everything(console: Console, uri: str | None = None, experiment: str | None = None) -> int:
    """Send what the stores lack of all runs and sweeps here.

    Args:
        console: Where to say what was sent.
        uri: Of the store for everything, also for what is not tracked; None sends each to where its config says.

    Returns:
        The exit status: 1 where something could not be sent.

    Raises:
        TrackingError: If a store cannot be used.
    """
    set_right()
    broken: list[str] = []
    places: defaultdict[tuple[str, str], _Place] = defaultdict(_Place)
    for path in sorted(file.parent for file in SWEEPS.glob(f"*/{SWEEP}")):
        try:
            places[_belonging(_tracking_of_sweep(path), uri, experiment)].sweeps.append(path)
        except RunError as error:
            broken.append(f"not sent: {error}")
    for path in sorted(file.parent for file in RUNS.glob(f"*/{RECORD}")):
        try:
            places[_belonging(_tracking_of_trial(path), uri, experiment)].trials.append(path)
        except RunError as error:
            broken.append(f"not sent: {error}")
    _print_lines(console, broken)
    tracked = {place: found for place, found in places.items() if place[0]}
    if not tracked:
        console.print(f"{RUNS.resolve()} has no runs that are tracked. With --tracking-uri, all of them are sent.")
    reports = [_send_place(console, *place, found) for place, found in tracked.items()]
    return int(bool(broken) or any(report.failed for report in reports))


def _send_place(console: Console, uri: str, experiment: str, place: _Place) -> _Report:
    report = _send(open_store(uri, experiment), place)
    failed = [f"not sent: {path}: {reason}" for path, reason in report.failed.items()]
    _print_lines(console, [report.line(uri, experiment), *failed])
    return report


def _print_lines(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _belonging(tracking: Mapping[str, Any], uri: str | None, experiment: str | None) -> tuple[str, str]:
    """Store and experiment; "" for the first where nothing says so."""
    return uri or revealed(tracking.get("uri") or "", "tracking.uri"), experiment or tracking.get(
        "experiment"
    ) or DEFAULT_EXPERIMENT


def newest_tracking() -> Mapping[str, Any]:
    """Find where the last sweep or run of this folder is tracked; a sweep that cannot be parsed says nothing of it.

    Returns:
        "uri" and "experiment"; {} where nothing is tracked.
    """
    files = [*SWEEPS.glob(f"*/{SWEEP}"), *RUNS.glob(f"*/{RECORD}")]
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        of = _tracking_of_sweep if file.name == SWEEP else _tracking_of_trial
        with suppress(RunError):
            tracking = of(file.parent)
            if tracking.get("uri"):
                return {**tracking, "uri": revealed(tracking["uri"], "tracking.uri")}
    return {}


def _tracking_of_sweep(path: Path) -> Mapping[str, Any]:
    return read_sweep(path).get("tracking", {})


def _tracking_of_trial(path: Path) -> Mapping[str, Any]:
    params = read_record(path).get("params")
    if params is None:  # it failed before its network was built
        return read_settings(path).values.get("tracking", {})
    return {key: params[f"tracking.{key}"] for key in ("uri", "experiment") if f"tracking.{key}" in params}


def open_store(uri: str, experiment: str) -> "Store":
    """Open a store that the user asked for.

    Args:
        uri: A store such as "sqlite:///mlflow.db", or a tracking server's address.

    Returns:
        The store.

    Raises:
        TrackingError: If it cannot be used.
    """
    try:
        knock(uri)
        from convgrid.tracking.store import Store  # MLflow takes 2 s to import

        return Store.open(uri, experiment)
    except TrackingError:
        raise
    except Exception as error:  # a store may fail in every way that a database, a network or a disk can
        raise _away(uri, error) from None


def _away(uri: str, error: Exception) -> TrackingError:
    return TrackingError(
        f"{without_password(uri)} cannot be written: {reason_of(error)}. {RUNS}/ keeps everything. Try later, or "
        "give --tracking-uri."
    )


def _send(store: "Store", place: _Place) -> _Report:
    from convgrid.tracking.sync import Parent, sync, sync_sweep

    report, winners = _Report(), {}
    parents: defaultdict[Path, list[Parent | None]] = defaultdict(list)
    for path in place.sweeps:
        with _noted(report, store, path, path / TRACKED_SWEEP):
            parent = sync_sweep(path, store)
            sweep = read_sweep(path)
            for trial in filter(None, sweep["trials"]):
                parents[RUNS / trial].append(parent)
            best = winner(sweep)
            if best is not None and sweep["status"] == "finished":
                winners[best] = sweep.get("tracking", {}).get("register")
    for path in place.trials:
        record = read_record(path)
        single = "sweep" not in record
        name = record.get("params", {}).get("tracking.register", "None") if single else "None"
        register = winners.get(path) or (None if name == "None" else name)
        with _noted(report, store, path, path / TRACKED):
            for parent in parents[path] or [None]:
                sync(path, store, parent, whole=single or path in winners, register=register)
    return report


@contextmanager
def _noted(report: _Report, store: "Store", path: Path, tracked: Path) -> Iterator[None]:
    """Note what became of a folder; where the store is gone, that is all."""
    before = read_tracked(tracked)
    try:
        yield
    except Exception as error:
        with suppress(OSError):
            report.failed[path] = reason_of(error)
            knock(store.uri)
            return
        raise _away(store.uri, error) from None
    (report.there if read_tracked(tracked) == before else report.sent).append(path)
