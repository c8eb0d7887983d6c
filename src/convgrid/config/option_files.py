"""What options' files set: most set keys of their own group only, and take each other's place without composing."""

from collections.abc import Mapping

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from convgrid.config.hydra_internals import chooses_others, file_of, looks_up_options, starts_from, with_options
from convgrid.config.mappings import flatten


class OptionFiles:
    """Each file is looked at once.

    Args:
        loader: Hydra's, which knows the folders of options.
        config_name: Of the primary config.
    """

    def __init__(self, loader: ConfigLoader, config_name: str) -> None:
        self._loader, self._config_name = loader, config_name
        self._own: dict[tuple[str, str], DictConfig | None] = {}
        self._set: dict[str, set[str] | None] = {}

    def own(self, group: str, option: str) -> DictConfig | None:
        """What an option that stands alone makes of its group, with the options that it starts from.

        Args:
            group: Such as "optimizer".
            option: Such as "sgd".

        Returns:
            None where its file has a package, or chooses options of other groups.
        """
        if (group, option) not in self._own:
            self._own[group, option] = None  # should it start from itself
            self._own[group, option] = self._merged(group, option)
        return self._own[group, option]

    def _merged(self, group: str, option: str) -> DictConfig | None:
        file = file_of(self._loader, f"{group}/{option}")
        if file is None or file.header["package"] is not None or chooses_others(file):
            return None
        names = starts_from(file)
        if names is None:
            return None
        parts = [file.config if name == "_self_" else self.own(group, name) for name in names]
        found = [part for part in parts if part is not None]
        merged = OmegaConf.merge(*found) if len(found) == len(parts) else None
        return merged if isinstance(merged, DictConfig) else None

    def _keys(self, path: str) -> set[str] | None:
        """All keys that a file sets, in its group or, as an experiment's does, elsewhere; None where that is not told.

        What it chooses of other groups is not counted: a config knows its choices.

        Args:
            path: Such as "optimizer/sgd", or "config" of the primary file.
        """
        if path not in self._set:
            self._set[path] = None
            self._set[path] = self._found_keys(path)
        return self._set[path]

    def _found_keys(self, path: str) -> set[str] | None:
        file, group = file_of(self._loader, path), path.rpartition("/")[0]
        if file is None or file.header["package"] not in (None, "_global_") or looks_up_options(file):
            return None
        start = f"{group.replace('/', '.')}." if group and file.header["package"] is None else ""
        names, keys = starts_from(file), set[str]()
        if names is None:
            return None
        for name in names:
            found = _keys_of(file.config, start) if name == "_self_" else self._keys(f"{group}/{name}".lstrip("/"))
            if found is None:
                return None
            keys |= found
        return keys

    def exchanged(self, composed: DictConfig, options: Mapping[str, str]) -> DictConfig | None:
        """Put other options into a config. Hydra composes one in 70 ms, and this takes 5.

        Where nothing else sets keys of a group, what is below it is what the file of its option says.

        Args:
            composed: With its `hydra` node.
            options: By group; all other choices remain.

        Returns:
            Another config; its `hydra` node knows its choices, not its overrides. None where Hydra has to compose it.
        """
        choices = {group: str(name) for group, name in composed.hydra.runtime.choices.items() if name is not None}
        options = {group: name for group, name in options.items() if choices.get(group) != name}
        kept = {group: name for group, name in choices.items() if group not in options and not _is_in(group, "hydra")}
        if not all(self._may_change(group, name, choices) for group, name in options.items()):
            return None
        files = (self._config_name, *(f"{group}/{name}" for group, name in kept.items()))
        keys = [self._keys(path) for path in files]
        if any(each is None or any(_sets(key, group) for key in each for group in options) for each in keys):
            return None
        own = {group: self.own(group, name) for group, name in options.items()}
        return with_options(
            composed, {group: (options[group], config) for group, config in own.items() if config is not None}
        )

    def _may_change(self, group: str, option: str, choices: Mapping[str, str]) -> bool:
        """Whether the old option and the new one stand alone, with no group below theirs."""
        names = (choices[group], option) if group in choices else ()
        stand_alone = bool(names) and all(self.own(group, name) is not None for name in names)
        return stand_alone and not any(_is_in(other, group) for other in choices)


def _is_in(group: str, other: str) -> bool:
    return group.startswith(f"{other}/")


def _keys_of(config: DictConfig, start: str) -> set[str]:
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)
    return {f"{start}{key}" for key, _ in flatten({str(key): value for key, value in values.items()})}


def _sets(key: str, group: str) -> bool:
    """Whether a key is in a group, or is what the group is in."""
    path = group.replace("/", ".")
    return key.startswith(f"{path}.") or f"{path}.".startswith(f"{key}.")
