"""What the user's own components are: a digest of the code of each module that they come from."""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

from convgrid.config import Settings, flatten
from convgrid.network.plan import Plan

LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
INSTALLED = {"site-packages", "dist-packages"}  # folders of packages, the latter Debian's


def own_code(settings: Settings, planned: Plan) -> dict[str, str]:
    """Digest the code of the user's own components; comments and spaces count for nothing.

    Args:
        planned: The network, whose layers name components as well.

    Returns:
        By module: those of the components, and those of the user's own that they use.
    """
    named = {key: value for key, value in flatten(settings.values) if key.endswith("_target_")}
    chosen = {target for key, target in named.items() if not key.startswith("sweep.")}
    found: dict[str, str] = {}
    for target in sorted(chosen | {layer.component.target for layer in planned.layers}):
        _add(_module_of(target), found)
    return found


def _add(name: str, found: dict[str, str]) -> None:
    """A module, and what it uses of others, once each."""
    module = sys.modules.get(name)
    if module is None or name in found or not _is_own(module):
        return
    tree = ast.parse(Path(str(module.__file__)).read_bytes())
    found[name] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]
    for imported in _imports(tree, module.__package__ or ""):
        _add(imported, found)


def _module_of(target: str) -> str:
    """The longest part of a dotted name that is a module."""
    parts = target.replace(":", ".").split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in sys.modules), "")


def _is_own(module: ModuleType) -> bool:
    file = Path(str(getattr(module, "__file__", None)))
    if file.suffix != ".py" or module.__name__.partition(".")[0] == "convgrid" or not file.is_file():
        return False
    return not (INSTALLED & {*file.parts} or any(file.is_relative_to(place) for place in LIBRARIES))


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """What may be modules among the names that a module imports, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
