"""Whether a node would train as the scheduler's machine does: the same code, the same packages, the data in sight."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from re import match
from typing import Any

import convgrid
from convgrid.component import KEPT
from convgrid.config import PLACES, Settings, flatten
from convgrid.training.own_code import INSTALLED

CORE_PACKAGES = ("torch", "lightning", "numpy")  # where convgrid itself is not installed
MAX_DIFFERENCES = 3  # differences that are named


@cache
def code() -> Mapping[str, str]:
    """Digest what trains: convgrid's source, and the versions of Python and of the packages that it needs.

    Returns:
        By name. How a package was built ("2.11.0+cpu") does not count: nodes may have GPUs that the scheduler lacks.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    found = {"Python": python, "convgrid": _digest(Path(convgrid.__file__).parent)}
    for name in _packages():
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def own_modules(settings: Iterable[Settings]) -> dict[str, str]:
    """Digest the user's own code that trials name, without importing it.

    Returns:
        By the name of the outermost package or module.
    """
    names = {
        str(value).partition(".")[0].partition(":")[0]
        for each in _alike(settings)  # options have fixed targets
        for key, value in flatten(each.values)
        if key.endswith("_target_") and not key.startswith("sweep.")
    }
    found = {name: own_module(name) for name in sorted(names - {"convgrid"})}
    return {name: digest for name, digest in found.items() if digest}


def _alike(settings: Iterable[Settings]) -> Collection[Settings]:
    """One of each choice of options."""
    return {json.dumps(dict(each.choices), sort_keys=True): each for each in settings}.values()


def own_module(name: str) -> str:
    """Digest a module or a package, all of its files.

    Returns:
        "" of one that is installed, or missing.
    """
    spec = None if name in sys.builtin_module_names else find_spec(name)
    if spec is None or spec.origin is None or INSTALLED & {*Path(spec.origin).parts}:
        return ""
    file = Path(spec.origin)
    if file.is_relative_to(sys.base_prefix):
        return ""
    return _digest(file.parent if file.name == "__init__.py" else file)


def paths_read(settings: Iterable[Settings]) -> list[str]:
    """The files and folders that trials read, as far as they exist here, and the first name in each folder.

    Returns:
        Absolute paths.
    """
    named: dict[Any, None] = {}
    for each in settings:
        data = each.values["data"]
        named |= dict.fromkeys(data.get(key.removeprefix("data.")) for key in PLACES)
        named[each.values["arch"].get("weights")] = None
    paths = [Path(text).absolute() for text in named if isinstance(text, str)]
    # with something in each folder: a place where a node has nothing mounted is there, and empty
    within = [min(path.iterdir(), default=path) for path in paths if path.is_dir()]
    return [str(path) for path in dict.fromkeys([*paths, *within]) if path.exists()]


def secrets_of(settings: Iterable[Settings]) -> list[str]:
    """Name the environment's variables that trials look up, since a config does not hold what is in them."""
    texts = (value for each in _alike(settings) for _, value in flatten(each.values) if isinstance(value, str))
    return sorted({name for text in texts for name in KEPT.findall(text)})


def faults(wanted: Mapping[str, str], own: Mapping[str, str], read: Sequence[str], secrets: Sequence[str] = ()) -> str:
    """Find why this machine's trials would come out otherwise than those of the scheduler's machine.

    Args:
        wanted: What `code` gives there.
        own: What `own_modules` gives there.
        read: What `paths_read` gives there.
        secrets: What `secrets_of` gives there.

    Returns:
        In a few words, with the fix; "" where nothing is wrong.
    """
    here = code()
    other = [
        f"{name} {'is another' if name == 'convgrid' else f'{here.get(name)} instead of {there}'}"
        for name, there in wanted.items()
        if here.get(name) != there
    ]
    other += [f"{name}, of your own, is another" for name, there in own.items() if own_module(name) != there]
    if other:
        more = f" and {len(other) - MAX_DIFFERENCES} more" if len(other) > MAX_DIFFERENCES else ""
        named = ", ".join(other[:MAX_DIFFERENCES])
        return f"its code differs: {named}{more}. Start it with the scheduler's Python environment"
    missing = [path for path in read if not Path(path).exists()]
    if missing:
        return f"{missing[0]} is missing there. Put the data where all nodes see it"
    unset = [name for name in secrets if name not in os.environ]
    return f"the environment variable {unset[0]} is not set there. Set it: secrets are not sent" if unset else ""


def _packages() -> Iterator[str]:
    try:
        needed = requires("convgrid") or CORE_PACKAGES
    except PackageNotFoundError:
        needed = CORE_PACKAGES
    for line in needed:
        name = match(r"[\w.-]+", line)
        if name and "extra ==" not in line:
            yield name[0]


def _digest(place: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        total.update(f"{file.relative_to(place)}\0".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:12]
