"""The memory that a training step takes at most, foreseen from a plan.

A step goes forward layer by layer, and back; what a layer's way back needs is kept until then. This goes there and back
over sizes alone, in bytes of float32 for a whole batch.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from convgrid.component import Component
from convgrid.network.plan import Plan
from convgrid.network.planned import FLOAT32_BYTES, IMAGE, PlannedLayer, Shape

# How many numbers a weight an optimizer keeps, and how many its step makes for a moment.
OPTIMIZERS: Mapping[str, Callable[[Mapping[str, Any]], tuple[int, int]]] = {
    "sgd": lambda options: (int(options["momentum"] > 0), 0),
    "rmsprop": lambda options: (1 + (options["momentum"] > 0), 1),
    "adagrad": lambda _: (1, 2),
    "adadelta": lambda _: (2, 2),
    "adam": lambda options: (2 + options["amsgrad"], 0),
    "adamax": lambda _: (2, 1),
    "nadam": lambda _: (2, 1),
}
OF_ONES_OWN = (2, 0)

KEEP_OUTPUT = frozenset({"relu", "tanh", "sigmoid", "exponential", "softmax"})  # other activations keep their input
INDEX = 8  # bytes of where a window's largest value stands
LOCAL_RESPONSE = 3  # further volumes as large as the input: squares, their sums, and a power of these


def training_bytes(plan: Plan, batch_size: int, optimizer: Component) -> int:
    """Foresee the memory that a training step takes at most.

    Weights, gradients, the optimizer's state and the batch of images stay. Beside them are, at the worst moment of the
    way forward and back, the outputs and gradients that are still needed, and a layer's gradient of its weights before
    it is added to the others; or what the optimizer's step makes for a moment.

    Args:
        batch_size: Images a step.
        optimizer: As an option of `conf/optimizer` states it.

    Returns:
        Bytes in float32; neither the data set nor the libraries.

    Example:
        >>> from convgrid.network.plan import Architecture, plan
        >>> from convgrid.network.planned import Groups
        >>> conv, relu = Component("conv", "convgrid.layers.conv"), Component("relu", "convgrid.activations.relu")
        >>> linear = plan(Architecture("INPUT -> FC", Groups(conv, relu, {})), (1, 1, 99), 1)
        >>> sgd = Component("sgd", "convgrid.optimizers.sgd", {"momentum": 0.9})
        >>> training_bytes(linear, 10, sgd)  # 3 * 100 weights, 10 * 99 pixels, 10 scores, their gradients
        5240
    """
    count = OPTIMIZERS[_function(optimizer)] if optimizer.target.startswith("convgrid.") else lambda _: OF_ONES_OWN
    states, momentary = count(optimizer.options)
    weights, trained = FLOAT32_BYTES * plan.parameters, FLOAT32_BYTES * plan.trainable
    step = _Step(plan, batch_size)
    step.forward()
    step.backward()
    kept = weights + (1 + states) * trained
    return kept + _bytes(plan.input_shape) * batch_size + max(step.peak, momentary * trained)


class _Step:
    """What is in memory beside weights and images, layer by layer.

    Attributes:
        peak: The most so far.
    """

    def __init__(self, plan: Plan, batch_size: int) -> None:
        self.peak = self._alive = 0
        self._layers, self._frozen = plan.layers, frozenset(plan.frozen)
        self._sizes = {layer.name: layer.activation_bytes * batch_size for layer in plan.layers}
        self._extras = {
            layer.name: 0 if layer.name in self._frozen else _extra(layer) * batch_size for layer in plan.layers
        }
        # On the way back, an output is let go of by the first layer that keeps it: all others have come before.
        self._keepers: dict[str, str] = {}
        for layer in plan.layers[plan.num_frozen :]:
            for source in _kept(layer):
                self._keepers.setdefault(source, layer.name)
        self._writes_in_place = plan.is_chain and all(map(_is_taped, plan.layers))

    def forward(self) -> None:
        """Make outputs; let go of each that neither a later layer takes nor a way back needs."""
        last = {source: layer.name for layer in self._layers for source in layer.inputs}
        for layer in self._layers:
            self._alive += self._sizes[layer.name] + self._extras[layer.name]
            self._see(0)
            finished = {source for source in layer.inputs if last[source] == layer.name}
            self._let_go(finished - self._keepers.keys())

    def backward(self) -> None:
        """Make gradients of inputs of those of outputs; let go of what is kept."""
        gradients = {self._layers[-1].name: self._sizes[self._layers[-1].name]}
        trained = self._trained()
        for layer in reversed(self._layers):
            if layer.name not in gradients:
                continue
            made = {source: self._sizes[source] for source in layer.inputs if source in trained}
            if layer.kind == "SUM":  # hands on the one gradient that it has, which lives until its last use
                last = next((source for source in self._sizes if source in made), None)
                made = {source: size if source == last else 0 for source, size in made.items()}
                del gradients[layer.name]
            self._see(sum(gradients.values()) + sum(made.values()) + self._of_weights(layer))
            gradients.pop(layer.name, None)
            gradients |= made
            self._alive -= self._extras[layer.name]
            self._let_go({source for source, keeper in self._keepers.items() if keeper == layer.name})

    def _of_weights(self, layer: PlannedLayer) -> int:
        is_written = self._writes_in_place and layer.kind == "FC"
        return 0 if is_written else FLOAT32_BYTES * layer.parameters

    def _trained(self) -> set[str]:
        """Layers with trained weights in them or before them: the way back ends at these."""
        found: set[str] = set()
        for layer in self._layers:
            if (layer.parameters and layer.name not in self._frozen) or not found.isdisjoint(layer.inputs):
                found.add(layer.name)
        return found

    def _see(self, beside: int) -> None:
        self.peak = max(self.peak, self._alive + beside)

    def _let_go(self, sources: set[str]) -> None:
        self._alive -= sum(self._sizes[source] for source in sources - {IMAGE})


def _kept(layer: PlannedLayer) -> Iterator[str]:
    """Whose outputs a layer's way back needs: of those it takes, its own."""
    function = _function(layer.component)
    match layer.kind:
        case _ if layer.is_own:
            yield from (*layer.inputs, layer.name)
        case "CONV" | "POOL" if not _is_even(layer):
            pass  # it keeps a padded copy
        case "FC" if _is_reordered(layer):
            pass  # likewise a flat one
        case "CONV" | "POOL" | "NORM" | "MUL" | "FC":
            yield from layer.inputs
        case "ACT" if function in KEEP_OUTPUT:
            yield layer.name
        case "ACT" if function != "linear":
            yield from layer.inputs
        case _:
            pass
    if function == "l2_pool":
        yield layer.name


def _extra(layer: PlannedLayer) -> int:
    """What a layer keeps for its way back that is no layer's output, in bytes an image."""
    function, image = _function(layer.component), _bytes(layer.input_shape)
    if layer.is_own:
        return 0
    if layer.kind == "FC":
        return image if _is_reordered(layer) else 0
    padded = 0 if _is_even(layer) else _padded(layer)
    places = INDEX * math.prod(layer.output_shape)
    mask = FLOAT32_BYTES * layer.input_shape[0]
    others = {"max_pool": places, "l2_pool": image, "local_response": LOCAL_RESPONSE * image}
    return padded + (others | {"Dropout": image, "SpatialDropout": mask}).get(function, 0)


def _is_taped(layer: PlannedLayer) -> bool:
    """Whether gradients of its weights may be written where they belong, as those of the plainest networks are."""
    return not layer.is_own and _function(layer.component) in ("conv", "relu", "max_pool", "fully_connected")


def _is_reordered(layer: PlannedLayer) -> bool:
    """Whether to flatten its input, channel after channel, is to copy it: in memory a pixel's channels are together."""
    channels, *sides = layer.input_shape
    return channels > 1 and math.prod(sides) > 1


def _is_even(layer: PlannedLayer) -> bool:
    """Whether the padding is alike on both sides, which torch's layers do themselves."""
    left, right, top, bottom = layer.padding
    return left == right and top == bottom


def _padded(layer: PlannedLayer) -> int:
    left, right, top, bottom = layer.padding
    channels, height, width = layer.input_shape
    return _bytes((channels, height + top + bottom, width + left + right))


def _function(component: Component) -> str:
    return component.target.rpartition(".")[2]


def _bytes(shape: Shape) -> int:
    return FLOAT32_BYTES * math.prod(shape)
