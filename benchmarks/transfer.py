"""What training heads over features that are computed once costs, beside a script by hand and beside doing without.

Usage: python benchmarks/transfer.py [--quick] [--photos N] [--rounds N]

A sweep of 20 heads for 30 epochs each over EfficientNet-Lite0's features of 2,800 photos of 160x160 pixels, all of it:
start, decoding, features, training, checkpoints, MLflow, comparison. Beside it a script that decodes the photos, runs
the same network over them once and trains 20 heads in a loop. Both start without features and take turns.

First come the images a second of features as convgrid computes them, beside those of a bare loop over the same network
with the same decoding; seconds of the processor, which other programs cannot take. Last comes what the frozen layers
would cost the sweep in every epoch, by what they take once.

The photos are noise and the weights are drawn: neither changes how long anything takes. One thread a process.
"""

import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from convgrid.features.cache import Cache
from convgrid.features.extract import EXTRACTION_PIXELS, FeatureSource, ProgressWatch, stored
from convgrid.model.trained_model import load
from convgrid.network.cut import cut
from convgrid.objective.predictor import Predictor
from convgrid.system.environment import cores
from convgrid.training.setup import read
from overhead import settings_of

SIDE, BATCH, HIDDEN = 160, 32, 256
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
MOST, LEAST_FACTOR, LEAST_SPEED = 1.2, 50, 0.95
DATA = ("data=image_folder", "data.root=photos", f"data.shape=[3,{SIDE},{SIDE}]", f"data.batch_size={BATCH}")
ARCH = ("arch=efficientnet_lite0", "trainer=cpu")
CPU = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def make_photos(folder: Path, count: int) -> None:
    """Write JPEGs of two classes, five of seven of them for training."""
    draws = np.random.default_rng(0)
    for number in range(count):
        part = "train" if number % 7 < 5 else "validation"
        file = folder / part / ("cats", "dogs")[number // 7 % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = draws.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((213, SIDE), Image.Resampling.BICUBIC).save(file, quality=90)


def train(place: Path, *overrides: str, cache: str = "cache") -> float:
    """Type a command in a folder.

    Returns:
        Seconds from the command to its end.
    """
    started = time.perf_counter()
    environment = {**os.environ, **CPU, "XDG_CACHE_HOME": str(place / cache)}
    done = subprocess.run(
        [sys.executable, "-m", "convgrid", "run", *overrides],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - started


def sweep(place: Path, weights: Path, number: int, epochs: int, rates: Sequence[float]) -> float:
    """Sweep over heads, with a cache, a folder and a store of its own.

    Returns:
        Seconds of everything.
    """
    folder = place / f"sweep{number}"
    folder.mkdir()
    (folder / "photos").symlink_to(place / "photos")
    return train(
        folder, "-m", *DATA, *ARCH, f"arch.weights={weights}", "arch.freeze=features",
        f"arch.head='[FC({HIDDEN}) -> ACT]*K -> FC'", "arch.k=0,1", f"optimizer.lr={','.join(map(str, rates))}",
        "sweep.seeds=2", f"trainer.max_epochs={epochs}",
    )  # fmt: skip


# --- by hand


def decoded(part: Path) -> tuple[Tensor, Tensor]:
    """Read a part's photos, as convgrid does: pixels and classes."""
    files = sorted(part.glob("*/*.jpg"))

    def pixels(file: Path) -> np.ndarray:
        with Image.open(file) as image:
            return np.asarray(ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        images = torch.from_numpy(np.stack(list(pool.map(pixels, files))))
    return images.permute(0, 3, 1, 2), torch.tensor([file.parent.name == "dogs" for file in files]).long()


def trunk_of(weights: Path) -> tuple[nn.Module, Predictor]:
    """The layers before the output, in evaluation mode, and what normalises images."""
    trained = load(weights.parent)
    predictor, planned = trained.predictor, trained.meta.plan
    assert isinstance(predictor, Predictor)
    predictor.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  (a keyword that the stubs lack)
    return cut(dataclasses.replace(planned, num_frozen=len(planned.layers) - 1), predictor.network)[0], predictor


@torch.inference_mode()
def bare_loop(trunk: nn.Module, predictor: Predictor, images: Tensor) -> Tensor:
    """Run a network over images."""
    return torch.cat(
        [trunk((some - predictor.mean) / predictor.std) for some in images.split(EXTRACTION_PIXELS // SIDE**2)]
    )


def heads_by_hand(place: Path, weights: Path, epochs: int, rates: Sequence[float]) -> float:
    """Compute features once, and train heads in a loop.

    Returns:
        The best share of validation photos predicted correctly.
    """
    torch.set_num_threads(1)
    model, best = trunk_of(weights), 0.0
    (images, targets), (others, answers) = (decoded(place / "photos" / part) for part in ("train", "validation"))
    inputs, others = bare_loop(*model, images).clone(), bare_loop(*model, others)
    for hidden, rate, seed in ((hidden, rate, seed) for hidden in (0, HIDDEN) for rate in rates for seed in range(2)):
        torch.manual_seed(seed)
        width = inputs.shape[1]
        layers = [nn.Linear(width, hidden), nn.ReLU()] if hidden else []
        head = nn.Sequential(*layers, nn.Linear(hidden or width, 2))
        optimizer = torch.optim.Adam(head.parameters(), lr=rate)
        for _ in range(epochs):
            for rows in torch.randperm(len(inputs)).split(BATCH):
                optimizer.zero_grad()
                nn.functional.cross_entropy(head(inputs[rows]), targets[rows]).backward()
                optimizer.step()
            with torch.inference_mode():
                best = max(best, (head(others).argmax(1) == answers).float().mean().item())
    return best


def script(place: Path, weights: Path, epochs: int, rates: Sequence[float]) -> float:
    """Run the script in a process of its own.

    Returns:
        Seconds from its start to its end.
    """
    started = time.perf_counter()
    words = [sys.executable, __file__, "--by-hand", str(place), str(weights), str(epochs), *map(str, rates)]
    subprocess.run(words, check=True, env={**os.environ, **CPU})
    return time.perf_counter() - started


# --- features alone


def images_a_second(place: Path, weights: Path, rounds: int) -> tuple[float, float]:
    """Decode photos and compute features, by convgrid and by a bare loop in turns; the best of each.

    Returns:
        Images a second of the processor by convgrid, and by the loop.
    """
    torch.set_num_threads(1)
    trunk, predictor = trunk_of(weights)
    source = FeatureSource(trunk, predictor.normalised, torch.device("cpu"), "32-true", {}, "benchmark", 0)

    def by_convgrid(number: int) -> int:
        with contextlib.chdir(place):
            data = read(settings_of([*DATA, "trainer=cpu"]))
        found = stored(
            [data.train, data.validation], source, ProgressWatch(lambda _: None), Cache(place / f"cache{number}")
        )
        assert found is not None
        return sum(map(len, found))

    def by_loop(_: int) -> int:
        parts = [decoded(place / "photos" / part)[0] for part in ("train", "validation")]
        return sum(len(bare_loop(trunk, predictor, part)) for part in parts)

    sides: list[Callable[[int], int]] = [by_convgrid, by_loop]
    best = [0.0, 0.0]
    for number in range(rounds):
        for place_of, side in enumerate(sides):
            started = time.process_time()
            count = side(number)
            best[place_of] = max(best[place_of], count / (time.process_time() - started))
    return best[0], best[1]


def main() -> None:
    """Print all times, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="70 photos, 4 heads, 2 epochs, to see that it runs")
    parser.add_argument("--photos", type=int, default=2800, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=2, help="of each; default: %(default)s")
    parser.add_argument(
        "--by-hand", nargs="+", metavar="X", help="run the script alone: folder, weights, epochs, rates"
    )
    args = parser.parse_args()
    if args.by_hand:
        place, weights, epochs, *rates = args.by_hand
        heads_by_hand(Path(place), Path(weights), int(epochs), [float(rate) for rate in rates])
        return
    count, epochs, rates, rounds = (70, 2, RATES[:1], 1) if args.quick else (args.photos, 30, RATES, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_photos(place / "photos", count)
        train(place, *DATA, *ARCH, "trainer.max_epochs=1", "trainer.limit=32", "tracking=none")
        (weights,) = place.glob("runs/*/best.ckpt")
        ours, bare = images_a_second(place, weights, rounds)
        print(f"features: {ours:.1f} images a second, a bare loop {bare:.1f}, ratio {ours / bare:.3f} "
              f"(at least {LEAST_SPEED})", flush=True)  # fmt: skip
        turns: list[tuple[float, float]] = []
        for number in range(rounds):
            turns.append((sweep(place, weights, number, epochs, rates), script(place, weights, epochs, rates)))
            print("sweep {:.1f} s   script by hand {:.1f} s".format(*turns[-1]), flush=True)
    swept, by_hand = (min(side) for side in zip(*turns, strict=True))
    ratio = f"ratio {swept / by_hand:.2f} (at most {MOST})"
    print(f"{4 * len(rates)} heads: sweep {swept:.1f} s, by hand {by_hand:.1f} s, {ratio}")
    workers = min(cores(), 4 * len(rates))  # that a sweep has
    every = count / ours * epochs * 4 * len(rates) / workers
    print(f"frozen layers in every epoch: {every:.0f} s, {every / swept:.0f} times the sweep (at least {LEAST_FACTOR})")


if __name__ == "__main__":
    main()
