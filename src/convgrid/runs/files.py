"""The files of runs and sweeps: read only when they are what they should be, written whole or not at all."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convgrid.errors import ConvgridError, RunError, reason_of

INTEGER_LIMIT = 2**63  # numbers from here on do not fit into tables and stores
LATEST = 253_402_300_799_000  # milliseconds: the last year that a date can have
BETWEEN_SYNCS = 5.0  # seconds, as between ext4's own; a trial of 30 ms does not wait for the disk

told: set[str] = set()
_synced: dict[str, float] = {}


@dataclass(frozen=True)
class FieldKind:
    """What a value may be.

    Args:
        words: Such as "a text".
    """

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class FileForm:
    """What a file holds by name.

    Args:
        needed: What is always there.
        known: What may be there; what is named nowhere is left to those who wrote it.
    """

    needed: Mapping[str, FieldKind] = field(default_factory=dict)
    known: Mapping[str, FieldKind] = field(default_factory=dict)

    def fault(self, found: Any) -> str:
        """Say what is wrong.

        Args:
            found: What was read.

        Returns:
            In a few words; "" where nothing is.

        Example:
            >>> FileForm({"name": TEXT}).fault({"name": 3}), FileForm({"name": TEXT}).fault({})
            ('name is not a text', 'name is missing')
        """
        if not isinstance(found, dict):
            return "it holds no names with values"
        for name in self.needed:
            if name not in found:
                return f"{name} is missing"
        for name, kind in {**self.known, **self.needed}.items():
            if name in found and not kind.holds(found[name]):
                return f"{name} is not {kind.words}"
        return ""


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0 on that fits everywhere."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < INTEGER_LIMIT


def is_number(value: Any) -> bool:
    """Whether a value is a number that fits everywhere; NaN is one."""
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < INTEGER_LIMIT
    return whole or isinstance(value, float)


def is_name(value: Any) -> bool:
    """Whether a value may be the name of a folder below `runs/`."""
    return isinstance(value, str) and value not in ("", ".", "..") and not {"/", "\\", "\0"} & {*value}


def mapping_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A mapping whose values are of a kind."""
    return lambda value: isinstance(value, dict) and all(map(holds, value.values()))


def list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A list whose items are of a kind."""
    return lambda value: isinstance(value, list) and all(map(holds, value))


def is_text(value: Any) -> bool:
    """Whether a value is a text."""
    return isinstance(value, str)


TEXT = FieldKind("a text", is_text)
NAME = FieldKind("the name of a folder", is_name)
COUNT = FieldKind("a whole number from 0 on", is_count)
NUMBER = FieldKind("a number", is_number)
TIME = FieldKind("a time in milliseconds", lambda value: is_count(value) and value < LATEST)
TEXTS = FieldKind("a mapping to texts", mapping_of(is_text))
NUMBERS = FieldKind("a mapping to numbers", mapping_of(is_number))
MAPPING = FieldKind("a mapping", lambda value: isinstance(value, dict))


def read(file: Path, form: FileForm, parse: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """Read a file of a run or a sweep.

    Args:
        file: Such as `run.json`.
        form: What it holds.
        parse: From its text to what that says.

    Returns:
        What it says.

    Raises:
        FileNotFoundError: If there is none.
        RunError: If it is anything else than it should be, with the cause in a line; that of the disk is its cause.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    try:
        found = parse(text)
        if "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()  # half a character is none that can be shown or stored
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file} cannot be read: {_cause(text, error)}.") from None
    fault = form.fault(found)
    if fault:
        raise RunError(f"{file} cannot be used: {fault}.")
    return found


def read_known(file: Path, form: FileForm, parse: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """Read a file that a run cannot do without.

    Args:
        file: Such as `config.yaml`.
        form: What it holds.
        parse: From its text to what that says.

    Returns:
        What it says.

    Raises:
        RunError: If it is missing or damaged.
    """
    try:
        return read(file, form, parse)
    except FileNotFoundError:
        raise RunError(f"{file} is missing. Take another run, or train it again.") from None


def read_or_tell(file: Path, form: FileForm, parse: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """Read a file of one of many runs: one that is damaged is left aside with a line on stderr, told once.

    Args:
        file: Such as `run.json`.
        form: What it holds.
        parse: From its text to what that says.

    Returns:
        What it says; {} where it is missing or damaged.
    """
    try:
        return read(file, form, parse)
    except FileNotFoundError:
        return {}
    except RunError as error:
        tell(error)
        return {}


def tell(error: ConvgridError) -> None:
    """Say once on stderr that something is left aside, and why."""
    line = f"left aside: {error}"
    if line not in told:
        told.add(line)
        print(line.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)


def read_lines(file: Path, form: FileForm) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Read a journal, up to the first line that is torn or damaged; of the latter, a line on stderr tells.

    Args:
        file: Such as `metrics.jsonl`.
        form: What each line holds.

    Yields:
        A line as it is, and as it reads.
    """
    try:
        lines = file.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return
    except OSError as error:
        tell(RunError(f"{file} cannot be read: {error.strerror}."))
        return
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):  # it is being written, or its writer was killed
            return
        try:
            found = json.loads(line)
            fault = form.fault(found)
        except (ValueError, RecursionError) as error:
            found, fault = {}, str(error)
        if fault:
            tell(RunError(f"{file}, from line {number} on: {fault}."))
            return
        yield line, found


@contextmanager
def blamed_on(file: Path) -> Iterator[None]:
    """Whatever goes wrong in the block is reported as the file's fault.

    Raises:
        RunError: Instead of any error that convgrid does not raise itself.
    """
    try:
        yield
    except ConvgridError:
        raise
    except Exception as error:  # what is deep in a file may be wrong in every way
        raise RunError(f"{file} cannot be used: {reason_of(error)}.") from error


def write(file: Path, text: str, *, lasting: bool = False, mark: str = "") -> None:
    """Write a file: a reader sees the old one or the new one, never a part, and a full disk leaves the old one.

    Args:
        lasting: Whether to wait until it would outlive a power cut.
        mark: Tells processes apart that write the same file at once.

    Raises:
        OSError: If it cannot be written.
    """
    with replacing(file, mark) as partial:
        partial.write_bytes(text.encode("utf-8"))
        if lasting:
            sync(partial)
    if lasting:
        sync_names(file.parent)


@contextmanager
def replacing(file: Path, mark: str = "") -> Iterator[Path]:
    """Put what the block writes in a file's place; where the block fails, nothing is left of it.

    Args:
        mark: Tells processes apart that write the same file at once.

    Yields:
        Where to write.
    """
    partial = file.with_name(f"partial.{mark}{file.name}")
    try:
        yield partial
        partial.replace(file)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def sync_is_due(name: str) -> bool:
    """Whether to wait for the disk once more; a trial of 30 ms does not.

    Args:
        name: Of the file; each has its own time.

    Returns:
        Whether the last time was `BETWEEN_SYNCS` ago in this process; then this is taken for the next.
    """
    now = time.monotonic()
    is_due = now - _synced.get(name, -BETWEEN_SYNCS) >= BETWEEN_SYNCS
    if is_due:
        _synced[name] = now
    return is_due


def sync(file: Path) -> None:
    """Wait until the disk has a file.

    Raises:
        OSError: If it does not take it.
    """
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def sync_names(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can do that."""
    with suppress(OSError):  # Windows and some network disks cannot
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _cause(text: str, error: Exception) -> str:
    if not text:
        return "it is empty"
    return " ".join(str(error).split()).rstrip(".")
