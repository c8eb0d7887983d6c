"""Hydra finds `experiments=NAME` in `experiments/`, and reads the file only once it is chosen."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from convgrid.config import files

GROUP = "experiments"


def register_experiments() -> None:
    """Let Hydra know `experiments=NAME` in this process; installed as a plugin, every program with Hydra would."""
    for plugin in (ExperimentFiles, ExperimentSearchPath):
        Plugins.instance().register(plugin)


class ExperimentSearchPath(SearchPathPlugin):
    """Hydra looks for experiments behind the options of `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add what `ExperimentFiles` answers for."""
        search_path.append(provider="convgrid", path=f"{ExperimentFiles.scheme()}://{files.EXPERIMENTS}")


class ExperimentFiles(ConfigSource):
    """A source with the one group `experiments`; with a source of files, every folder beside it would be a group."""

    @staticmethod
    def scheme() -> str:
        """Of its addresses in Hydra's search path."""
        return "experiments"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read an experiment."""
        path = files.EXPERIMENTS / f"{_name(config_path)}.yaml"
        header = self._get_header_dict(path.read_text(encoding="utf-8"))
        return ConfigResult(self.provider, self.full_path(), OmegaConf.load(path), header)

    def available(self) -> bool:
        """Say whether there are any."""
        return files.EXPERIMENTS.is_dir()

    def is_group(self, config_path: str) -> bool:
        """Say whether this is the group."""
        return config_path.rstrip("/") == GROUP

    def is_config(self, config_path: str) -> bool:
        """Say whether this is an experiment."""
        return config_path.startswith(f"{GROUP}/") and (files.EXPERIMENTS / f"{_name(config_path)}.yaml").is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """List the group, or the experiments in it."""
        if not config_path:
            return [] if results_filter is ObjectType.CONFIG else [GROUP]
        if not self.is_group(config_path) or results_filter is ObjectType.GROUP:
            return []
        return sorted(path.stem for path in files.EXPERIMENTS.glob("*.yaml"))


def _name(config_path: str) -> str:
    return config_path.removeprefix(f"{GROUP}/").removesuffix(".yaml")
