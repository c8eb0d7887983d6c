"""convgrid in a real Jupyter kernel; `python tests/test_notebook.py` executes the notebook of docs/ anew, in place."""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
TIME = re.compile(r"\d+(\.\d+)?( s\b| min\b| ms\b)")
SHARE = 0.05  # of a number, by which another processor's rounding may move it after some epochs
LONGEST = 120  # seconds of a cell


class Cell:
    """What a cell shows.

    Args:
        texts: Of each output, in the order of its place.
        num_updates: How often one of them was drawn anew.
    """

    def __init__(self, texts: list[str], error: list[str] | None, num_updates: int) -> None:
        self.texts, self.error, self.num_updates = texts, error, num_updates

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(self.texts)


class Kernel:
    """A kernel as a notebook has one."""

    def __init__(self) -> None:
        self.manager = KernelManager()
        self.manager.start_kernel()
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, interrupt_at: str | None = None) -> Cell:
        """Run a cell.

        Args:
            interrupt_at: Something shown, at which the cell is interrupted.
        """
        asked = self.client.execute(code)
        shown: dict[str, str] = {}
        error, num_updates = None, 0
        while True:
            message = self.client.get_iopub_msg(timeout=LONGEST)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return Cell([*shown.values()], error, num_updates)
            if kind == "error":
                error = content["traceback"]
            place, text = _shown(kind, content, len(shown))
            if place is None:
                continue
            num_updates += kind == "update_display_data"
            shown[place] = shown.get(place, "") + text if kind == "stream" else text
            if interrupt_at is not None and interrupt_at in text:
                self.manager.interrupt_kernel()
                interrupt_at = None

    def execute(self, notebook: NotebookNode) -> NotebookNode:
        """Run a notebook from top to bottom, without what cells before have defined, in a folder of its own."""
        with tempfile.TemporaryDirectory() as folder:
            assert self.run(f"%reset_selective -f .\n%cd -q {folder}").error is None
            client = NotebookClient(notebook, km=self.manager, timeout=LONGEST, coalesce_streams=True)
            client.kc = AsyncKernelClient(parent=self.manager)
            client.kc.load_connection_info(self.manager.get_connection_info())
            client.kc.start_channels()
            made = client.execute()
            client.kc.stop_channels()
        return made

    def close(self) -> None:
        """End it."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _shown(kind: str, content: dict[str, Any], number: int) -> tuple[str | None, str]:
    match kind:
        case "stream":
            return content["name"], content["text"]
        case "execute_result" | "display_data" | "update_display_data":
            return content.get("transient", {}).get("display_id", str(number)), content["data"]["text/plain"]
        case _:
            return None, ""


# it takes seconds to import torch
ONE_FORK_SERVER = """
import atexit
from convgrid.system.processes import cooled_down
used = cooled_down()
used.__enter__()
atexit.register(used.__exit__, None, None, None)
"""


@pytest.fixture(scope="module")
def warm() -> Iterator[Kernel]:
    """One kernel for all, in which sweeps share a fork server."""
    kernel = Kernel()
    assert kernel.run(ONE_FORK_SERVER).error is None
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(warm: Kernel, tmp_path: Path) -> Kernel:
    assert warm.run(f"%reset_selective -f .\n%cd -q {tmp_path}\nimport convgrid").texts == []
    return warm


TINY = "'data.limit=100', 'arch.filters=4', 'tracking=none', 'trainer=cpu'"


def test_a_training_is_one_output_that_is_drawn_anew_and_stays(kernel: Kernel) -> None:
    cell = kernel.run(f"run = convgrid.train([{TINY}, 'trainer.max_epochs=3'])")
    assert cell.error is None
    drawn, result = cell.texts
    assert re.fullmatch(r"epoch 3/3  train/loss .*  \d+\.\d\d s", drawn)
    assert cell.num_updates >= 3
    assert result.startswith("best epoch ")
    assert kernel.run("run").text.startswith("Run ")
    assert kernel.run("run.plot()").texts != []


def test_a_mistake_is_its_line_without_a_traceback(kernel: Kernel) -> None:
    cell = kernel.run("convgrid.train(['arch.m=6'])")
    assert cell.error == [
        "PlanError: arch.m=6 pools a 8x8 input 6 times, but after 3 it is 1x1. Use arch.m<=3 or layer/pool=none."
    ]


def test_an_interrupted_training_says_how_to_go_on_and_does(kernel: Kernel) -> None:
    cell = kernel.run(f"convgrid.train([{TINY}, 'trainer.max_epochs=40'])", interrupt_at="epoch  3/40")
    assert cell.error is not None
    (line,) = cell.error
    going_on = re.fullmatch(r"Stopped after epoch \d+\. To go on: (convgrid\.train\(\[.*\]\))", line)
    assert going_on is not None
    assert kernel.run(f"again = {going_on[1]}; len(again.history)").texts[-1] == "40"


def test_a_sweep_is_one_output_that_is_drawn_anew_and_goes_on_with_the_same_call(kernel: Kernel) -> None:
    call = f"convgrid.multirun([{TINY}, 'trainer.max_epochs=30', 'optimizer=sgd,adam', 'sweep.workers=2'])"
    cell = kernel.run(f"sweep = {call}", interrupt_at="/30")
    assert cell.error == ["Stopped. To go on: the same call again."]
    cell = kernel.run(f"sweep = {call}")
    assert cell.error is None
    assert cell.num_updates >= 1
    assert any(re.search(r"2/2  0 running  0 left", text) for text in cell.texts)
    assert "is best: val/accuracy" in cell.text
    assert kernel.run("sweep").text.startswith("Sweep ")
    assert kernel.run("sweep.frame.status.tolist()").texts == ["['finished', 'finished']"]


def test_a_plan_is_a_table(kernel: Kernel) -> None:
    assert kernel.run("convgrid.plan(['arch.n=2'])").text.startswith("INPUT 1x8x8\n")
    assert kernel.run("'<pre' in convgrid.plan()._repr_html_()").texts == ["True"]


# --- docs/notebook.ipynb


def outputs(notebook: NotebookNode) -> list[str]:
    """What each cell shows as text, less times."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            plain = output.get("data", {}).get("text/plain", "")
            text = output.get("text") or "\n".join(output.get("traceback", [])) or plain
            texts.append(TIME.sub("TIME", text))
    return texts


def test_the_notebook_shows_what_it_gives_today(warm: Kernel) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    kept = outputs(notebook)
    found = outputs(warm.execute(notebook))
    assert len(kept) == len(found) > 8
    for before, now in zip(kept, found, strict=True):
        pairs = list(zip(before.split(), now.split(), strict=True))
        assert [pair for pair in pairs if not alike(*pair)] == []


def alike(before: str, now: str) -> bool:
    """The same word, or about the same number."""
    try:
        return float(now) == pytest.approx(float(before), rel=SHARE, abs=0.01)
    except ValueError:
        return before == now


def test_words_and_numbers_are_told_apart() -> None:
    assert alike("0.951", "0.96")
    assert not alike("0.951", "0.85")
    assert not alike("adam", "sgd")


if __name__ == "__main__":
    jupyter = Kernel()
    made = jupyter.execute(nbformat.read(NOTEBOOK, as_version=4))
    jupyter.close()
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"
        cell.metadata.pop("execution", None)  # times
    made.metadata = NotebookNode(
        kernelspec=NotebookNode(display_name="Python 3", language="python", name="python3"),
        language_info=NotebookNode(name="python"),
    )
    nbformat.write(made, NOTEBOOK)
    sys.stdout.write(f"{NOTEBOOK}\n")
