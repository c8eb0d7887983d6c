"""The benchmark of a GPU, on a CPU: what it would measure is tried by the same code, and no time is asserted."""

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forks import fork, fork_workers, import_for_forks

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LITTLE = ("data.size=120", "data.batch_size=16", "arch.filters=2")
NETWORKS = ("small", "VGG-like", "residual")


@pytest.fixture
def printed(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All of it in one process, whose sweep's workers are forks of it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.syspath_prepend(BENCHMARKS)
    import_for_forks()

    def main() -> None:
        import gpu  # pyright: ignore[reportMissingImports]

        fork_workers()
        with Path("printed").open("w") as file, contextlib.redirect_stdout(file):
            gpu.main()
            gpu.NETWORKS["residual"] = (*gpu.NETWORKS["small"], "layer/norm=batch")
            gpu.show_images("cpu", 0.0, LITTLE)
            gpu.show_memory("cpu", LITTLE)
            gpu.show_trials("cpu", (1,), [*LITTLE, "trainer.max_epochs=1"])
            gpu.show_steps("cpu", [replace(gpu.CASES[0], overrides=("data.limit=64",), epochs=2)])

    process = fork(main)
    process.join()
    assert process.exitcode == 0
    return Path("printed").read_text().splitlines()


def test_without_a_gpu_it_says_so_and_on_a_cpu_its_tables_are_whole(printed: list[str]) -> None:
    none, *lines = printed
    assert none == f"torch {torch.__version__} finds no GPU: nothing was measured."
    tables = [[line.strip("| ").split(" | ") for line in lines if re.match(rf"\| {head}", line)] for head in NETWORKS]
    for name, (images, memory) in zip(NETWORKS, tables, strict=True):
        for row, number in ((images, r"[\d,]+"), (memory, r"[\d,]+\.\d")):
            assert row[0] == name
            assert all(re.fullmatch(number, cell) for cell in row[1:3])
            assert re.fullmatch(r"\d+\.\d\d", row[3])
    told = "\n".join(lines)
    assert re.search(r"^\| one after another, python run.py \| [\d,]+ \| 1 \|$", told, re.MULTILINE)
    assert re.search(r"^\| sweep.trials_per_gpu=1 \| [\d,]+ \| \d+\.\d\d \|$", told, re.MULTILINE)
    assert re.search(r"^  step   ratio \d+\.\d{3} ", told, re.MULTILINE)
