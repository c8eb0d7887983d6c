"""A model in one file, in three formats: each is written, and read back to be asked.

Shapes: B batch, K predictions of an image.
"""

import copy
import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from convgrid import activations, layers, scales  # noqa: F401  (code that a file of weights may name)
from convgrid.errors import ModelError, cause_of
from convgrid.model.export_suffixes import EXPORT_SUFFIXES
from convgrid.model.metadata import Metadata
from convgrid.model.slider import Slider
from convgrid.model.trained_model import Trained, assemble, check_noise
from convgrid.network import graph  # noqa: F401  (likewise)
from convgrid.objective.predictor import Predictor
from convgrid.runs.source import METADATA_KEY
from convgrid.system.torch_internals import any_sides

META_FILE = f"{METADATA_KEY}.json"  # in a torch.export archive
KNOWN_CODE = ("convgrid.activations", "convgrid.layers", "convgrid.network.graph", "convgrid.scales", "torch.nn")
INPUT_NAME, OUTPUT_NAME = "images", "predictions"  # a program's input and output


@dataclass(frozen=True)
class InferenceModel:
    """A model that can be asked.

    Args:
        meta: What it says of itself.
        predict: From raw images (B, C, H, W) to predictions (B, K).
        map: From larger raw images to those of each place, (B, K, rows, columns); raises ModelError where it cannot.
    """

    meta: Metadata
    predict: Callable[[Tensor], Tensor]
    map: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Format:
    """One way to keep a model in a file.

    Args:
        read: Makes the model again.
    """

    write: Callable[[Trained, Path], None]
    read: Callable[[Path], InferenceModel]


def in_process(trained: Trained) -> InferenceModel:
    """The trained model itself.

    Returns:
        What can be asked.
    """
    return _of(trained.meta, trained.predictor)


def slid(trained: Trained) -> Trained:
    """The same for images of any size at least its own: it predicts at each place.

    Raises:
        ModelError: If the network cannot slide.
    """
    assert isinstance(trained.predictor, Predictor)
    meta = replace(trained.meta, slides=True)
    return replace(trained, meta=meta, predictor=Slider(trained.predictor, meta.plan).requires_grad_(False))


def _of(meta: Metadata, predict: Callable[[Tensor], Tensor]) -> InferenceModel:
    """A network or a program, which may slide already."""
    if meta.slides:
        return InferenceModel(meta, lambda images: predict(images)[:, :, 0, 0], predict)
    if isinstance(predict, Predictor):
        return InferenceModel(meta, predict, lambda images: Slider(predict, meta.plan)(images))
    return InferenceModel(meta, predict, _refuse_to_map)


def _refuse_to_map(_: Tensor) -> Tensor:
    raise ModelError(
        "The file holds a program for images of one size. Use the run instead, or export it with --map to another file."
    )


def program_of(trained: Trained) -> ExportedProgram:
    """Trace a model into a program that any number of images can be given to, and that needs no code but torch's.

    Returns:
        From `images` (B, C, H, W) to predictions; where the model slides, of any height and width that it takes.

    Raises:
        ModelError: If a layer of the user's own cannot be traced.
    """
    sides = (2, 3) if trained.meta.slides else (1, 1)  # of several places, for the same reason
    images = trained.images[:1].repeat(2, 1, *sides)  # of two: one would fix the batch size at 1
    try:
        with _quiet(), any_sides() if trained.meta.slides else nullcontext():
            return torch.export.export(trained.predictor, (images,), dynamic_shapes=_shapes(trained.meta))
    except Exception as error:  # torch.export has many
        cause = str(error).strip().partition("\n")[0]
        raise ModelError(f"{trained.meta.trial}: torch.export cannot trace the network: {cause}") from None


def _shapes(meta: Metadata) -> tuple[dict[int, Dim]]:
    """What may vary of the images."""
    _, height, width = meta.profile.shape
    sides = {2: Dim("height", min=height), 3: Dim("width", min=width)} if meta.slides else {}
    return ({0: Dim("batch"), **sides},)


def _write_program(trained: Trained, file: Path) -> None:
    with _quiet():
        torch.export.save(program_of(trained), file, extra_files={META_FILE: trained.meta.dumps()})


def _read_program(file: Path) -> InferenceModel:
    kept = {META_FILE: ""}
    with _quiet():
        program = torch.export.load(file, extra_files=kept).module()
    return _of(_meta(kept[META_FILE], file), program)


def _write_onnx(trained: Trained, file: Path) -> None:
    _need("onnx", "onnxscript", "onnxruntime")
    with _quiet():
        made = torch.onnx.export(
            program_of(replace(trained, predictor=_with_means(trained.predictor))),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=_shapes(trained.meta),
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    made.model.metadata_props[METADATA_KEY] = trained.meta.dumps()
    made.save(str(file))


def _with_means(predictor: Predictor | Slider) -> Predictor | Slider:
    """The same with sums of windows as means times their size: torch's ONNX exporter overlooks another divisor."""
    copied = copy.deepcopy(predictor)
    for parent in [*copied.modules()]:
        for name, pool in parent.named_children():
            if isinstance(pool, nn.AvgPool2d) and pool.divisor_override:
                height, width = (pool.kernel_size,) * 2 if isinstance(pool.kernel_size, int) else pool.kernel_size
                mean = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)
                setattr(parent, name, nn.Sequential(mean, _Times(height * width / pool.divisor_override)))
    return copied


class _Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def _read_onnx(file: Path) -> InferenceModel:
    _need("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    meta = _meta(session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, ""), file)
    return _of(meta, lambda images: torch.from_numpy(session.run([OUTPUT_NAME], {INPUT_NAME: images.numpy()})[0]))


def _write_safetensors(trained: Trained, file: Path) -> None:
    from safetensors.torch import save

    _check_code(trained.meta)
    weights = {name: weight.contiguous() for name, weight in trained.predictor.state_dict().items()}
    file.write_bytes(
        save(weights, {"format": "pt", METADATA_KEY: trained.meta.dumps()})
    )  # its own writing is for one's own eyes


def _read_safetensors(file: Path) -> InferenceModel:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        meta = _meta((opened.metadata() or {}).get(METADATA_KEY, ""), file)
        _check_code(meta)
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is not a mapping)
    predictor = assemble(meta, weights)
    check_noise(meta, predictor)
    return _of(meta, predictor)


def _check_code(meta: Metadata) -> None:
    """A file of weights may name layers of convgrid and of torch.nn, and no other code that its reader would run."""
    components = [*(layer.component for layer in meta.plan.layers), *([meta.target] if meta.target else [])]
    strange = [component.target for component in components if not _is_known(component.target)]
    if strange:
        raise ModelError(
            f"A safetensors file holds weights only, and {strange[0]} is your own code. "
            "Use --format torch_export, which holds both, or the run itself."
        )


def _is_known(target: str) -> bool:
    module, _, name = target.rpartition(".")
    if module not in KNOWN_CODE or not hasattr(sys.modules[module], name):
        return False
    found = getattr(sys.modules[module], name)
    return getattr(found, "__module__", "") == module or (isinstance(found, type) and issubclass(found, nn.Module))


EXPORT_FORMATS: Mapping[str, Format] = {
    "torch_export": Format(_write_program, _read_program),
    "onnx": Format(_write_onnx, _read_onnx),
    "safetensors": Format(_write_safetensors, _read_safetensors),
}


def read(file: Path) -> InferenceModel:
    """Read a model file of any format, by its suffix.

    Args:
        file: As `convgrid export` made it. One of torch_export may run code when it is read: trust its maker.

    Returns:
        The model.

    Raises:
        ModelError: If it is none.
    """
    (name,) = (name for name, suffix in EXPORT_SUFFIXES.items() if suffix == file.suffix)
    with _blamed_on(file, "read"):
        model = EXPORT_FORMATS[name].read(file)
    return replace(model, predict=_asked(model.predict, file), map=_asked(model.map, file))


def _asked(ask: Callable[[Tensor], Tensor], file: Path) -> Callable[[Tensor], Tensor]:
    """A file may hold a network that goes wrong only when it is asked."""

    def asked(images: Tensor) -> Tensor:
        with _blamed_on(file, "asked"):
            return ask(images)

    return asked


@contextmanager
def _blamed_on(file: Path, done: str) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # whatever a library raises of a broken file
        if cause_of(error) in ("disk", "memory"):  # not the file's fault
            raise
        cause = str(error).strip().partition("\n")[0]
        raise ModelError(f"{file} cannot be {done}: {cause}. Export the model again.") from None


def _meta(text: str, file: Path) -> Metadata:
    if not text:
        raise ModelError(f"{file} was not made by convgrid: it does not say what its images and predictions are.")
    try:
        return Metadata.loads(text)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise ModelError(
            f"{file} does not say as convgrid does what its images and predictions are. Export the model again."
        ) from None


def _need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(f"The format onnx needs {' and '.join(missing)}: pip install 'convgrid[onnx]'")


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what torch's exporters tell of themselves, and the network that they print where they fail."""
    names = ("torch.onnx", "torch.export", "torch.fx.experimental.symbolic_shapes")
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        for logger in levels:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)
