"""The published networks of conf/arch, planned at the size that their files name.

Run it for the table and the commands of docs/networks.md.
"""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from conftest import compose_settings
from convgrid.config import CONF, architecture
from convgrid.network.plan import Plan, plan
from convgrid.network.planned import IMAGE, Shape

OF_THE_COURSE = {"convnet", "linear", "conv_fc", "conv_pool", "deep"}  # CS231n's patterns: nobody published counts
HEAD = re.compile(
    r"# (?P<title>.+), (?P<year>\d{4}): (?P<idea>.+)\n(?:#.*\n)*?# (?P<parameters>[\d,]+) parameters, "
    r"(?P<multiply_adds>[\d,]+) multiply-adds for (?P<shape>\d+x\d+x\d+) images and (?P<classes>[\d,]+) classes\."
)


@dataclass(frozen=True)
class Study:
    """A network as the comment of its file tells of it, and as it is planned."""

    name: str
    title: str
    year: str
    idea: str
    shape: Shape
    classes: int
    counts: tuple[int, int]  # parameters and multiply-adds that the comment states

    @functools.cached_property
    def plan(self) -> Plan:
        return plan(architecture(compose_settings(f"arch={self.name}")), self.shape, self.classes)

    @property
    def depth(self) -> int:
        """CONV and FC layers on the longest way through the network."""
        found = {IMAGE: 0}
        for layer in self.plan.layers:
            found[layer.name] = max(found[name] for name in layer.inputs) + (layer.kind in ("CONV", "FC"))
        return max(found.values())

    @property
    def view(self) -> int:
        """What one value of the last volume sees of the image, in pixels; all are square."""
        (side,) = {*[layer for layer in self.plan.layers if len(layer.output_shape) == 3][-1].receptive_field}
        return side

    @property
    def command(self) -> str:
        classes = f" data.num_classes={self.classes}" if self.classes != 10 else ""
        shape = ",".join(map(str, self.shape))
        return f"python run.py dry_run=true arch={self.name} data=random data.shape=[{shape}]{classes}"


@functools.cache
def studies() -> dict[str, Study]:
    """By name: the oldest first, smaller ones before larger ones."""
    found = [_study(path) for path in CONF.glob("arch/*.yaml") if path.stem not in OF_THE_COURSE]
    return {study.name: study for study in sorted(found, key=lambda study: (study.year, study.counts))}


def _study(path: Path) -> Study:
    head = HEAD.match(path.read_text(encoding="utf-8"))
    assert head, f"{path.name} does not begin as the others do"
    known = head.groupdict()
    shape = tuple(map(int, known["shape"].split("x")))
    parameters, multiply_adds, classes = (_number(known[key]) for key in ("parameters", "multiply_adds", "classes"))
    words = (path.stem, known["title"], known["year"], known["idea"].rstrip("."))
    return Study(*words, shape, classes, (parameters, multiply_adds))


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def table() -> str:
    """Every network with its costs, for a page."""
    rows = ["| `arch=` | year | layers | parameters | multiply-adds | memory | sees | idea |", "|---" * 8 + "|"]
    for study in studies().values():
        made = study.plan
        costs = f"{made.parameters:,} | {made.multiply_adds:,} | {made.activation_bytes / 1024**2:.1f} MiB"
        rows.append(f"| `{study.name}` | {study.year} | {study.depth} | {costs} | {study.view} | {study.idea} |")
    return "\n".join(rows)


def commands() -> str:
    """A line for each, to be typed."""
    return "\n".join(study.command for study in studies().values())


if __name__ == "__main__":
    print(f"{table()}\n\n{commands()}")
