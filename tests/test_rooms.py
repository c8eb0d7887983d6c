"""The rule of the house: the root holds what a YAML names, rooms hold everything else, and import downwards only."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
ROOT = {"__init__", "__main__", "api", "component", "errors", "terminal"}
OPTIONS = {"activations", "augment", "data", "layers", "losses", "optimizers", "scales", "schedules"}  # named by YAMLs
# From the lowest floor up. The options stand on one floor; data stands above them, since it deals in targets.
FLOORS = (
    *("errors", "component", "system", "options", "objective", "network", "data", "config", "runs", "terminal"),
    *("features", "training", "compare", "model", "tracking", "sweep", "cli", "api", "__main__"),
)
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.glob("convgrid/**/*.py")
}


@functools.cache
def imports(module: str) -> list[str]:
    """The modules of convgrid that a module imports, those inside functions included."""
    return [*_imports(module)]


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def floor(module: str) -> int:
    """How high a module stands; the package itself, with its version, is below all."""
    _, *rooms = module.split(".")
    if not rooms:
        return -1
    return FLOORS.index("options" if rooms[0] in OPTIONS - {"data"} else rooms[0])


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """What imports itself through others: what is left when all that ends is taken away, from both sides."""
    left = {module: set(targets) for module, targets in arrows.items()}
    while True:
        wanted = {target for targets in left.values() for target in targets}
        gone = {module for module, targets in left.items() if not targets & left.keys() or module not in wanted}
        if not gone:
            return [set(left)] if left else []
        left = {module: targets - gone for module, targets in left.items() if module not in gone}


def test_the_root_holds_what_a_yaml_names() -> None:
    found = {path.stem for path in (SOURCE / "convgrid").glob("*.py")}
    assert found <= ROOT | OPTIONS


def test_every_room_imports_downwards_only() -> None:
    upwards = [
        f"{module} -> {target}"
        for module in MODULES
        for target in imports(module)
        if floor(target) > floor(module) and module != "convgrid"  # whose face names the API, for type checkers
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {
        module: {target for target in imports(module) if not module.startswith(f"{target}.")}  # less its package's face
        for module in MODULES
    }
    assert circles(arrows) == []


@pytest.mark.parametrize("room", sorted({path.parent.name for path in SOURCE.glob("convgrid/*/*.py")}))
def test_every_room_has_tests_in_a_room_of_the_same_name(room: str) -> None:
    tests = Path(__file__).parent
    assert [*tests.glob(f"{room}/test_*.py"), *tests.glob(f"test_{room}.py")]


def test_a_circle_and_an_arrow_upwards_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == [{"a", "b", "c"}]
    assert floor("convgrid.cli.run") > floor("convgrid.sweep.scheduler") > floor("convgrid.data.npz")
    assert floor("convgrid.data.npz") > floor("convgrid.losses.classes")
