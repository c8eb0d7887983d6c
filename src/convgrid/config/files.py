"""Where the options are: `conf/` and `experiments/` at a checkout's root, or inside an installed wheel."""

import copyreg
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from yaml import YAMLError

from convgrid.errors import ConfigError

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1]
CONF = ROOT / "conf"
EXPERIMENTS = ROOT / "experiments"

# Hydra copies this singleton with every look at its groups, 120 times for --help.
copyreg.pickle(ConfigStore, lambda _: (ConfigStore.instance, ()))


def register_experiments() -> None:
    """Let Hydra know `experiments=NAME`; a search path at the root would make it offer every folder as a group.

    Raises:
        ConfigError: If a file of `experiments/` is not YAML.
    """
    for path in sorted(EXPERIMENTS.glob("*.yaml")):
        try:
            node = OmegaConf.load(path)
        except (YAMLError, ValueError, OSError) as error:
            raise ConfigError(f"experiments/{path.name} cannot be read: {' '.join(str(error).split())}.") from None
        ConfigStore.instance().store(
            group="experiments", name=path.stem, node=node, package="_global_", provider="convgrid"
        )
