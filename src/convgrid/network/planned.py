"""How each kind of layer changes the shape, and what it costs.

Shapes: C channels, H height, W width of one image; F features of a vector. Costs are those of one image.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from convgrid.component import Component
from convgrid.errors import PlanError
from convgrid.network.pattern import Layer, Value

Shape = tuple[int, ...]  # (C, H, W) or (F,)
Pair = tuple[int, int]  # height, width
Padding = tuple[int, int, int, int]  # left, right, top, bottom, in torch's order
FLOAT32_BYTES = 4
IMAGE = "input"  # among the inputs of a layer

CONV_DEFAULTS = {"kernel_size": 3, "stride": 1, "padding": "same", "dilation": 1, "groups": 1, "bias": True}

# What a layer with arguments of its own is where its group is `none`.
MAX_POOL = Component("max", "convgrid.layers.max_pool", {"kernel_size": 2, "padding": 0, "ceil_mode": False})
PLAIN_DROPOUT = Component("plain", "convgrid.layers.Dropout")
FULLY_CONNECTED = Component("fc", "convgrid.layers.fully_connected")
GLOBAL_AVERAGE = Component("gap", "convgrid.layers.global_average_pool")

# Activations that have no option of the group: a pattern may name them all the same.
PATTERN_ACTIVATIONS = {name: Component(name, f"convgrid.activations.{name}") for name in ("relu6", "silu")}

# Trainable parameters a channel; convgrid's norms that are not listed have none.
NORM_PARAMETERS = {f"convgrid.layers.{name}": 2 for name in ("batch_norm", "layer_norm", "group_norm")}


@dataclass(frozen=True)
class Groups:
    """What the config groups `layer`, `activation` and `arch` say of single layers; `none` is None.

    `activations`, `pools` and `norms` are the options behind every name that a pattern may use for one.
    """

    conv: Component
    activation: Component
    activations: Mapping[str, Component]
    pool: Component | None = None
    norm: Component | None = None
    dropout: Component | None = None
    filters: int = 32
    growth: float = 2.0
    max_filters: int = 512
    hidden: int = 128
    pools: Mapping[str, Component] = field(default_factory=dict)
    norms: Mapping[str, Component] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedLayer:
    """One layer: all that building it needs, and all that it costs for one image."""

    name: str
    kind: str
    component: Component
    input_shape: Shape
    output_shape: Shape
    written: Layer  # how the expanded pattern states it
    padding: Padding = (0, 0, 0, 0)
    parameters: int = 0
    multiply_adds: int = 0
    receptive_field: Pair = (1, 1)  # height and width in pixels of the image, padding included
    inputs: tuple[str, ...] = ()  # names of the layers whose outputs it takes; IMAGE is the image
    ends_residual: bool = False  # a norm at whose end a SUM adds a SKIP

    @property
    def is_own(self) -> bool:
        """Whether the layer is the user's, not convgrid's."""
        return not self.component.target.startswith("convgrid.")

    @property
    def activation_bytes(self) -> int:
        """Memory of the output for one image in float32, in bytes."""
        return FLOAT32_BYTES * math.prod(self.output_shape)


class Place(NamedTuple):
    """Where paths of a network part or meet."""

    source: str
    shape: Shape
    view: Pair
    jump: Pair
    pools: int


@dataclass
class Walk:
    """Where a layout stands: the shape so far, what one of its pixels sees of the image and how far the next one is."""

    groups: Groups
    image: Shape
    shape: Shape
    source: str = IMAGE  # the layer that has made it
    view: Pair = (1, 1)
    jump: Pair = (1, 1)
    pools: int = 0
    normed: dict[str, int] = field(default_factory=dict)  # the channels before each NORM of the group's

    @property
    def place(self) -> Place:
        """To come back to."""
        return Place(self.source, self.shape, self.view, self.jump, self.pools)

    def go(self, place: Place) -> None:
        """Stand somewhere else."""
        self.source, self.shape, self.view, self.jump, self.pools = place


class ArgumentError(PlanError):
    """A value in the pattern that its layer cannot take; the layout shows where it stands."""


class TooSmall(Exception):
    """A window that does not fit its input: not yet the user's mistake, `plan` looks for the fix first."""

    def __init__(self, name: str, layer: Layer, window: Pair, walk: Walk) -> None:
        super().__init__(name)
        self.name, self.kind, self.window = name, layer.kind, window
        self.channels = walk.image[0]
        self.image, self.sides, self.pools = walk.image[1:], walk.shape[1:], walk.pools
        in_pattern = layer.kind == "POOL" and (walk.groups.pool is None or "type" in dict(layer.args))  # no keys
        self.same_padding = "padding=same" if in_pattern else f"{_key('padding', layer)}=same"


def conv(name: str, layer: Layer, walk: Walk) -> PlannedLayer:
    """C_out (C_in k_h k_w / groups + 1) parameters; H W times as many multiply-adds as weights."""
    options = {**CONV_DEFAULTS, **walk.groups.conv.options, **dict(layer.args)}
    channels = walk.shape[0]
    if options["groups"] == "depthwise":
        options["groups"] = channels
    groups = _at_least(1, options["groups"], "groups", name, layer)
    written = options.pop("filters", None)
    if isinstance(written, str):  # "x6"
        written = int(written[1:]) * channels
    filters = _default_filters(walk.groups, layer.stage, groups) if written is None else written
    _at_least(1, filters, "filters", name, layer)
    if filters % groups or channels % groups:
        common = channels if written is None else math.gcd(channels, filters)
        fix = f"Use {_key('groups', layer)}={_largest_divisor(common, groups)}."
        must = f"must divide its {channels} input channels and its {filters} filters. {fix}"
        raise _wrong("groups", groups, name, layer, must)
    options, padding, sides = _slide(name, layer, walk, options)
    weights = filters * channels // groups * math.prod(options["kernel_size"])
    return _planned(
        name,
        layer,
        walk,
        _given(walk.groups.conv, layer, options),
        (filters, *sides),
        args=(("filters", filters), *(arg for arg in layer.args if arg[0] != "filters")),
        padding=padding,
        parameters=weights + (filters if options["bias"] else 0),
        multiply_adds=weights * math.prod(sides),
    )


def _default_filters(groups: Groups, stage: int, conv_groups: int) -> int:
    """filters * growth ** stage, at most max_filters, rounded to a multiple of the convolution's groups."""
    try:
        filters = min(groups.filters * groups.growth**stage, groups.max_filters)
    except OverflowError:
        filters = groups.max_filters
    return max(1, round(filters / conv_groups)) * conv_groups


def pool(name: str, layer: Layer, walk: Walk) -> PlannedLayer:
    """No parameters; a size without a stride moves by its size, as torch's."""
    written = dict(layer.args)
    component = _named(walk.groups.pools, walk.groups.pool, written.pop("type", None), name, layer)
    component = component or (MAX_POOL if layer.args else None)
    if component is None:
        raise _absent("pool", "POOL", "max")
    options = {**MAX_POOL.options, **component.options, **written}
    if options.get("stride") is None or ("kernel_size" in written and "stride" not in written):
        options["stride"] = options["kernel_size"]
    options, padding, sides = _slide(name, layer, walk, options)
    walk.pools += 1
    shape = (walk.shape[0], *sides)
    return _planned(name, layer, walk, _given(component, layer, options), shape, padding=padding)


def norm(name: str, layer: Layer, walk: Walk) -> PlannedLayer:
    """Two parameters a channel, scale and shift, where there are any."""
    written = dict(layer.args)
    component = _named(walk.groups.norms, walk.groups.norm, written.pop("type", None), name, layer)
    if component is None:
        raise _absent("norm", "NORM", "batch")
    channels = walk.shape[0]
    if layer.args:
        component = _with_arguments(name, layer, component, written, channels)
    else:
        walk.normed[name] = channels
    parameters = NORM_PARAMETERS.get(component.target, 0) * channels
    return _planned(name, layer, walk, component, walk.shape, parameters=parameters)


def _with_arguments(
    name: str, layer: Layer, component: Component, written: Mapping[str, Value], channels: int
) -> Component:
    """A norm with what the pattern gives it; `check_num_groups` and the config's ranges see to the group's own."""
    for argument, value in written.items():
        if argument not in component.options:
            takes = f"takes {', '.join(component.options)}" if component.options else "takes no arguments"
            must = f"has no effect: layer/norm={component.name} {takes}."
            raise _wrong(argument, value, name, layer, must)
    options = {**component.options, **written}
    num_groups = options.get("num_groups", 1)
    if num_groups < 1 or channels % num_groups:
        works = _largest_divisor(channels, num_groups)
        must = f"must divide its {channels} channels. Use num_groups={works}."
        raise _wrong("num_groups", num_groups, name, layer, must)
    for argument, least in {"eps": 0, "momentum": 0, "size": 1}.items():
        if options.get(argument, least) < least:
            raise _wrong(argument, options[argument], name, layer, f"must be at least {least}.")
    return replace(component, options=options)


def check_num_groups(walk: Walk) -> None:
    """One layer.norm.num_groups holds for all NORMs, so the largest that works is known only at the end."""
    num_groups = walk.groups.norm.options.get("num_groups", 1) if walk.groups.norm else 1
    for name, channels in walk.normed.items():
        if num_groups < 1 or channels % num_groups:
            works = _largest_divisor(math.gcd(*walk.normed.values()), num_groups)
            raise PlanError(
                f"layer.norm.num_groups={num_groups} must divide the {channels} channels before {name}. "
                f"Use layer.norm.num_groups={works}."
            )


def dropout(name: str, layer: Layer, walk: Walk) -> PlannedLayer:
    """Neither parameters nor another shape."""
    component = walk.groups.dropout or (PLAIN_DROPOUT if layer.args else None)
    if component is None:
        raise _absent("dropout", "DROPOUT", "plain")
    options = {**component.options, **dict(layer.args)}
    if not 0 <= options.get("p", 0) < 1:  # a user's own dropout may have no p
        raise _wrong("p", options["p"], name, layer, "must be in [0, 1): it is the share dropped.")
    return _planned(name, layer, walk, replace(component, options=options), walk.shape)


def activation(name: str, layer: Layer, walk: Walk) -> PlannedLayer:
    """Neither parameters nor another shape."""
    groups = walk.groups
    component = groups.activations[layer.activation] if layer.activation else groups.activation
    return _planned(name, layer, walk, component, walk.shape)


def fully_connected(name: str, layer: Layer, walk: Walk) -> PlannedLayer:
    """F_out (F_in + 1) parameters, F_out F_in multiply-adds; it sees all of the volume that it flattens."""
    width = _at_least(1, dict(layer.args).get("width", walk.groups.hidden), "width", name, layer)
    features = math.prod(walk.shape)
    _see_all(walk)
    return _planned(
        name,
        layer,
        walk,
        FULLY_CONNECTED,
        (width,),
        args=(("width", width),),
        parameters=width * (features + 1),
        multiply_adds=width * features,
    )


def global_average_pool(name: str, layer: Layer, walk: Walk) -> PlannedLayer:
    """(C, H, W) -> (C,)."""
    _see_all(walk)
    return _planned(name, layer, walk, GLOBAL_AVERAGE, walk.shape[:1])


PLANNERS: Mapping[str, Callable[[str, Layer, Walk], PlannedLayer]] = {
    "CONV": conv,
    "POOL": pool,
    "NORM": norm,
    "ACT": activation,
    "DROPOUT": dropout,
    "FC": fully_connected,
    "GAP": global_average_pool,
}


def _named(
    options: Mapping[str, Component], of_group: Component | None, type_: Value | None, name: str, layer: Layer
) -> Component | None:
    """The option that a pattern names, such as NORM(batch); else the group's choice."""
    if type_ is None or (of_group is not None and of_group.name == type_):
        return of_group
    if type_ not in options:
        must = f"is not an option of layer/{layer.kind.lower()}. Use one of {', '.join(sorted(options))}."
        raise _wrong("type", type_, name, layer, must)
    return options[str(type_)]


def _planned(
    name: str,
    layer: Layer,
    walk: Walk,
    component: Component,
    output_shape: Shape,
    *,
    args: tuple[tuple[str, Value], ...] | None = None,
    padding: Padding = (0, 0, 0, 0),
    parameters: int = 0,
    multiply_adds: int = 0,
) -> PlannedLayer:
    written = Layer(layer.kind, layer.args if args is None else args, layer.activation)  # its stage is not written
    costs = (parameters, multiply_adds, walk.view)
    inputs = (walk.source,)
    return PlannedLayer(name, layer.kind, component, walk.shape, output_shape, written, padding, *costs, inputs)


def _given(component: Component, layer: Layer, options: Mapping[str, Any]) -> Component:
    """A window and its step, and what file and pattern state: the user's own layer need not know convgrid's others."""
    stated = {"kernel_size", "stride", *component.options, *dict(layer.args)}
    return replace(component, options={key: value for key, value in options.items() if key in stated})


def _slide(name: str, layer: Layer, walk: Walk, options: Mapping[str, Any]) -> tuple[dict[str, Any], Padding, Pair]:
    """A sliding window: its options as pairs, the padding around its input, the sides of its output."""
    pairs = {
        key: _at_least_pair(1, options.get(key, 1), key, name, layer) for key in ("kernel_size", "stride", "dilation")
    }
    kernel, stride, dilation = pairs.values()
    span = (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)
    pads = [_pad(options["padding"], axis, walk.shape[axis + 1], span, stride, name, layer) for axis in (0, 1)]
    rooms = [walk.shape[axis + 1] + sum(pads[axis]) - span[axis] for axis in (0, 1)]
    if min(rooms) < 0:
        raise TooSmall(name, layer, span, walk)
    sides = [room // stride[axis] + 1 for axis, room in enumerate(rooms)]
    if options.get("ceil_mode"):  # as torch's: a last window may hang over the end, but starts inside
        for axis in (0, 1):
            sides[axis] += (
                rooms[axis] % stride[axis] > 0 and sides[axis] * stride[axis] < walk.shape[axis + 1] + pads[axis][0]
            )
    walk.view = (walk.view[0] + (span[0] - 1) * walk.jump[0], walk.view[1] + (span[1] - 1) * walk.jump[1])
    walk.jump = (walk.jump[0] * stride[0], walk.jump[1] * stride[1])
    kept = {key: pairs.get(key, value) for key, value in options.items() if key != "padding"}
    return kept, (*pads[1], *pads[0]), (sides[0], sides[1])


def _pad(padding: Any, axis: int, side: int, span: Pair, stride: Pair, name: str, layer: Layer) -> Pair:
    if padding == "valid":
        return (0, 0)
    if padding == "same":
        total = max(((side - 1) // stride[axis]) * stride[axis] + span[axis] - side, 0)
        return (total // 2, total - total // 2)
    amount = _at_least_pair(0, padding, "padding", name, layer)[axis]
    if layer.kind == "POOL" and 2 * amount > span[axis]:
        raise _wrong("padding", padding, name, layer, f"must be at most {span[axis] // 2}, half its kernel.")
    return (amount, amount)


def _see_all(walk: Walk) -> None:
    """What follows sees every pixel of the volume."""
    if len(walk.shape) == 3:
        _, height, width = walk.shape
        walk.view = (walk.view[0] + (height - 1) * walk.jump[0], walk.view[1] + (width - 1) * walk.jump[1])


def _key(argument: str, layer: Layer) -> str:
    """The key that the user would type for an argument: the pattern's where it stands there, else the group's."""
    if argument in dict(layer.args) or (layer.kind == "NORM" and layer.args):  # one of its own takes no keys
        return argument
    return {"filters": "arch.filters", "width": "arch.hidden"}.get(argument, f"layer.{layer.kind.lower()}.{argument}")


def _wrong(argument: str, value: Any, name: str, layer: Layer, must: str) -> PlanError:
    """Name the value under the key that was typed; an error of the pattern where it stands there."""
    key = _key(argument, layer)
    return (ArgumentError if key == argument else PlanError)(f"{key}={value} of {name} {must}")


def _at_least(least: int, value: Any, argument: str, name: str, layer: Layer) -> int:
    if type(value) is int and value >= least:  # True is not a number
        return value
    words = "depthwise or " if argument == "groups" else ""
    raise _wrong(argument, value, name, layer, f"must be {words}a whole number of at least {least}.")


def _at_least_pair(least: int, value: Any, argument: str, name: str, layer: Layer) -> Pair:
    if type(value) is int and value >= least:
        return (value, value)
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(type(side) is int and side >= least for side in value)
    ):
        return (value[0], value[1])
    words = "same, valid, " if argument == "padding" else ""
    must = f"must be {words}a whole number of at least {least}, or two such as [3,5]."
    raise _wrong(argument, value, name, layer, must)


def _largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of a number that is at most the limit; at least 1."""
    return next(divisor for divisor in range(max(1, min(number, limit)), 0, -1) if number % divisor == 0)


def _absent(group: str, kind: str, suggestion: str) -> PlanError:
    return PlanError(
        f"layer/{group}=none, but arch.pattern says {kind}, not {kind}?. "
        f"Use layer/{group}={suggestion}, or write {kind}? in arch.pattern."
    )
