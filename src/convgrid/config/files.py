"""Where the options are: `conf/` and `experiments/` at a checkout's root, or inside an installed wheel."""

import copyreg
from pathlib import Path

from hydra.core.config_store import ConfigStore

PACKAGE = Path(__file__).parents[1]
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1]
CONF = ROOT / "conf"
EXPERIMENTS = ROOT / "experiments"

# Hydra copies this singleton with every look at its groups, 120 times for --help.
copyreg.pickle(ConfigStore, lambda _: (ConfigStore.instance, ()))
