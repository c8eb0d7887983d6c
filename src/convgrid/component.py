"""What an option of a config group says: the function or class it names, and the values it sets."""

import functools
import inspect
import os
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from convgrid.errors import ConfigError

KEPT = re.compile(r"\$\{oc\.env:([^${},]+)\}")  # how a config holds a secret of the environment


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
        option = f"{self.group}={self.name}".lstrip("=")
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
