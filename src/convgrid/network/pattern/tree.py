"""The syntax tree, and the list of layers that it expands to."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from convgrid.errors import ConfigError
from convgrid.network.pattern.caret import error_at

Value = int | float | bool | str | tuple[int, int]
Count = int | Literal["n", "m", "k"]

MAX_LAYERS = 10_000


@dataclass(frozen=True)
class Layer:
    """One layer: as written where it stands in a syntax tree, as built where `expand` made it."""

    kind: str  # CONV POOL NORM ACT DROPOUT FC GAP, and SKIP as the only layer of a path
    args: tuple[tuple[str, Value], ...] = ()  # those written, by canonical name and in canonical order
    activation: str | None = None  # for ACT: the lower-case name of a named activation, None for ACT itself
    stage: int = 0  # the turns of outermost groups with CONVs before it; 0 in a syntax tree
    optional: bool = False  # written with "?"; False once expanded
    column: int = field(default=0, compare=False)  # 0-based offset in the pattern's text


@dataclass(frozen=True)
class Group:
    """Nodes in square brackets, to be repeated."""

    nodes: "tuple[Node, ...]"
    count: Count
    column: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Join:
    """Paths from one place that meet again; once expanded, there are no groups in them."""

    kind: str  # SUM CONCAT MUL
    paths: "tuple[tuple[Node, ...], ...]"
    column: int = field(default=0, compare=False)

    @property
    def steps(self) -> "tuple[tuple[Step, ...], ...]":
        """The paths of one that is expanded."""
        return cast("tuple[tuple[Step, ...], ...]", self.paths)


Node = Layer | Group | Join
Step = Layer | Join  # of an expansion
SKIP = Layer("SKIP")


@dataclass(frozen=True)
class Pattern:
    """The syntax tree of a pattern, without INPUT; its last node is the output FC."""

    text: str
    nodes: tuple[Node, ...]
    head: int | None = None  # how many nodes stand before a head of the user's own

    @property
    def counts(self) -> frozenset[str]:
        """Which of "n", "m" and "k" the pattern uses."""
        groups = (node for node in _walk(self.nodes) if isinstance(node, Group))
        return frozenset(str(group.count) for group in groups if not isinstance(group.count, int))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer as written, each group and each path entered once."""
        return tuple(node for node in _walk(self.nodes) if isinstance(node, Layer))

    @property
    def has_residual_norm(self) -> bool:
        """Whether a NORM ends a path that a SUM adds to a SKIP."""
        sums = [node for node in _walk(self.nodes) if isinstance(node, Join) and node.kind == "SUM"]
        return any(any(map(is_skip, join.paths)) and any(map(_ends_in_norm, join.paths)) for join in sums)

    def expand(self, *, n: int, m: int, k: int, absent: Collection[str] = ()) -> tuple[Step, ...]:
        """Repeat the groups, settle the optional layers, number the stages.

        The stage is one more after each turn of an outermost group that put a CONV into the expansion. A path that
        nothing is left of is a SKIP.

        Args:
            n: What N stands for, 0 or more.
            m: What M stands for, 0 or more.
            k: What K stands for, 0 or more.
            absent: Kinds whose config group is none; an optional layer of such a kind without arguments vanishes.

        Returns:
            From the first after INPUT to the output FC; no layer is optional any more.

        Raises:
            ConfigError: If a count is negative.
            PatternError: If a layer that needs a volume follows FC or GAP, if a volume and a vector meet, or if there
                are more than MAX_LAYERS layers.

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
        steps = self._staged(counts, frozenset(absent))
        self._check_volumes(steps, None)
        return tuple(steps)

    def _staged(self, counts: Mapping[str, int], absent: frozenset[str]) -> list[Step]:
        """Expand the outermost nodes, where the stages are counted."""
        steps: list[Step] = []
        stage = size = 0
        for node in self.nodes:
            nodes, count = (node.nodes, _number(node.count, counts)) if isinstance(node, Group) else ((node,), 1)
            turn = self._flat(nodes, counts, absent) if count else []
            if not turn:
                continue
            size = self._checked(size + count * _size(turn), node)
            if not isinstance(node, Group) or not _has_conv(turn):
                steps += _at_stage(turn, stage) * count
                continue
            for _ in range(count):
                steps += _at_stage(turn, stage)
                stage += 1
        return steps

    def _flat(self, nodes: Sequence[Node], counts: Mapping[str, int], absent: frozenset[str]) -> list[Step]:
        """Expand nodes that all belong to one stage, as at stage 0."""
        steps: list[Step] = []
        size = 0
        for node in nodes:
            made = self._one_flat(node, counts, absent)
            size = self._checked(size + _size(made), node)
            steps += made
        return steps

    def _one_flat(self, node: Node, counts: Mapping[str, int], absent: frozenset[str]) -> list[Step]:
        if isinstance(node, Group):
            count = _number(node.count, counts)
            turn = self._flat(node.nodes, counts, absent) if count else []
            self._checked(count * _size(turn), node)  # before it is made
            return turn * count if turn else []
        if isinstance(node, Join):
            paths = tuple(tuple(self._flat(path, counts, absent)) or (SKIP,) for path in node.paths)
            return [Join(node.kind, paths, node.column)]
        if not node.optional:
            return [node]
        is_absent = node.kind in absent and not node.args
        return [] if is_absent else [Layer(node.kind, node.args, node.activation, column=node.column)]

    def _checked(self, size: int, node: Node) -> int:
        if size > MAX_LAYERS:
            lower = " or ".join(f"arch.{name}" for name in sorted(self.counts)) or "a count"
            message = f"this expands to more than {MAX_LAYERS} layers. Lower {lower}."
            raise error_at(self.text, node.column, message)
        return size

    def _check_volumes(self, steps: Sequence[Step], flattened: str | None) -> str | None:
        """Refuse a layer over height and width where FC or GAP has left a vector; say which of them has at the end."""
        for step in steps:
            if isinstance(step, Join):
                flattened = self._met(step, [self._check_volumes(path, flattened) for path in step.steps])
                continue
            if flattened and step.kind in ("CONV", "POOL", "GAP"):
                cause = f"{step.kind} needs a volume, but an earlier {flattened} leaves a vector."
                fix = "After FC or GAP come only FC, ACT, NORM and DROPOUT."
                raise error_at(self.text, step.column, f"{cause} {fix}")
            if step.kind in ("FC", "GAP"):
                flattened = step.kind
        return flattened

    def _met(self, join: Join, ends: Sequence[str | None]) -> str | None:
        """What FC or GAP has left where paths meet; only MUL joins a volume with vectors."""
        if join.kind == "MUL":
            return None if None in ends else ends[0]
        left = next((end for end in ends if end), None)
        if left and None in ends:
            cause = f"{join.kind} joins a volume with the vector that {left} leaves in another path."
            fix = "End every path in a volume or every path in a vector; MUL scales a volume by a vector."
            raise error_at(self.text, join.column, f"{cause} {fix}")
        return left


def before_head(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Leave out the first FC outside of joins, what follows it, and dropouts right before it."""
    count = next(place for place, node in enumerate(nodes) if _has_outer_fc(node))
    while count and _is_dropout(nodes[count - 1]):
        count -= 1
    return tuple(nodes[:count])


def _has_outer_fc(node: Node) -> bool:
    if isinstance(node, Group):
        return any(map(_has_outer_fc, node.nodes))
    return isinstance(node, Layer) and node.kind == "FC"


def _is_dropout(node: Node) -> bool:
    return isinstance(node, Layer) and node.kind == "DROPOUT"


def is_skip(path: Sequence[Node]) -> bool:
    """Whether a path of a join is a SKIP."""
    return isinstance(path[0], Layer) and path[0].kind == "SKIP"


def _ends_in_norm(path: Sequence[Node]) -> bool:
    last = next((node for node in reversed(path) if not isinstance(node, Layer) or node.kind != "DROPOUT"), None)
    return _ends_in_norm(last.nodes) if isinstance(last, Group) else isinstance(last, Layer) and last.kind == "NORM"


def _walk(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        if isinstance(node, Group):
            yield from _walk(node.nodes)
        elif isinstance(node, Join):
            for path in node.paths:
                yield from _walk(path)


def _number(count: Count, counts: Mapping[str, int]) -> int:
    return count if isinstance(count, int) else counts[count]


def _size(steps: Sequence[Node]) -> int:
    joins = [step for step in steps if isinstance(step, Join)]
    return len(steps) + sum(_size(path) for join in joins for path in join.paths)


def _has_conv(steps: Sequence[Node]) -> bool:
    return any(isinstance(node, Layer) and node.kind == "CONV" for node in _walk(steps))


def _at_stage(steps: Sequence[Step], stage: int) -> list[Step]:
    return [_one_at_stage(step, stage) for step in steps] if stage else [*steps]


def _one_at_stage(step: Step, stage: int) -> Step:
    if isinstance(step, Join):
        return Join(step.kind, tuple(tuple(_at_stage(path, stage)) for path in step.steps), step.column)
    return Layer(step.kind, step.args, step.activation, stage, False, step.column)
