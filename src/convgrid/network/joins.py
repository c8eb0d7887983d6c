"""Where paths meet: what SUM, CONCAT and MUL make of their shapes, and what becomes of a SKIP.

Shapes: C channels, H height, W width of one image; F features of a vector.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convgrid.component import Component
from convgrid.errors import PatternError
from convgrid.network.pattern import Join, Layer, Step, error_at
from convgrid.network.planned import IMAGE, Groups, Pair, Place, PlannedLayer, Shape, Walk

VERBS = {"SUM": "adds", "CONCAT": "joins", "MUL": "multiplies"}


@dataclass(frozen=True)
class PathEnd:
    """Where a path ends, and what it is made of; a SKIP that changes nothing has no layers."""

    place: Place
    layers: Sequence[PlannedLayer]
    steps: Sequence[Step]

    def __str__(self) -> str:
        source = "the image" if self.place.source == IMAGE else self.place.source
        return f"{'' if self.layers else 'SKIP of '}{source} ({'x'.join(map(str, self.place.shape))})"

    def last(self, kind: str) -> PlannedLayer | None:
        """Its last layer of a kind."""
        return next((layer for layer in reversed(self.layers) if layer.kind == kind), None)

    @property
    def windows(self) -> list[PlannedLayer]:
        """Those that may change height and width."""
        return [layer for layer in self.layers if layer.kind in ("CONV", "POOL")]


def projection(other: PathEnd, strides: Pair, groups: Groups) -> Iterator[Layer]:
    """Make a SKIP fit: a 1x1 CONV, and the NORM of the other path where it has one.

    Args:
        other: What it is added to.

    Returns:
        The layers in its place.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016, option B.
    """
    args = (("filters", other.place.shape[0]), ("kernel_size", 1), ("stride", strides), ("padding", 0))
    is_grouped = groups.conv.options.get("groups", 1) != 1
    yield Layer("CONV", (*args, ("groups", 1)) if is_grouped else args)
    norms = [step for step in other.steps if isinstance(step, Layer) and step.kind == "NORM"]
    yield from norms[-1:]


def padded(name: str, skip: Layer, shape: Shape, strides: Pair, walk: Walk) -> PlannedLayer:
    """Make a SKIP(pad) fit: every so many pixels of the input, and channels of zeros around its own.

    Args:
        shape: To be made.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2016, option A.
    """
    component = Component("pad", "convgrid.network.graph.PadSkip", {"channels": shape[0], "stride": strides})
    walk.jump = (walk.jump[0] * strides[0], walk.jump[1] * strides[1])
    written = Layer("SKIP", skip.args)
    seen = {"receptive_field": walk.view, "inputs": (walk.source,)}
    return PlannedLayer(name, "SKIP", component, walk.shape, shape, written, **seen)


def strides_between(shape: Shape, wanted: Shape) -> Pair | None:
    """The steps of a 1x1 window that make one volume's sides of another's; None where there are none."""
    if len(shape) != 3 or len(wanted) != 3:
        return None
    steps = [math.ceil(side / other) for side, other in zip(shape[1:], wanted[1:], strict=True)]
    made = [math.ceil(side / step) for side, step in zip(shape[1:], steps, strict=True)]
    return (steps[0], steps[1]) if (*made,) == wanted[1:] else None


def joined(name: str, join: Join, ends: Sequence[PathEnd], walk: Walk, text: str) -> PlannedLayer:
    """Plan the layer where paths meet; what it sees is what the path sees that sees most.

    SUM wants equal shapes; CONCAT of (C_i, H, W) is (sum C_i, H, W); MUL scales each channel of (C, H, W) by (C,).

    Args:
        text: The pattern's, for carets.

    Returns:
        The layer; the walk stands behind it.

    Raises:
        PatternError: If the shapes do not meet.
    """
    places = [end.place for end in ends]
    volumes = [place for place in places if len(place.shape) == 3] or places
    _check(name, join, ends, text)
    shape = volumes[0].shape
    if join.kind == "CONCAT":
        shape = (sum(place.shape[0] for place in places), *shape[1:])
    view, jump = (
        (max(pair[0] for pair in pairs), max(pair[1] for pair in pairs))
        for pairs in ([place.view for place in places], [place.jump for place in volumes])
    )
    walk.go(Place(name, shape, view, jump, max(place.pools for place in places)))
    component = Component(join.kind.lower(), f"convgrid.network.graph.{join.kind.title()}")
    seen = {"receptive_field": view, "inputs": tuple(place.source for place in places)}
    return PlannedLayer(name, join.kind, component, places[0].shape, shape, Layer(join.kind), **seen)


def _check(name: str, join: Join, ends: Sequence[PathEnd], text: str) -> None:
    volumes = [end for end in ends if len(end.place.shape) == 3] or ends
    first = volumes[0]
    for end in ends:
        one, other = first.place.shape, end.place.shape
        if join.kind == "CONCAT":
            one, other = one[1:], other[1:]
        if len(other) < len(one):  # a vector that scales the channels
            one = one[:1]
        if one != other:
            raise _differ(name, join, first, end, text)


def _differ(name: str, join: Join, one: PathEnd, other: PathEnd, text: str) -> PatternError:
    noun = "heights and widths" if join.kind == "CONCAT" else "shapes"
    fixes = list(_fixes(join, one, other))
    fix = f" Use {' and '.join(fixes)}." if fixes else ""
    return error_at(text, join.column, f"{name} {VERBS[join.kind]} {one} and {other}, whose {noun} do not meet.{fix}")


def _fixes(join: Join, one: PathEnd, other: PathEnd) -> Iterator[str]:
    """What to type in which layer, as far as that is plain."""
    shape, wanted = other.place.shape, one.place.shape
    settings: dict[str, list[str]] = {}
    if len(shape) == len(wanted) == 3 and shape[1:] != wanted[1:]:
        _settle_sides(one, other, settings)
    is_skip = not (one.layers and other.layers)
    if join.kind != "CONCAT" and shape[0] != wanted[0] and not (settings and is_skip):  # a SKIP will fit
        _settle_channels(one, other, settings)
    yield from (f"{' and '.join(texts)} in {name}" for name, texts in settings.items())
    if not settings and is_skip and join.kind == "SUM":
        yield "SKIP instead of SKIP(pad), which cannot leave channels out"


def _settle_channels(one: PathEnd, other: PathEnd, settings: dict[str, list[str]]) -> None:
    for end, wanted in ((other, one), (one, other)):
        kind, argument = ("FC", "width") if len(end.place.shape) == 1 else ("CONV", "filters")
        layer = end.last(kind)
        if layer is not None:
            settings.setdefault(layer.name, []).append(f"{argument}={wanted.place.shape[0]}")
            return


def _settle_sides(one: PathEnd, other: PathEnd, settings: dict[str, list[str]]) -> None:
    larger, smaller = sorted((one, other), key=lambda end: -math.prod(end.place.shape[1:]))
    strides = strides_between(larger.place.shape, smaller.place.shape)
    if strides and larger.windows:
        settings[larger.windows[0].name] = [f"stride={strides[0] if strides[0] == strides[1] else strides}"]
        return
    for layer in smaller.windows:
        kept = [math.ceil(side / step) for side, step in zip(layer.input_shape[1:], _steps(layer), strict=True)]
        if layer.output_shape[1:] != (*kept,):
            settings[layer.name] = ["padding=same"]
            return
    if strides:
        settings |= {layer.name: ["stride=1"] for layer in smaller.windows if max(_steps(layer)) > 1}


def _steps(layer: PlannedLayer) -> Pair:
    return layer.component.options["stride"]
