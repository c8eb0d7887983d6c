"""What an option of a config group says: the function or class it names, and the values it sets."""

import functools
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Component:
    """One chosen option; `optimizer=adam` is Component("adam", "convgrid.optimizers.adam", {"lr": 0.001, ...})."""

    name: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def bind(self) -> Callable[..., Any]:
        """The function or class with the config's values set; what the pipeline supplies is still to be given.

        Returns:
            A callable that takes the component's positional arguments.

        Raises:
            ImportError: If the target's module does not exist.
            AttributeError: If the module has no such name.

        Example:
            >>> Component("counter", "collections.Counter", {"spam": 2}).bind()()
            Counter({'spam': 2})
        """
        return functools.partial(pkgutil.resolve_name(self.target), **self.options)
