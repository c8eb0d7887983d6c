"""The whole network: expand the pattern, lay out layer by layer, explain a size that does not work out."""

import bisect
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from convgrid.component import Component
from convgrid.errors import ConvgridError, PlanError
from convgrid.network import pattern as pattern_language
from convgrid.network.folding import folded
from convgrid.network.frozen import FREEZE_NONE, count_features, count_frozen
from convgrid.network.layout import Layout, Measure
from convgrid.network.pattern import Join, Layer, Pattern, Step
from convgrid.network.planned import IMAGE, Groups, PlannedLayer, Shape, TooSmall, Walk, check_num_groups

LayOut = Callable[..., "Plan"]  # of an architecture, and perhaps of another `input_shape`
LARGEST_SIDE = 1024  # of the images that a message proposes


@dataclass(frozen=True)
class Architecture:
    """What the groups `arch`, `layer` and `activation` say: a pattern, its counts, and what its layers are.

    Args:
        head: A pattern in place of the one's own layers from its first FC on; None leaves them.
        freeze: "none", "features", or the last layer that is not trained.
    """

    pattern: str
    groups: Groups
    n: int = 1
    m: int = 1
    k: int = 1
    head: str | None = None
    freeze: str = FREEZE_NONE


@dataclass(frozen=True)
class Plan:
    """The layers of a network, each after those that it takes, with their totals for one image.

    Args:
        num_features: How many layers stand before the head.
        num_frozen: How many layers are left as they are, from the first on; the network can be cut behind them.
    """

    layers: tuple[PlannedLayer, ...]
    input_shape: Shape
    num_outputs: int
    num_features: int = 0
    num_frozen: int = 0

    @functools.cached_property
    def parameters(self) -> int:
        """All parameters, frozen ones included."""
        return sum(layer.parameters for layer in self.layers)

    @functools.cached_property
    def trainable(self) -> int:
        """Parameters that are trained."""
        return sum(layer.parameters for layer in self.layers[self.num_frozen :])

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the frozen layers, in order."""
        return tuple(layer.name for layer in self.layers[: self.num_frozen])

    @property
    def head(self) -> tuple[str, ...]:
        """Names of the layers behind the features, in order; the last one is the output."""
        return tuple(layer.name for layer in self.layers[self.num_features :])

    @functools.cached_property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image's way forward."""
        return sum(layer.multiply_adds for layer in self.layers)

    @functools.cached_property
    def activation_bytes(self) -> int:
        """Memory of all outputs for one image in float32, in bytes: about what training keeps for the way back."""
        return sum(layer.activation_bytes for layer in self.layers)

    @functools.cached_property
    def pattern(self) -> str:
        """The expanded pattern; under the same layer groups it reads back to the same layers."""
        return pattern_language.render(folded(self.layers))

    @functools.cached_property
    def is_chain(self) -> bool:
        """Whether every layer takes the output of the one before it, and nothing else."""
        before = (IMAGE, *(layer.name for layer in self.layers[:-1]))
        return all(layer.inputs == (name,) for layer, name in zip(self.layers, before, strict=True))

    @classmethod
    def load(cls, known: Mapping[str, Any]) -> Self:
        """Make it of what JSON holds of `dataclasses.asdict(plan)`: lists become tuples again.

        Returns:
            The plan.
        """
        layers = known["layers"]
        before = [IMAGE, *(layer["name"] for layer in layers[:-1])]  # plans of older versions are chains
        layers = tuple(_loaded({"inputs": [name], **layer}) for name, layer in zip(before, layers, strict=True))
        num_features = known.get("num_features")  # of older versions only the layers tell
        return cls(
            layers,
            tuple(known["input_shape"]),
            known["num_outputs"],
            count_features(layers) if num_features is None else num_features,
            known.get("num_frozen", 0),
        )


def _loaded(layer: Mapping[str, Any]) -> PlannedLayer:
    known = {key: _frozen(value) for key, value in layer.items()}
    component = {**layer["component"], "options": {k: _frozen(v) for k, v in layer["component"]["options"].items()}}
    written = {**layer["written"], "args": _frozen(layer["written"]["args"])}
    return PlannedLayer(**{**known, "component": Component(**component), "written": Layer(**written)})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def plan(
    architecture: Architecture, input_shape: Sequence[int], num_outputs: int, *, measure: Measure | None = None
) -> Plan:
    """Expand a pattern and work out every layer's shape and cost.

    A window of size k, stride s, dilation d and padding p turns a side H into floor((H + p - d (k - 1) - 1) / s) + 1;
    `same` chooses p such that this is ceil(H / s), an odd pixel at the end. Multiply-adds are those of CONV,
    H W C_out C_in k_h k_w / groups, and of FC, F_in F_out.

    Args:
        architecture: The pattern, and what its names stand for.
        input_shape: (C, H, W) of one image.
        num_outputs: Units of the output layer.
        measure: Finds the costs of a layer of the user's own, as `convgrid.network.build.measure` does, which needs
            torch; None where there are none.

    Returns:
        The plan; its last layer is named "output".

    Raises:
        PatternError: If the pattern cannot be parsed.
        PlanError: If a value is out of range or a size does not work out; it names the largest value that works.

    Example:
        >>> from convgrid.component import Component
        >>> relu = Component("relu", "convgrid.activations.relu")
        >>> conv = Component("conv", "convgrid.layers.conv", {"kernel_size": 3, "padding": "same"})
        >>> arch = Architecture("INPUT -> CONV(8) -> RELU -> FC", Groups(conv, relu, {"relu": relu}))
        >>> [(layer.name, layer.output_shape, layer.parameters) for layer in plan(arch, (1, 8, 8), 10).layers]
        [('conv1', (8, 8, 8), 80), ('relu1', (8, 8, 8), 0), ('output', (10,), 5130)]
    """
    _check_ranges(architecture, input_shape, num_outputs)
    activations = architecture.groups.activations
    pattern = pattern_language.parse(architecture.pattern, activations=activations, head=architecture.head)
    layout = functools.partial(
        _lay_out, pattern=pattern, input_shape=tuple(input_shape), num_outputs=num_outputs, measure=measure
    )
    try:
        made = layout(architecture)
    except TooSmall as error:
        raise PlanError(_explain(error, architecture, pattern, layout)) from None
    return replace(made, num_frozen=count_frozen(made.layers, made.num_features, architecture.freeze))


def _check_ranges(architecture: Architecture, input_shape: Sequence[int], num_outputs: int) -> None:
    groups = architecture.groups
    for holder, name, least in (
        (architecture, "n", 0), (architecture, "m", 0), (architecture, "k", 0),
        (groups, "filters", 1), (groups, "max_filters", 1), (groups, "hidden", 1),
    ):  # fmt: skip
        if getattr(holder, name) < least:
            raise PlanError(f"arch.{name}={getattr(holder, name)} must be at least {least}.")
    if not 0 < groups.growth < math.inf:
        raise PlanError(
            f"arch.growth={groups.growth} must be above 0 and finite: it multiplies the filters from stage to stage."
        )
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise PlanError(f"data.shape={list(input_shape)} must be [channels,height,width], each at least 1.")
    if num_outputs < 1:
        raise PlanError(f"data.num_classes={num_outputs} must be at least 1.")


def _expand(pattern: Pattern, architecture: Architecture) -> tuple[Step, ...]:
    groups = architecture.groups
    absent = [kind for kind in ("POOL", "NORM", "DROPOUT") if getattr(groups, kind.lower()) is None]
    return pattern.expand(n=architecture.n, m=architecture.m, k=architecture.k, absent=absent)


def _lay_out(
    architecture: Architecture, *, pattern: Pattern, input_shape: Shape, num_outputs: int, measure: Measure | None
) -> Plan:
    walk = Walk(architecture.groups, input_shape, input_shape)
    layout = Layout(walk, pattern.text, measure)
    *hidden, output = _expand(pattern, architecture)
    assert isinstance(output, Layer)
    body = (
        0 if pattern.head is None else len(_expand(replace(pattern, nodes=pattern.nodes[: pattern.head]), architecture))
    )
    layout.add(hidden[:body])
    num_features = len(layout.layers)
    layout.add([*hidden[body:], replace(output, args=(("width", num_outputs),))])
    check_num_groups(walk)
    *others, last = layout.layers
    layers = (*others, replace(last, name="output", written=Layer("FC")))
    return Plan(layers, input_shape, num_outputs, count_features(layers) if pattern.head is None else num_features)


def _explain(error: TooSmall, architecture: Architecture, pattern: Pattern, layout: LayOut) -> str:
    """What does not fit, the largest count that does, and another way out where one was found to work."""
    typed, ways = "arch.pattern", []
    for count in sorted(pattern.counts, key="mnk".index):
        largest = _largest_that_fits(count, architecture, layout)
        if largest is not None:
            typed = f"arch.{count}={getattr(architecture, count)}"
            ways.append(f"arch.{count}<={largest}" if largest else f"arch.{count}=0")
            break
    ways += [way for way, changed in _other_ways(error, architecture) if _fits(changed, layout)][:1]
    ways = ways or [error.same_padding, *_larger_images(error, architecture, layout)]
    return f"{typed} {_cause(error, _expand(pattern, architecture))}. Use {' or '.join(ways)}."


def _other_ways(error: TooSmall, architecture: Architecture) -> Iterator[tuple[str, Architecture]]:
    """Overrides of the layer's group that may help, and what they make of the architecture."""
    groups, group = architecture.groups, error.kind.lower()
    if group == "pool":
        yield "layer/pool=none", replace(architecture, groups=replace(groups, pool=None))
    component = getattr(groups, group)
    if component is not None:
        padded = replace(component, options={**component.options, "padding": "same"})
        yield f"layer.{group}.padding=same", replace(architecture, groups=replace(groups, **{group: padded}))


def _larger_images(error: TooSmall, architecture: Architecture, layout: LayOut) -> Iterator[str]:
    """The smallest square images that can be laid out."""
    sides = range(max(error.image), LARGEST_SIDE)

    def fits(side: int) -> bool:
        return _fits(architecture, functools.partial(layout, input_shape=(error.channels, side, side)))

    smallest = bisect.bisect_left(sides, True, key=fits)
    if smallest < len(sides):
        yield f"images of at least {sides[smallest]}x{sides[smallest]}"


def _cause(error: TooSmall, layers: Sequence[Step]) -> str:
    image, sides, window = ("x".join(map(str, pair)) for pair in (error.image, error.sides, error.window))
    if error.kind == "POOL" and error.pools:
        return f"pools a {image} input {_pools(layers)} times, but after {error.pools} it is {sides}"
    shrunk = f" of a {image} image" if sides != image else ""
    return f"gives {error.name} a {window} window, but its input is {sides}{shrunk}"


def _pools(steps: Sequence[Step]) -> int:
    """One after the other; of a join, on the path with most."""
    return sum(max(map(_pools, step.steps)) if isinstance(step, Join) else step.kind == "POOL" for step in steps)


def _largest_that_fits(count: str, architecture: Architecture, layout: LayOut) -> int | None:
    """The largest smaller value of arch.n, arch.m or arch.k that can be laid out; None if there is none."""

    def too_large(value: int) -> bool:
        return not _fits(replace(architecture, **{count: value}), layout)

    fitting = bisect.bisect_left(range(getattr(architecture, count)), True, key=too_large)
    return fitting - 1 if fitting else None


def _fits(architecture: Architecture, layout: LayOut) -> bool:
    try:
        layout(architecture)
    except (TooSmall, ConvgridError):
        return False
    return True
