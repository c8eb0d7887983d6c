"""Minutes that a grid of 32 trials on digits takes, beside the same training as people write it by hand.

Usage: python benchmarks/sweep.py [--quick] [--tracking]

By hand: Hydra's basic sweeper over a LightningModule that logs its losses, with DataLoaders, Lightning's defaults and
MLFlowLogger on sqlite. Same networks, data, batches, epochs and optimizer; both from the start of the process to its
end, stores and imports included. The sides run one after the other, twice in turns.

--tracking: what MLflow costs a sweep of 256 trials that are over in a moment, beside the same sweep without it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = Path(__file__).parents[1] / "run.py"
GRID = {"n": "1,2", "m": "1,2", "k": "0,1", "lr": "0.001,0.003", "seed": "0,1"}
TINY = ["arch.n=1,2", "arch.m=1,2", "trainer.max_epochs=2", "arch.filters=8", "data.limit=400"]
KEYS = {"n": "arch.n", "m": "arch.m", "k": "arch.k", "lr": "optimizer.lr", "seed": "seed"}

CONFIG = """
n: 1
m: 2
k: 1
lr: 0.001
seed: 0
epochs: 20
hydra:
  run: {dir: .}
  sweep: {dir: ., subdir: .}
"""
BY_HAND = """
import hydra
import lightning as L
import torch
from lightning.pytorch.loggers import MLFlowLogger
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, n, m, k, lr):
        super().__init__()
        self.save_hyperparameters()
        layers, channels, size = [], 1, 8
        for stage in range(m):
            for _ in range(n):
                layers += [nn.Conv2d(channels, 32 * 2**stage, 3, padding=1), nn.ReLU()]
                channels = 32 * 2**stage
            layers.append(nn.MaxPool2d(2))
            size //= 2
        layers.append(nn.Flatten())
        features = channels * size * size
        for _ in range(k):
            layers += [nn.Linear(features, 128), nn.ReLU()]
            features = 128
        self.net = nn.Sequential(*layers, nn.Linear(features, 10))

    def step(self, batch, name):
        scores = self.net(batch[0])
        loss = F.cross_entropy(scores, batch[1])
        self.log(f"{name}/loss", loss, on_step=False, on_epoch=True)
        if name != "train":
            self.log(f"{name}/accuracy", (scores.argmax(1) == batch[1]).float().mean())
        return loss

    def training_step(self, batch, _):
        return self.step(batch, "train")

    def validation_step(self, batch, _):
        self.step(batch, "val")

    def test_step(self, batch, _):
        self.step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg):
    L.seed_everything(cfg.seed)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    targets = torch.tensor(digits.target)
    rest, test = train_test_split(range(len(targets)), test_size=0.15, stratify=targets, random_state=0)
    train, val = train_test_split(rest, test_size=0.15 / 0.85, stratify=targets[rest], random_state=0)
    images = (images - images[train].mean()) / images[train].std()
    train, val, test = (TensorDataset(images[rows], targets[rows]) for rows in (train, val, test))
    logger = MLFlowLogger("by_hand", tracking_uri="sqlite:///mlflow.db")
    trainer = L.Trainer(max_epochs=cfg.epochs, logger=logger)
    model = Net(cfg.n, cfg.m, cfg.k, cfg.lr)
    trainer.fit(model, DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=512))
    trainer.test(model, DataLoader(test, batch_size=512), ckpt_path="best")


main()
"""


def by_hand(folder: Path, grid: dict[str, str], epochs: int) -> float:
    """Run the sweep as written by hand.

    Returns:
        Seconds.
    """
    (folder / "train.py").write_text(BY_HAND)
    (folder / "config.yaml").write_text(CONFIG)
    overrides = [f"{key}={values}" for key, values in grid.items()]
    return seconds([sys.executable, "train.py", "-m", *overrides, f"epochs={epochs}"], folder)


def ours(folder: Path, grid: dict[str, str], epochs: int) -> float:
    """Run the sweep with convgrid.

    Returns:
        Seconds.
    """
    overrides = [f"{KEYS[key]}={values}" for key, values in grid.items()]
    return seconds([sys.executable, str(RUN), "-m", *overrides, f"trainer.max_epochs={epochs}"], folder)


def tracked(folder: Path, seeds: int) -> tuple[float, float]:
    """Run a sweep of tiny trials with and without MLflow.

    Args:
        seeds: A quarter of its trials.

    Returns:
        Seconds with it and without.
    """
    command = [sys.executable, str(RUN), "-m", *TINY, f"sweep.seeds={seeds}"]
    places = [folder / "with", folder / "without"]
    for place in places:
        place.mkdir()
    return seconds(command, places[0]), seconds([*command, "tracking=none"], places[1])


def seconds(command: list[str], folder: Path) -> float:
    """Time a command that must succeed.

    Returns:
        Seconds from its start to its end.
    """
    # As on the user's machine, where byte code is kept: the first turn writes it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    """Print both sides' times and their ratio, turn by turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two trials of one epoch, to see that it runs")
    parser.add_argument("--tracking", action="store_true", help="what MLflow costs a sweep, instead")
    options = parser.parse_args()
    quick = options.quick
    if options.tracking:
        seeds, turns = (1, 1) if quick else (64, 3)
        for _ in range(turns):
            with tempfile.TemporaryDirectory() as folder:
                slow, fast = tracked(Path(folder), seeds)
            each = 1e3 * (slow - fast) / (4 * seeds)
            told = f"ratio {slow / fast:.2f}   MLflow {each:5.1f} ms a trial of {4 * seeds}"
            print(f"with MLflow {slow:6.1f} s   without {fast:6.1f} s   {told}", flush=True)
        return
    grid, epochs, turns = ({"n": "1,2"}, 1, 1) if quick else (GRID, 20, 2)
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as hand, tempfile.TemporaryDirectory() as own:
            slow, fast = by_hand(Path(hand), grid, epochs), ours(Path(own), grid, epochs)
        print(f"by hand {slow:6.1f} s   convgrid {fast:6.1f} s   ratio {slow / fast:.2f} (at least 4)", flush=True)


if __name__ == "__main__":
    main()
