"""A network starts with the weights of another one, and what they want pixels to be like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from convgrid.data import Profile
from convgrid.errors import PlanError
from convgrid.network.plan import Plan
from convgrid.network.planned import PlannedLayer
from convgrid.network.weights import matching
from convgrid.runs.checkpoint import read_checkpoint
from convgrid.runs.source import WEIGHTS_SUFFIX, WeightsSource

OF_CHECKPOINT, OF_NETWORK = "predictor.", "network."  # what names of tensors start with


@dataclass(frozen=True)
class Start:
    """What was loaded.

    Args:
        layers: Names of the layers that have the source's weights.
        mean: Of each channel, in the data's pixel units.
    """

    layers: tuple[str, ...]
    mean: list[float]
    std: list[float]


def start(network: nn.Module, plan: Plan, source: WeightsSource, profile: Profile, *, free_head: bool) -> Start:
    """Load weights into a network.

    Args:
        network: As `build` made it of the plan, changed in place.
        profile: Of the data.
        free_head: Whether the head is the user's own, so that it need not fit.

    Returns:
        What was loaded; the output layer is among it where the classes are the same.

    Raises:
        ConvgridError: If the weights do not fit.
    """
    tensors = read_tensors(source)
    planned = {layer.name: layer for layer in plan.layers}
    loaded = matching(plan, source.plan, source.place, free_head=free_head)
    output = plan.layers[-1].name
    if profile.names != source.names:
        loaded = tuple(name for name in loaded if name != output)
    for name in loaded:
        own = {key.removeprefix(f"{OF_NETWORK}{name}."): tensor for key, tensor in tensors.items()
               if key.startswith(f"{OF_NETWORK}{name}.")}  # fmt: skip
        _load(network.get_submodule(name), own, planned[name], source.place)
    return Start(loaded, *_preprocessing(tensors, source, profile))


def read_tensors(source: WeightsSource) -> dict[str, Tensor]:
    """Read all tensors of a predictor: weights by "network." and a layer's name, "mean" and "std" for pixels.

    Raises:
        RunError: If the file is damaged.
    """
    if source.file.suffix == WEIGHTS_SUFFIX:
        from safetensors.torch import load_file

        return load_file(source.file)
    state: Mapping[str, Tensor] = read_checkpoint(source.file)["state_dict"]
    return {name.removeprefix(OF_CHECKPOINT): tensor for name, tensor in state.items()}


def _load(module: nn.Module, tensors: Mapping[str, Tensor], layer: PlannedLayer, place: str) -> None:
    if not layer.is_own:  # images of another size may want padding beside a convolution, or inside of it
        last = {name.rpartition(".")[2]: tensor for name, tensor in tensors.items()}
        tensors = {name: last[name.rpartition(".")[2]] for name in module.state_dict()}
    try:
        module.load_state_dict(dict(tensors))
    except (RuntimeError, KeyError) as error:
        cause = " ".join(str(error).split())
        raise PlanError(f"{place}: {layer.name} cannot be loaded: {cause}") from None


def _preprocessing(
    tensors: Mapping[str, Tensor], source: WeightsSource, profile: Profile
) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, as the weights know them, on the scale of the data's pixels."""
    here, there = profile.scale, source.scale
    ratio = (here[1] - here[0]) / (there[1] - there[0])
    mean, std = (tensors[name][0].double().flatten(1)[:, 0] for name in ("mean", "std"))
    return (here[0] + (mean - there[0]) * ratio).tolist(), (std * ratio).tolist()


def loaded_parameters(network: nn.Module, layers: Sequence[str]) -> set[int]:
    """Find the parameters that have loaded weights, by identity."""
    return {id(weight) for name in layers for weight in network.get_submodule(name).parameters()}
