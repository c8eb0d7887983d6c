"""The report of many trials: the time that it takes to write and to open, and its size.

Usage: python benchmarks/report.py [--quick]

Trials of a search without seeds, each a setting of its own with 30 epochs: the most that there is to draw. The page is
opened from file:// in headless Chromium, where there is one, until the frame after its last chart; the median of five.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from convgrid.compare import Trials, answer
from convgrid.compare.report import write

EPOCHS = 30
MOST = "at most 5 MB and 2 s"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def search(count: int) -> Trials:
    """Make up a random search over four keys."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "status": "finished",
            "reason": "",
            "name": "a trial",
            "epochs": EPOCHS,
            "best_epoch": EPOCHS,
            "seconds": draw.uniform(5, 50, count),
            "optimizer.lr": 10 ** draw.uniform(-4, -1, count),
            "arch.filters": draw.integers(8, 65, count),
            "arch.n": draw.integers(1, 4, count),
            "optimizer": draw.choice(["adam", "nadam", "sgd"], count),
        },
        index=pd.Index([f"{number:012x}" for number in range(count)], name="trial"),
    )
    frame["plan.parameters"] = 9 * frame["arch.n"] * frame["arch.filters"] ** 2
    frame["plan.multiply_adds"] = 64 * frame["plan.parameters"]
    best = 0.9 + 0.02 * frame["arch.n"] - 0.05 * (np.log10(frame["optimizer.lr"]) + 2.5) ** 2
    frame["best/val/accuracy"] = best + draw.normal(0, 0.01, count)
    way = 1 - np.exp(-np.arange(1, EPOCHS + 1) / 5)
    values = {
        "val/accuracy": np.outer(frame["best/val/accuracy"], way),
        "val/loss": np.outer(1 + draw.random(count), 2.1 - way),
        "train/loss": np.outer(1 + draw.random(count), 2 - way),
    }
    curves = [
        pd.DataFrame(
            {
                "trial": np.repeat(frame.index, EPOCHS),
                "epoch": np.tile(np.arange(1, EPOCHS + 1), count),
                "metric": metric,
                "value": table.ravel(),
            }
        )
        for metric, table in values.items()
    ]
    keys = ("optimizer.lr", "arch.filters", "arch.n", "optimizer")
    return Trials(frame, pd.concat(curves, ignore_index=True), "val/accuracy", "max", keys, title=f"{count} trials")


def opened(page: Path, repeats: int) -> float | None:
    """Seconds until the page stands; None without a Chromium."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        return None
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for _ in range(repeats):
            tab = chromium.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            tab.goto(page.as_uri())
            tab.evaluate(DRAWN)
            times.append(time.perf_counter() - start)
            tab.close()
        chromium.close()
    return statistics.median(times)


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description="The report of many trials")
    parser.add_argument("--quick", action="store_true", help="few trials, no browser")
    quick = parser.parse_args().quick
    for count in (30,) if quick else (500, 1000, 2000):
        trials = search(count)
        found = answer(trials)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            page = write(trials, found, Path(folder))
            seconds, size = time.perf_counter() - start, page.stat().st_size / 1e6
            wait = None if quick else opened(page, 5)
        shown = "not opened" if wait is None else f"opened in {wait:.2f} s"
        print(f"{count:>5,} trials: written in {seconds:.1f} s, {size:.2f} MB, {shown} ({MOST})", flush=True)


if __name__ == "__main__":
    main()
