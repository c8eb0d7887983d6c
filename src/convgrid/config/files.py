"""Where the options are: `conf/` and `experiments/` at a checkout's root, or inside an installed wheel."""

from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1]
CONF = ROOT / "conf"
EXPERIMENTS = ROOT / "experiments"


def register_experiments() -> None:
    """Let Hydra know `experiments=NAME`; a search path at the root would make it offer every folder as a group."""
    for path in sorted(EXPERIMENTS.glob("*.yaml")):
        ConfigStore.instance().store(
            group="experiments", name=path.stem, node=OmegaConf.load(path), package="_global_", provider="convgrid"
        )
