"""convgrid in Python and in notebooks: what the commands do, with the same words, checks and results.

Nothing of the process is changed: threads, signals, warnings, the working folder are given back, after an error, too.
"""

from __future__ import annotations

import gc
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from convgrid.cli.run import plan_or_train, resumed
from convgrid.config import Composition, check, register_experiments
from convgrid.config.command import Command
from convgrid.errors import ConfigError, ConvgridError, Interrupted, Mistakes
from convgrid.model.export_suffixes import EXPORT_SUFFIXES
from convgrid.runs.find import find_model
from convgrid.runs.source import pinned, source_notes
from convgrid.runs.sweep import SWEEPS, winner
from convgrid.runs.trial import RUNS, read_epochs, read_whole_record, run_id_of
from convgrid.runs.weights import held
from convgrid.system.notebook import Written, find_console
from convgrid.system.processes import cooled_down
from convgrid.terminal import plan_notes, show_plan

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from convgrid.compare import Answer, Trials
    from convgrid.model.class_maps import Map
    from convgrid.network.plan import Plan
    from convgrid.sweep.train import Swept
    from convgrid.tracking.learning_curves import Curves

    Images = str | Path | Sequence[str | Path] | np.ndarray

__all__ = ["ConvgridError", "Interrupted", "Model", "Run", "Sweep", "load", "multirun", "plan", "train"]

COMMAND = "python -m convgrid run"
EXIT_INTERRUPTED = 130  # the exit status


class Planned(Written):
    """A plan as a table, in a terminal and in a notebook.

    Args:
        plan: The layers, with their shapes and costs.
        notes: Lines below the table.
    """

    def __init__(self, plan: Plan, notes: Sequence[str]) -> None:
        self.plan = plan
        super().__init__(lambda console: show_plan(plan, console, notes))


class Run:
    """A run that has been trained.

    Args:
        folder: Where all of it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def id(self) -> str:
        """What `load`, `resume=` and the commands know it by."""
        return self.folder.name

    @property
    def mlflow_id(self) -> str:
        """What MLflow knows it by; "" where it does not."""
        return run_id_of(self.folder)

    @property
    def metrics(self) -> dict[str, float]:
        """At the best epoch ("best/val/accuracy"), and of the test ("test/accuracy")."""
        return dict(read_whole_record(self.folder)["metrics"])

    @property
    def history(self) -> pd.DataFrame:
        """The metrics of each epoch, a row an epoch."""
        import pandas as pd

        epochs = read_epochs(self.folder)
        return pd.DataFrame(
            [epoch["metrics"] for epoch in epochs], pd.Index([epoch["epoch"] for epoch in epochs], name="epoch")
        )

    def plot(self) -> Curves:
        """Draw the losses, and what is best, by epoch."""
        from convgrid.tracking.learning_curves import curves_of

        return curves_of(self.folder)

    @cached_property
    def model(self) -> Model:
        """The network of the best epoch."""
        return load(self.folder)

    def __repr__(self) -> str:
        name = read_whole_record(self.folder)["objective"][0]
        told = {name: f"best/{name}", (tested := name.replace("val/", "test/", 1)): tested}
        values = [f"{name} {self.metrics[key]:.4g}" for name, key in told.items() if key in self.metrics]
        return f"Run {self.id}: {', '.join(values)}"


class Sweep:
    """A sweep that has been trained.

    Args:
        folder: Where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._runs = self.folder.parents[1] / RUNS

    @property
    def id(self) -> str:
        """What the commands know it by."""
        return self.folder.name

    @cached_property
    def trials(self) -> Trials:
        """What is compared, as `convgrid.compare.load` gives it."""
        from convgrid.compare.folders import from_folders

        return from_folders(self.id, sweeps=self.folder.parent, runs=self._runs)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a trial: its parameters, its metrics, how it ended."""
        return self.trials.frame

    @cached_property
    def answer(self) -> Answer:
        """Which setting is best, by how much, and how sure that is, as `convgrid.compare.answer` gives it."""
        from convgrid.compare import answer

        return answer(self.trials)

    @property
    def report(self) -> Path:
        """The page of the answer, with its charts; it is written anew.

        Raises:
            ConfigError: If no trial has finished.
        """
        from convgrid.compare.report import write

        if not self.answer.settings:
            raise ConfigError(f"sweep {self.id} has no finished trial to report of. Start it again: it goes on.")
        return write(self.trials, self.answer, self.folder / "report")

    @property
    def best(self) -> Run:
        """The best run of the best setting.

        Raises:
            ConfigError: If no trial has finished.
        """
        from convgrid.runs.sweep import read_sweep

        folder = winner(read_sweep(self.folder), self._runs)
        if folder is None:
            raise ConfigError(f"sweep {self.id} has no finished trial yet. Start it again: it goes on.")
        return Run(folder)

    def __repr__(self) -> str:
        return f"Sweep {self.id}: {self.answer.sentence}"


class Maps(list["Map"]):
    """What a model says of each place of images: a map each, with its `frame`, `picture` and `agreement`."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row a place, of all images; their names are the index."""
        import pandas as pd

        frames = {each.name: each.frame for each in self}
        return pd.concat(frames, names=["file"]).droplevel(1) if frames else pd.DataFrame()

    def save(self, folder: str | Path = ".") -> list[Path]:
        """Write NAME.map.png and NAME.map.csv of each."""
        return [file for each in self for file in each.save(folder)]


class Model:
    """A trained network that can be asked.

    Args:
        source: A run's folder, or an exported file.
    """

    def __init__(self, source: Path) -> None:
        with held(source):
            from convgrid.model.predict import model_of

            self._source, self._model = source, model_of(source)

    @property
    def names(self) -> list[str]:
        """Of the classes, the labels, or the numbers that are predicted."""
        return [*self._model.meta.profile.names]

    def predict(self, images: Images) -> pd.DataFrame:
        """Predict images.

        Args:
            images: An image file, a folder of them, or a list of both; or an array of shape (B, H, W, C) or
                (B, C, H, W), or of one image, with the size and the type of pixels that the training had.

        Returns:
            One row an image: its class or labels, and a column of probabilities or scores for each; or the numbers.
            Files are the index; those that cannot be read are told on stderr, and left out.

        Raises:
            ModelError: If there are no such images, or arrays are not as in the training.
        """
        import numpy as np
        import pandas as pd

        from convgrid.model.image_files import find_images
        from convgrid.model.predict import predictions_of_arrays, predictions_of_files

        meta = self._model.meta
        if isinstance(images, np.ndarray):
            rows, index = predictions_of_arrays(self._model, images), None
        else:
            named = [images] if isinstance(images, str | Path) else images
            rows = list(predictions_of_files(self._model, find_images(map(str, named))[0], unread=[]))
            index = pd.Index([str(row.file) for row in rows], name="file")
        frame = pd.DataFrame([row.values for row in rows], index, meta.columns)
        if meta.answer is not None:
            frame.insert(0, meta.answer, [row.answer for row in rows])
        return frame

    def map(self, images: Images) -> Maps:
        """Predict each place of images larger than the network's, in one pass.

        Args:
            images: As `predict` takes them, but of any height and width from the training's on; files in their own.

        Returns:
            A map an image. Files that cannot be read or are too small are told on stderr, and left out.

        Raises:
            ModelError: If the network cannot slide, or images cannot be taken.
        """
        import numpy as np

        from convgrid.model.class_maps import maps_of_files
        from convgrid.model.image_files import find_images
        from convgrid.model.predict import maps_of_images

        if isinstance(images, np.ndarray):
            return Maps(maps_of_images(self._model, images))
        named = [images] if isinstance(images, str | Path) else images
        unread: list[str] = []
        made = Maps(list(maps_of_files(self._model, find_images(map(str, named))[0], unread)))
        for line in unread:
            print(line, file=sys.stderr)
        return made

    def __repr__(self) -> str:
        profile = self._model.meta.profile
        shape = "x".join(map(str, profile.shape))
        return f"Model {self._source.name} of data={profile.name}: {shape} -> {', '.join(profile.names)}"


def plan(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Planned | Written:
    """Plan a network, or with "-m" a sweep; nothing is trained.

    Args:
        overrides: As behind `python run.py`.
        config_dir: A folder with options of your own.

    Returns:
        A table, of a network with its `plan`.

    Raises:
        ConvgridError: As the command tells it.
    """
    line = _checked([*_words(overrides, config_dir), "dry_run=true"])
    assert line.settings is not None
    if line.is_sweep:
        return Written(lambda console: _swept(line, "", console))
    settings, planned, folder = resumed(line.settings, line.arguments, line.plan)
    if folder is not None:
        folder.lock.release()
    return Planned(planned, [*plan_notes(planned, settings), *source_notes(settings, planned)])


def train(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None, quiet: bool = False) -> Run:
    """Train a network, and show how it goes.

    Args:
        overrides: As behind `python run.py`.
        config_dir: A folder with options of your own.
        quiet: Whether to show nothing.

    Returns:
        The run.

    Raises:
        ConvgridError: As the command tells it.
        Interrupted: After Ctrl-C, or a notebook's interrupt; the message says how to go on.
    """
    words = _words(overrides, config_dir)
    line = _checked(words)
    assert line.settings is not None
    if line.is_sweep:
        raise ConfigError("This is a sweep. Use convgrid.multirun.")
    if line.settings.dry_run:
        raise ConfigError("dry_run=true trains nothing. Use convgrid.plan, or leave it out.")
    try:
        with _given_back():
            typed = shlex.join([*COMMAND.split(), *words])
            folder = plan_or_train(line.settings, line.arguments, line.plan, command=typed, console=_console(quiet))
    except Interrupted as stopped:
        words = re.sub(r"python run\.py (resume=\S+)", r'convgrid.train(["\1"])', str(stopped))
        raise Interrupted(words) from None
    assert folder is not None
    return Run(folder)


def multirun(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None, quiet: bool = False) -> Sweep:
    """Train every combination of settings, side by side in processes of their own, and show how it goes.

    Args:
        overrides: As behind `python run.py -m`.
        config_dir: A folder with options of your own.
        quiet: Whether to show nothing.

    Returns:
        The sweep; trials that failed stand in its `frame`.

    Raises:
        ConvgridError: As the command tells it.
        Interrupted: After Ctrl-C, or a notebook's interrupt; the same call goes on.
    """
    words = _words(overrides, config_dir)
    words = words if {"-m", "--multirun"} & {*words} else ["-m", *words]
    line = _checked(words)
    assert line.settings is not None
    if line.settings.dry_run:
        raise ConfigError('dry_run=true trains nothing. Use convgrid.plan(["-m", ...]), or leave it out.')
    stopped = Interrupted("Stopped. To go on: the same call again.")
    try:
        with _given_back(), cooled_down():
            swept = _swept(line, f"{COMMAND} {shlex.join(words)}", _console(quiet))
    except KeyboardInterrupt:  # before there was a trial
        raise stopped from None
    assert swept is not None
    if swept.status == EXIT_INTERRUPTED:
        raise stopped
    return Sweep(SWEEPS / swept.id)


def load(run: str | Path = "last") -> Model:
    """Load a trained model.

    Args:
        run: "last", the id of a run or of a sweep, the start of it, MLflow's, a folder, a checkpoint, or an exported
            file.

    Returns:
        The model; of a sweep, its winner's.

    Raises:
        ConvgridError: If there is none.
    """
    source = Path(run)
    return Model(source if source.is_file() and source.suffix in EXPORT_SUFFIXES.values() else find_model(str(run)))


def _words(overrides: Sequence[str], config_dir: str | Path | None) -> list[str]:
    if isinstance(overrides, str) or not all(isinstance(word, str) for word in overrides):
        raise ConfigError(f'{overrides!r} must be a list of texts, such as ["optimizer=adam", "arch.m=3"].')
    return [*pinned(overrides), *([] if config_dir is None else ["--config-dir", str(config_dir)])]


def _checked(words: Sequence[str]) -> Command:
    register_experiments()
    try:
        line = check(words)
    except ConvgridError as error:
        raise _in_python(error) from None
    if line.settings is None:
        raise ConfigError("Flags and keys of Hydra's own are for the command: python run.py. Leave them out.")
    return line


def _in_python(error: ConvgridError) -> ConvgridError:
    """Name the function instead of the flag."""
    if isinstance(error, Mistakes):
        return Mistakes([_in_python(each) for each in error.errors])
    return type(error)(str(error).replace("Add -m to sweep", "Use convgrid.multirun to sweep"))


def _swept(line: Command, command: str, console: Console) -> Swept | None:
    from convgrid.sweep import run  # it imports what a plan does without

    assert line.settings is not None
    return run(line.grids, Composition(line.composer), line.settings, command, console)


def _console(quiet: bool) -> Console:
    return Console(quiet=True, force_jupyter=False, force_terminal=False) if quiet else find_console()


@contextmanager
def _given_back() -> Iterator[None]:
    """What libraries change of the process is afterwards as it was."""
    import matplotlib  # noqa: F401  (imported, they are not hidden from torchmetrics, which the user may use as well)
    import scipy  # noqa: F401

    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if is_main}
    frozen = gc.get_freeze_count()
    try:
        yield
    finally:
        for number, handler in handlers.items():  # Lightning ignores Ctrl-C once it has seen one
            signal.signal(number, handler)
        if not frozen:
            gc.unfreeze()
