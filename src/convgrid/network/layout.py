"""Layer after layer in topological order: chains, and joins behind their paths."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from convgrid.network.joins import PathEnd, joined, padded, projection, strides_between
from convgrid.network.pattern import SKIP, Join, Layer, Step, error_at, is_skip
from convgrid.network.planned import PLANNERS, ArgumentError, Place, PlannedLayer, Walk

Measure = Callable[[PlannedLayer], PlannedLayer]


class Layout:
    """Lays out the steps of an expanded pattern.

    Args:
        walk: Where it starts.
        text: The pattern's, for carets.
        measure: Finds the costs of a layer of the user's own; None where there are none.

    Attributes:
        layers: Those that are laid out.
    """

    def __init__(self, walk: Walk, text: str, measure: Measure | None) -> None:
        self.layers: list[PlannedLayer] = []
        self._walk, self._text, self._measure = walk, text, measure
        self._seen: dict[str, int] = {}

    def add(self, steps: Sequence[Step]) -> None:
        """Lay out one step after the other."""
        for step in steps:
            if isinstance(step, Join):
                self._join(step)
            else:
                self._append(self._planned(step))

    def _planned(self, layer: Layer) -> PlannedLayer:
        label = (layer.activation or self._walk.groups.activation.name) if layer.kind == "ACT" else layer.kind.lower()
        try:
            planned = PLANNERS[layer.kind](self._name(label), layer, self._walk)
        except ArgumentError as error:
            raise error_at(self._text, layer.column, str(error)) from None
        return _with_costs(planned, self._measure)

    def _name(self, label: str) -> str:
        number = self._seen[label] = self._seen.get(label, 0) + 1
        return f"{label}_{number}" if label[-1].isdigit() else f"{label}{number}"  # relu6_1 is not the 61st relu

    def _append(self, layer: PlannedLayer) -> None:
        self.layers.append(layer)
        self._walk.shape, self._walk.source = layer.output_shape, layer.name

    def _join(self, join: Join) -> None:
        """Lay out the other paths before the SKIPs: they decide what becomes of these."""
        start = self._walk.place
        skips = [is_skip(path) for path in join.steps]
        is_residual = join.kind == "SUM" and any(skips)
        others = {
            place: self._path(path, start, is_residual)
            for place, path in enumerate(join.steps) if not skips[place]
        }  # fmt: skip
        fitting = next(iter(others.values()), None) if is_residual else None
        ends = [
            others[place] if place in others else self._skip(path, start, fitting)
            for place, path in enumerate(join.steps)
        ]
        self._append(joined(self._name(join.kind.lower()), join, ends, self._walk, self._text))

    def _path(self, path: Sequence[Step], start: Place, is_residual: bool) -> PathEnd:
        self._walk.go(start)
        first = len(self.layers)
        self.add(path)
        if is_residual:
            self._mark_last_norm(first)
        return PathEnd(self._walk.place, self.layers[first:], path)

    def _mark_last_norm(self, first: int) -> None:
        """Nothing but a dropout may follow: an activation of what starts at zero would never have a gradient."""
        last = len(self.layers) - 1
        while last > first and self.layers[last].kind == "DROPOUT":
            last -= 1
        if self.layers[last].kind == "NORM":
            self.layers[last] = replace(self.layers[last], ends_residual=True)

    def _skip(self, path: Sequence[Step], start: Place, other: PathEnd | None) -> PathEnd:
        """The input as it is, or made to fit the path that it is added to."""
        self._walk.go(start)
        first = len(self.layers)
        (skip,) = path
        assert isinstance(skip, Layer)
        strides = strides_between(start.shape, other.place.shape) if other else None
        if other and strides and start.shape != other.place.shape:
            self._fit(skip, other, strides)
        return PathEnd(self._walk.place, self.layers[first:], path)

    def _fit(self, skip: Layer, other: PathEnd, strides: tuple[int, int]) -> None:
        if not skip.args:
            for layer in projection(other, strides, self._walk.groups):
                self._append(replace(self._planned(layer), written=SKIP))
        elif self._walk.shape[0] <= other.place.shape[0]:
            self._append(padded(self._name("pad"), skip, other.place.shape, strides, self._walk))


def _with_costs(layer: PlannedLayer, measure: Measure | None) -> PlannedLayer:
    if not layer.is_own or layer.kind in ("ACT", "DROPOUT"):  # those have no weights
        return layer
    assert measure is not None, f"{layer.component.target} is a layer of the user's own, which `measure` measures"
    return measure(layer)
