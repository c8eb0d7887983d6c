"""One attempt at a trial in its folder: put together -> begin -> train -> write down how it ended.

A plain run makes one, a worker of a sweep makes one for each job; what differs between them are arguments.
"""

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from lightning.pytorch.callbacks import Callback

from convgrid.config import Settings
from convgrid.errors import DiskError, DivergenceError, cause_of, reason_of
from convgrid.network.plan import Plan
from convgrid.runs.trial import LOG, EpochLog, Outcome, TrialFolder
from convgrid.training.checkpoints import PREVIOUS, complete_best, settle
from convgrid.training.learner import Learner, train
from convgrid.training.recipe import History
from convgrid.training.recording import begin, ended, write_predictions

INTERRUPTED = Outcome("killed", "interrupted")


class Pruned(Exception):
    """Raised at an epoch's end: enough has been seen of the trial."""


def is_signal(error: BaseException) -> bool:
    """Whether Ctrl-C or SIGTERM ended the training; Lightning turns the first's exception into the second."""
    return isinstance(error, KeyboardInterrupt | SystemExit)


def attempt(
    settings: Settings,
    folder: TrialFolder,
    put_together: Callable[[], tuple[Learner, Plan]],
    *,
    device: str,
    raises: bool,
    callbacks: Sequence[Callback] = (),
    began: Callable[[], None] = lambda: None,
    epoch_ended: Callable[[History], None] = lambda _: None,
    is_interrupt: Callable[[BaseException], bool] = is_signal,
    interruptible: Callable[[], AbstractContextManager[object]] = nullcontext,
    **known: Any,
) -> tuple[Outcome, str]:
    """Train in a folder, from its last checkpoint on, and write down how it ended, whatever happens.

    Args:
        folder: The trial's, locked.
        put_together: Gives the learner and its network's plan; what it raises is an outcome as well.
        device: "cpu" or "cuda".
        raises: Whether an error goes on once it is written down; otherwise the outcome is all that tells of it.
        callbacks: What else Lightning calls, such as to show the progress.
        began: Called when the folder says that the trial is under way.
        epoch_ended: Called with the history when an epoch is on disk; may raise `Pruned`.
        is_interrupt: Whether an error is the user's wish to stop, not the trial's failure.
        interruptible: What is held while an interrupt may end the trial.
        known: What else `begin` writes down.

    Returns:
        The outcome, and what kind of trouble it was, as `convgrid.errors.cause_of` names it; "" for none.
    """
    started, tested, learner = time.monotonic(), {}, None
    ending, cause = Outcome("finished"), ""
    try:
        with interruptible():
            learner, planned = put_together()
            told = settle(folder.path, learner.recipe.metric, learner.recipe.mode, start_over=not raises)
            if told:
                print(told, file=sys.stderr)
            begin(folder, settings, learner, planned, device, **known)
            log = EpochLog(folder.path)
            began()

            def keep(history: History) -> None:
                log.append(history)
                epoch_ended(history)

            tested = train(learner, folder.path, device=device, callbacks=callbacks, send=keep)
        log.append(learner.history)  # the last epoch's, where an earlier attempt died behind its checkpoint
        write_predictions(folder, learner)
    except BaseException as error:  # whatever a trial raises, SystemExit too, is its outcome
        ending, cause = ending_of(error, is_interrupt)
        if cause or ending.status == "failed":
            _log(folder)
        if raises:
            raise
    finally:
        outcome = ended(ending, folder, learner, tested, time.monotonic() - started)
        with suppress(OSError):  # on a full disk, those who wait for the outcome hear of it all the same
            if learner is not None and learner.is_partial:
                complete_best(folder.path, learner.whole)
            folder.end(outcome)
            if outcome.status in ("finished", "pruned"):
                (folder.path / PREVIOUS).unlink(missing_ok=True)
    return outcome, cause


def ending_of(error: BaseException, is_interrupt: Callable[[BaseException], bool] = is_signal) -> tuple[Outcome, str]:
    """What an exception makes of a trial.

    Returns:
        The outcome so far, and the kind of trouble.

    Example:
        >>> ending_of(Pruned())[0].status, ending_of(MemoryError("of the GPU"))
        ('pruned', (Outcome(status='failed', reason='out of memory: of the GPU', ...), 'memory'))
    """
    if isinstance(error, Pruned):
        return Outcome("pruned"), ""
    if is_interrupt(error):
        return INTERRUPTED, ""
    cause = cause_of(error)
    if cause == "disk":
        told = f"the disk cannot be written: {getattr(error, 'strerror', error)}. Make room, then start again."
        return Outcome("killed", reason_of(error) if isinstance(error, DiskError) else told), cause
    return Outcome("failed", reason_of(error), diverged=isinstance(error, DivergenceError)), cause


def _log(folder: TrialFolder) -> None:
    with suppress(OSError), (folder.path / LOG).open("a", encoding="utf-8") as file:  # the disk may be full
        file.write(traceback.format_exc())
