"""A plain run, read top to bottom: settings -> data -> plan -> build -> train -> result."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from convgrid.config import Settings, identity
from convgrid.data import notes_on
from convgrid.errors import Interrupted
from convgrid.network.plan import Plan
from convgrid.runs.trial import TrialFolder, create, is_finished, run_id_of
from convgrid.system.device import find_device
from convgrid.system.memory import freed_memory_kept
from convgrid.terminal import printable, result_rows, show_result, show_store
from convgrid.training.attempt import attempt
from convgrid.training.components import Components
from convgrid.training.learner import Learner
from convgrid.training.longer import check_longer, copy_state
from convgrid.training.notes import notes_on_training
from convgrid.training.once import look_at_features, watching
from convgrid.training.progress import shown_on
from convgrid.training.setup import prepare, read
from convgrid.training.unchanged import refuse_other_code, refuse_other_data, refuse_other_weights

Follow = Callable[[Path], AbstractContextManager[Callable[[], None]]]


def untracked(_: Path) -> AbstractContextManager[Callable[[], None]]:
    """Follow a folder that stays where it is."""
    return nullcontext(lambda: None)


def run(
    settings: Settings,
    console: Console,
    folder: TrialFolder | None = None,
    follow: Follow = untracked,
    plan: Plan | None = None,
    command: str = "",
) -> Path:
    """Train what the settings describe, and print what came of it.

    Args:
        console: Where progress and result are printed.
        folder: Of a run to go on with; one that has finished stays as it is, and a new one has more epochs of it.
            None makes a new one.
        follow: Has the run's folder brought to the tracking store, until it is left; gives what to call with news.
        plan: What was planned without the data; None plans.
        command: What was typed, for the run's record.

    Returns:
        The run's folder; its lock is free again, as is all that the training changed of the process.

    Raises:
        ConvgridError: If the data or a value cannot be used, before a new run exists; if a run that goes on would find
            other data or other code of own components; or if the training diverged.
        Interrupted: If Ctrl-C, or a signal that is taken for it, ended the training.
    """
    components = Components(settings)
    components.check()
    finished = folder.path if folder is not None and is_finished(folder.record) else None
    if finished:
        check_longer(finished, settings, components.schedule)
    with _threads(settings.trainer.threads), freed_memory_kept():
        device = find_device(settings.trainer.accelerator)
        data = read(settings)
        if folder is not None:
            refuse_other_data(folder.path, settings, data)
            refuse_other_weights(folder.path, settings)
        _tell(notes_on(data), console)
        # Before there is a folder: what does not fit leaves none.
        learner, planned = prepare(settings, data, components, plan)
        if folder is not None:
            refuse_other_code(folder.path, settings, planned)
        _tell(notes_on_training(settings, learner, planned), console)
        show_store(settings.tracking.uri, settings.tracking.experiment, console)
        if folder is None or finished:
            folder = create(identity(settings, device=device, digest=data.digest), settings)
        try:
            if finished:
                copy_state(finished, folder.path)

            def put_together() -> tuple[Learner, Plan]:
                with watching(console) as watch:
                    look_at_features(learner, planned, settings, device, watch)
                return learner, planned

            with follow(folder.path) as tell:
                attempt(
                    settings,
                    folder,
                    put_together,
                    device=device,
                    raises=True,
                    callbacks=shown_on(console),
                    began=tell,
                    epoch_ended=lambda _: tell(),
                    command=command,
                    tags={"convgrid.continues": finished.name} if finished else {},
                )
        except (KeyboardInterrupt, SystemExit):
            name = run_id_of(folder.path) or folder.path
            raise Interrupted(
                f"Stopped after epoch {len(learner.history)}. To go on: python run.py resume={name}"
            ) from None
        finally:
            folder.lock.release()
    show_result(result_rows(folder.path, settings.tracking.uri), console)
    return folder.path


def _tell(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        console.print(Text(printable(note, console), style="yellow"), soft_wrap=True)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let torch use so many threads for a while: other numbers of them give other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
