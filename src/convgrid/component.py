"""What an option of a config group says: the function or class it names, and the values it sets."""

import functools
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any

from convgrid.errors import ConfigError, cause_of

KEPT = re.compile(r"\$\{oc\.env:([^${},]+)\}")  # how a config holds a secret of the environment
PACKAGE_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Component:
    """One chosen option; `optimizer=adam` is Component("adam", "convgrid.optimizers.adam", {"lr": 0.001, ...})."""

    name: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    group: str = field(default="", compare=False)  # for messages

    def bind(self) -> Callable[..., Any]:
        """The function or class with the config's values set; what the pipeline supplies is still to be given.

        Returns:
            A callable that takes the component's positional arguments.

        Raises:
            ConfigError: If the target does not exist, or does not take one of the values.

        Example:
            >>> Component("counter", "collections.Counter", {"spam": 2}).bind()()
            Counter({'spam': 2})
        """
        option = self.option
        try:
            target = pkgutil.resolve_name(self.target)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"{option} names {self.target}, which cannot be imported: {error}.\n"
                "Mend _target_ in the option's file, or add the module's folder to PYTHONPATH."
            ) from None
        if not callable(target):
            raise ConfigError(f"{option} names {self.target}, which is neither a function nor a class.")
        _check_options(option, target, self)
        return functools.partial(target, **{key: revealed(value, key) for key, value in self.options.items()})

    @property
    def option(self) -> str:
        """As it is typed."""
        return f"{self.group}={self.name}".lstrip("=")

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Tell in a line whatever its code raises inside of the block, and where.

        Raises:
            ConfigError: Of anything but the user's own mistakes, a full disk, and too little memory.
        """
        try:
            yield
        except Exception as error:
            if cause_of(error):
                raise
            frames = extract_tb(error.__traceback__)
            theirs = [frame for frame in frames if not Path(frame.filename).is_relative_to(PACKAGE_FOLDER)]
            place = f" in {theirs[-1].filename}, line {theirs[-1].lineno}" if theirs else ""
            raise ConfigError(
                f"{self.option} cannot be used: {self.target} raises {type(error).__name__} "
                f"({' '.join(str(error).split())}){place}. Mend it, or name another {self.group} in the option's file."
            ) from error

    def checked(self, made: Any, *kinds: type) -> Any:
        """Hold what it gives against what its group is made of.

        Raises:
            ConfigError: If it is something else.
        """
        if not isinstance(made, kinds):
            raise ConfigError(
                f"{self.option}: {self.target} gives {type(made).__name__}, not {kinds[0].__name__}. "
                f"Name another {self.group} in the option's file."
            )
        return made


def revealed(value: Any, key: str) -> Any:
    """Look up the secrets of the environment that a value of a config holds by the names of their variables.

    Args:
        value: As the config holds it: a text, a number, or a list or dictionary of them.
        key: Where, for the message.

    Returns:
        What is to be used, and neither stored nor shown.

    Raises:
        ConfigError: If a variable is not set.

    Example:
        >>> os.environ["MY_TOKEN"] = "1234"
        >>> revealed("Bearer ${oc.env:MY_TOKEN}", "data.token")
        'Bearer 1234'
    """
    if isinstance(value, str):
        return KEPT.sub(lambda found: _variable(found[1], f"{key}={value}"), value)
    if isinstance(value, dict):
        return {name: revealed(item, f"{key}.{name}") for name, item in value.items()}
    return [revealed(item, key) for item in value] if isinstance(value, list) else value


def _variable(name: str, stated: str) -> str:
    if name not in os.environ:
        raise ConfigError(f"{stated}: the environment variable {name} is not set. Set it: secrets are not stored.")
    return os.environ[name]


def _check_options(option: str, target: Callable[..., Any], component: Component) -> None:
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # some of torch's built-ins have none
        return
    try:
        signature.bind_partial(**component.options)
    except TypeError as error:
        raise ConfigError(f"{option}: {component.target} {error}. Give it that argument, or drop the key.") from None
