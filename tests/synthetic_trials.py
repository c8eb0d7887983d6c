"""Sweeps whose truth is known: planted effects, planted spreads, trials that failed or were pruned."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from convgrid.compare import Trials

Truth = Callable[[Mapping[str, Any]], float]
GRID: Mapping[str, Sequence[Any]] = {"arch.n": (1, 2, 3), "arch.m": (1, 2), "optimizer": ("adam", "sgd")}
CONSTANT = {"data": "digits", "data.limit": 0, "data.split_seed": 0, "trainer.max_epochs": 10, "optimizer.lr": 0.001}
TAGS = {"tag.git.commit": "0123456789abcdef", "tag.git.dirty": "false", "tag.host": "here", "tag.device": "cpu"}


def depth(setting: Mapping[str, Any]) -> float:
    """A main effect of arch.n and of the optimizer, and an interaction of arch.n and arch.m."""
    n, m = setting.get("arch.n", 1), setting.get("arch.m", 1)
    return 0.85 + 0.02 * n + 0.01 * (m == n) - 0.03 * (setting.get("optimizer") == "sgd")


def make_trials(
    grid: Mapping[str, Sequence[Any]] = GRID,
    truth: Truth = depth,
    *,
    spread: float | Truth = 0.003,
    seeds: int = 3,
    epochs: int = 10,
    metric: str = "val/accuracy",
    mode: Literal["max", "min"] = "max",
    failed: Collection[int] = (),
    pruned: Collection[int] = (),
    skipped: Mapping[str, Sequence[str]] | None = None,
    constant: Mapping[str, Any] = CONSTANT,
    random_seed: int = 0,
) -> Trials:
    """Every point of a grid with so many seeds; `failed` and `pruned` are positions of trials, from 0."""
    generator = np.random.default_rng(random_seed)
    rows: dict[str, dict[str, Any]] = {}
    curves: list[tuple[str, int, str, float]] = []
    points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    for point in points:
        for seed in range(seeds):
            number, sd = len(rows), spread(point) if callable(spread) else spread
            name, status = f"{number:012x}", "failed" if len(rows) in failed else "finished"
            value = truth(point) + sd * generator.standard_normal()
            last = 1 if status == "failed" else epochs
            if number in pruned:
                status, last = "pruned", max(1, epochs // 3)
            size = 1000 * int(np.prod([v for v in point.values() if isinstance(v, int)], initial=1))
            row: dict[str, Any] = {
                "status": status,
                "reason": f"ValueError: no room for {number} MiB" if status == "failed" else "",
                "name": " ".join(map(str, point.values())),
                "epochs": last,
                "best_epoch": last,
                "seconds": size / 1000 + generator.random(),
                **constant,
                **point,
                "seed": seed,
                "plan.parameters": size,
                "plan.multiply_adds": size * 10,
                **TAGS,
            }
            drawn = _curve(value, epochs, mode, generator)[:last]
            test = metric.replace("val/", "test/")
            if status != "failed":
                row |= {f"best/{metric}": drawn[-1]}
            if status == "finished":
                row |= {test: drawn[-1] - 0.005 + sd * generator.standard_normal()}
            rows[name] = row
            for epoch, at in enumerate(drawn, start=1):
                losses = {"train/loss": 2 / epoch, "val/loss": 2 / epoch + 0.1}
                curves += [(name, epoch, key, v) for key, v in {**losses, metric: at}.items()]
    return Trials(
        frame=pd.DataFrame.from_dict(rows, orient="index").rename_axis("trial"),
        curves=pd.DataFrame(curves, columns=["trial", "epoch", "metric", "value"]),
        metric=metric,
        mode=mode,
        keys=tuple(key for key, values in grid.items() if len(values) > 1),
        repetitions=("seed",) if seeds > 1 else (),
        skipped=skipped or {},
        title="sweep 0123456789ab",
        command="python run.py -m arch.n=1,2,3 arch.m=1,2 optimizer=adam,sgd sweep.seeds=3",
        sweep="0123456789ab",
        folder=Path("sweeps/0123456789ab/report"),
    )


def _curve(last: float, epochs: int, mode: str, generator: np.random.Generator) -> list[float]:
    """It comes to `last`, from below or above, with a little noise on the way."""
    way = np.exp(-np.arange(epochs) / max(1, epochs / 5))
    way[-1] = 0.0
    noise = np.abs(0.01 * generator.standard_normal(epochs)) * (way > 0)
    sign = -1 if mode == "max" else 1
    return [float(v) for v in last + sign * abs(last) * (0.3 * way + noise)]
