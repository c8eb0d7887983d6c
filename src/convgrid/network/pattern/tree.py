"""The syntax tree, and the list of layers that it expands to."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from convgrid.errors import ConfigError
from convgrid.network.pattern.caret import error_at

Value = int | float | bool | str | tuple[int, int]
Count = int | Literal["n", "m", "k"]

MAX_LAYERS = 10_000


@dataclass(frozen=True)
class Layer:
    """One layer: as written where it stands in a syntax tree, as built where `expand` made it."""

    kind: str  # CONV POOL NORM ACT DROPOUT FC GAP
    args: tuple[tuple[str, Value], ...] = ()  # those written, by canonical name and in canonical order
    activation: str | None = None  # for ACT: the lower-case name of a named activation, None for ACT itself
    stage: int = 0  # the turns of outermost groups with CONVs before it; 0 in a syntax tree
    optional: bool = False  # written with "?"; False once expanded
    column: int = field(default=0, compare=False)  # 0-based offset in the pattern's text


@dataclass(frozen=True)
class Group:
    """Nodes in square brackets, to be repeated."""

    nodes: "tuple[Layer | Group, ...]"
    count: Count
    column: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Pattern:
    """The syntax tree of a pattern, without INPUT; its last node is the output FC."""

    text: str
    nodes: tuple[Layer | Group, ...]

    @property
    def counts(self) -> frozenset[str]:
        """Which of "n", "m" and "k" the pattern uses."""
        return frozenset(str(group.count) for group in _groups(self.nodes) if not isinstance(group.count, int))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer as written, each group entered once."""
        return tuple(_layers(self.nodes))

    def expand(self, *, n: int, m: int, k: int, absent: Collection[str] = ()) -> tuple[Layer, ...]:
        """Repeat the groups, settle the optional layers, number the stages.

        The stage is one more after each turn of an outermost group that put a CONV into the expansion.

        Args:
            n: What N stands for, 0 or more.
            m: What M stands for, 0 or more.
            k: What K stands for, 0 or more.
            absent: Kinds whose config group is none; an optional layer of such a kind without arguments vanishes.

        Returns:
            The layers from the first after INPUT to the output FC; none is optional any more.

        Raises:
            ConfigError: If a count is negative.
            PatternError: If a layer that needs a volume follows FC or GAP, or the layers are more than MAX_LAYERS.

        Example:
            >>> from convgrid.network.pattern import parse, render
            >>> pattern = parse("INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> FC", activations=["relu"])
            >>> render(pattern.expand(n=1, m=2, k=0, absent=["POOL"]))
            'INPUT -> CONV -> RELU -> CONV -> RELU -> FC'
        """
        counts = {"n": n, "m": m, "k": k}
        for name, count in counts.items():
            if count < 0:
                raise ConfigError(f"arch.{name}={count} must be 0 or more.")
        layers = self._staged(counts, frozenset(absent))
        self._check_volumes(layers)
        return tuple(layers)

    def _staged(self, counts: Mapping[str, int], absent: frozenset[str]) -> list[Layer]:
        """Expand the outermost nodes, where the stages are counted."""
        layers: list[Layer] = []
        stage = 0
        for node in self.nodes:
            nodes, count = ((node,), 1) if isinstance(node, Layer) else (node.nodes, _number(node.count, counts))
            turn = self._flat(nodes, counts, absent) if count else []
            if not turn:
                continue
            self._check_size(len(layers) + count * len(turn), node)
            if isinstance(node, Layer) or all(layer.kind != "CONV" for layer in turn):
                layers += _at_stage(turn, stage) * count
                continue
            for _ in range(count):
                layers += _at_stage(turn, stage)
                stage += 1
        return layers

    def _flat(self, nodes: Sequence[Layer | Group], counts: Mapping[str, int], absent: frozenset[str]) -> list[Layer]:
        """Expand nodes that all belong to one stage, as at stage 0."""
        layers: list[Layer] = []
        for node in nodes:
            if isinstance(node, Group):
                count = _number(node.count, counts)
                turn = self._flat(node.nodes, counts, absent) if count else []
                if turn:
                    self._check_size(len(layers) + count * len(turn), node)
                    layers += turn * count
            elif not node.optional:
                layers.append(node)
            elif node.args or node.kind not in absent:
                layers.append(Layer(node.kind, node.args, node.activation, column=node.column))
        return layers

    def _check_size(self, size: int, node: Layer | Group) -> None:
        if size > MAX_LAYERS:
            lower = " or ".join(f"arch.{name}" for name in sorted(self.counts)) or "a count"
            message = f"this expands to more than {MAX_LAYERS} layers. Lower {lower}."
            raise error_at(self.text, node.column, message)

    def _check_volumes(self, layers: Sequence[Layer]) -> None:
        """Refuse a layer over height and width where FC or GAP has left a vector."""
        flattened = None
        for layer in layers:
            if flattened and layer.kind in ("CONV", "POOL", "GAP"):
                cause = f"{layer.kind} needs a volume, but an earlier {flattened} leaves a vector."
                fix = "After FC or GAP come only FC, ACT, NORM and DROPOUT."
                raise error_at(self.text, layer.column, f"{cause} {fix}")
            if layer.kind in ("FC", "GAP"):
                flattened = layer.kind


def _groups(nodes: Sequence[Layer | Group]) -> Iterator[Group]:
    for node in nodes:
        if isinstance(node, Group):
            yield node
            yield from _groups(node.nodes)


def _layers(nodes: Sequence[Layer | Group]) -> Iterator[Layer]:
    for node in nodes:
        if isinstance(node, Layer):
            yield node
        else:
            yield from _layers(node.nodes)


def _number(count: Count, counts: Mapping[str, int]) -> int:
    return count if isinstance(count, int) else counts[count]


def _at_stage(layers: list[Layer], stage: int) -> list[Layer]:
    if not stage:
        return layers
    return [Layer(layer.kind, layer.args, layer.activation, stage, False, layer.column) for layer in layers]
