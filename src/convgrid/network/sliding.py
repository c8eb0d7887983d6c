"""A network over images larger than its own, in one pass: fully connected layers become convolutions (CS231n).

Shapes: B batch, C channels, H height, W width, F features, U scores; R rows and Q columns of places.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from convgrid.errors import PlanError
from convgrid.network.graph import Branching, Mul
from convgrid.network.plan import Plan
from convgrid.network.planned import IMAGE, Pair, PlannedLayer, Shape

WHOLE_IMAGE_NORMS = ("convgrid.layers.layer_norm", "convgrid.layers.group_norm")


class Sliding(nn.Module):
    """A network at every place of a larger image: each sees a window of the planned size, a step from the next.

    Args:
        network: As `build` made it of the plan; its weights are shared.
        plan: What was planned for one image.

    Raises:
        PlanError: If the network cannot slide.

    Example:
        >>> from convgrid.component import Component
        >>> from convgrid.network.build import build
        >>> from convgrid.network.plan import Architecture, plan
        >>> from convgrid.network.planned import Groups
        >>> conv, relu = Component("conv", "convgrid.layers.conv"), Component("relu", "torch.relu")
        >>> planned = plan(Architecture("INPUT -> CONV(4, stride=2) -> FC", Groups(conv, relu, {})), (1, 8, 8), 10)
        >>> Sliding(build(planned), planned)(torch.zeros(2, 1, 12, 9)).shape
        torch.Size([2, 10, 3, 1])

    Source: CS231n, "Converting FC layers to CONV layers"; Sermanet et al., OverFeat, 2014.
    """

    def __init__(self, network: nn.Module, plan: Plan) -> None:
        super().__init__()
        _, *self.window = plan.input_shape
        self.step = step_of(plan)
        shapes = {IMAGE: plan.input_shape} | {layer.name: layer.output_shape for layer in plan.layers}
        modules = {layer.name: _converted(layer, network.get_submodule(layer.name), shapes) for layer in plan.layers}
        self.layers = Branching(modules, {layer.name: layer.inputs for layer in plan.layers})

    def forward(self, x: Tensor) -> Tensor:
        """Score (B, C, H, W), sides of at least the planned ones: (B, U, R, Q)."""
        for axis, (window, step) in enumerate(zip(self.window, self.step, strict=True), start=2):
            # Whole steps: every layer's sides are then the planned ones and as many steps, so that paths meet again.
            x = x.index_select(axis, torch.arange(window + (x.shape[axis] - window) // step * step, device=x.device))
        return self.layers(x)


def step_of(plan: Plan) -> Pair:
    """Say how far the places of a map are apart: the product of the strides.

    Returns:
        Pixels of the image, over height and over width.

    Raises:
        PlanError: If paths meet that move at different steps.
    """
    jumps: dict[str, Pair] = {IMAGE: (1, 1)}
    for layer in plan.layers:
        taken = dict.fromkeys(jumps[name] for name in layer.inputs)
        if len(taken) > 1:
            steps = " and ".join("x".join(map(str, jump)) for jump in taken)
            raise PlanError(
                f"{layer.name} joins paths that move by {steps} pixels, so that they meet in images of "
                f"{_sides(plan.input_shape)} only: this network cannot slide over larger ones. Predict whole images."
            )
        ((height, width),) = taken
        down, right = layer.component.options["stride"] if layer.kind in ("CONV", "POOL", "SKIP") else (1, 1)
        jumps[layer.name] = (height * down, width * right)
    return jumps[plan.layers[-1].name]


def map_size(plan: Plan, height: int, width: int) -> Pair:
    """Count the rows and columns of a map: the windows that lie inside an image.

    Example:
        >>> from convgrid.component import Component
        >>> from convgrid.network.plan import Architecture, plan
        >>> from convgrid.network.planned import Groups
        >>> conv, relu = Component("conv", "convgrid.layers.conv"), Component("relu", "torch.relu")
        >>> halvings = "INPUT -> [CONV(4) -> POOL(2)]*5 -> FC"
        >>> map_size(plan(Architecture(halvings, Groups(conv, relu, {})), (3, 224, 224), 10), 384, 384)
        (6, 6)
    """
    _, *window = plan.input_shape
    rows, columns = (
        (side - own) // step + 1 for side, own, step in zip((height, width), window, step_of(plan), strict=True)
    )
    return rows, columns


def window_differences(plan: Plan) -> list[str]:
    """Say what makes the scores of a place others than those of its window cut out.

    Returns:
        Reasons; none where they are equal but for rounding.
    """
    shapes = {layer.name: layer.output_shape for layer in plan.layers}
    found = dict.fromkeys(reason for layer in plan.layers for reason in _reasons(layer, shapes))
    return [*found]


def _reasons(layer: PlannedLayer, shapes: Mapping[str, Shape]) -> Iterator[str]:
    if any(layer.padding):
        yield "it pads"
    if layer.component.options.get("ceil_mode"):
        yield "its pools reach over the edge"
    if len(layer.input_shape) == 3 and layer.component.target in WHOLE_IMAGE_NORMS:
        yield "its norms look at the whole image"
    if layer.kind == "MUL" and len({len(shapes.get(name, layer.output_shape)) for name in layer.inputs}) > 1:
        yield "it scales channels by what a window holds"
    if len(layer.input_shape) == 3 and layer.is_own:
        yield f"{layer.name} is your own"


def _converted(layer: PlannedLayer, module: nn.Module, shapes: Mapping[str, Shape]) -> nn.Module:
    """What a layer is on maps: vectors (B, F) have become (B, F, R, Q)."""
    channels, height, width = (*layer.input_shape, 1, 1)[:3]
    match layer.kind:
        case "FC":
            return _as_convolution(module, channels, (height, width))
        case "GAP":
            return nn.AvgPool2d((height, width), 1)
        case "MUL":
            return _Scale([len(shapes[name]) < len(layer.output_shape) for name in layer.inputs], layer.output_shape)
        case "SUM" | "CONCAT" | "SKIP":
            return module
        case _ if len(layer.input_shape) == 1:
            return _EachPlace(module)
        case _:
            if layer.is_own:
                _try_larger(layer, module)
            return module


def _as_convolution(module: nn.Module, channels: int, window: Pair) -> nn.Conv2d:
    """The same weights, as a window that is as large as the volume was."""
    (linear,) = (part for part in module.modules() if isinstance(part, nn.Linear))
    made = nn.utils.skip_init(nn.Conv2d, channels, linear.out_features, window)
    assert isinstance(made, nn.Conv2d)
    made.weight = nn.Parameter(linear.weight.detach().unflatten(1, (channels, *window)), requires_grad=False)
    made.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return made


class _EachPlace(nn.Module):
    """A layer of vectors (B, F), at each place of (B, F, R, Q)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        batch, features, rows, columns = x.shape
        vectors = _in_order(x.permute(0, 2, 3, 1)).view(-1, features)
        return _in_order(self.layer(vectors).view(batch, rows, columns, features).permute(0, 3, 1, 2))


def _in_order(x: Tensor) -> Tensor:
    """A copy in the order of its axes: whether one is needed, torch.export would ask of sides that it does not know."""
    return x.clone(memory_format=torch.contiguous_format)


class _Scale(nn.Module):
    """MUL on maps: a vector's map is as much smaller as its window is large; each pixel takes the nearest window's."""

    def __init__(self, is_vector: list[bool], shape: Shape) -> None:
        super().__init__()
        self.is_vector = is_vector
        self.around = [part for side in reversed(shape[1:]) for part in ((side - 1) // 2, side // 2)]
        self.product = Mul()

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.product(
            *(
                functional.pad(x, self.around, mode="replicate") if is_vector else x
                for x, is_vector in zip(inputs, self.is_vector, strict=True)
            )
        )


@torch.no_grad()
def _try_larger(layer: PlannedLayer, module: nn.Module) -> None:
    """A layer of the user's own may hold on to the size that it was made for."""
    channels, height, width = layer.input_shape
    try:
        module(torch.zeros(1, channels, 2 * height, 2 * width))
    except Exception as error:  # whatever it raises
        component = layer.component
        raise PlanError(
            f"{component.group}={component.name}: {layer.name} takes no larger input than {_sides(layer.input_shape)} "
            f"({str(error).strip().partition(chr(10))[0]}), so the network cannot slide. Mend {component.target}."
        ) from None


def _sides(shape: Shape) -> str:
    return "x".join(map(str, shape[1:]))
