"""Features of whole data sets: each image's once, whatever part it stands in, and whatever was computed before.

Shapes: N different images, B images of a batch, F numbers of one image's features; or C, H, W.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import psutil
import torch
from filelock import Timeout
from torch import Tensor, nn

from convgrid.data import Files, Split, batches
from convgrid.data.stored import Stored
from convgrid.features.cache import RATE, Cache
from convgrid.features.mapped import num_bytes, read, write
from convgrid.system.seeding import derive
from convgrid.terminal import duration

EXTRACTION_BATCH, EXTRACTION_PIXELS = 512, 2**19  # images of 32x32; of larger ones fewer, to save memory
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
VERSION = 1  # of how features are computed

_ids: WeakKeyDictionary[Split, np.ndarray] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """What makes features of raw images.

    Args:
        network: From normalised images to features, in evaluation mode.
        normalised: From raw images to normalised ones.
        precision: As Lightning's.
        known: What the features go by beside the images, weights among them; JSON can hold it.
        name: What it is, in words.
        multiply_adds: Of one image.
    """

    network: nn.Module
    normalised: Callable[[Tensor], Tensor]
    device: torch.device
    precision: str
    known: Mapping[str, Any]
    name: str
    multiply_adds: int

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Compute the features of a batch, (B, F), or (B, H, W, C) where they are volumes."""
        kind = AUTOCAST.get(self.precision)
        with torch.autocast(self.device.type, kind, enabled=kind is not None):
            found = self.network(self.normalised(images.to(self.device)))
        return (found if found.dim() == 2 else found.permute(0, 2, 3, 1)).cpu()


Advance = Callable[[int, int], object]  # told how many images are done, of how many
AugmentBatch = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, object]]
RowsOf = Callable[[], Iterator[Tensor]]  # begins to compute features, some rows at a time


@dataclass(frozen=True)
class ProgressWatch:
    """Who is told how it goes.

    Args:
        tell: Takes a sentence.
    """

    tell: Callable[[str], object]
    advance: Advance = lambda done, of: None


def stored(
    parts: Sequence[Split], source: FeatureSource, watch: ProgressWatch, cache: Cache | None = None
) -> list[Stored] | None:
    """Put features in the place of images, out of the cache where they are there.

    Args:
        parts: Of one data set.
        cache: None for the user's own.

    Returns:
        A part each; None where neither memory nor disk have room for the features.

    Raises:
        DataError: If a streamed image cannot be read.
    """
    every, first, rows = np.unique(
        np.concatenate([ids(part) for part in parts]), return_index=True, return_inverse=True
    )
    key = _digest({**source.known, "version": VERSION, "images": every.tolist()})
    rows_of = partial(_rows, lambda: images_at(parts, first, source.device), len(first), source, watch)
    numbers = _kept(Cache() if cache is None else cache, key, len(first), rows_of, source, watch)
    if numbers is None:
        return None
    ends = list(accumulate(map(len, parts)))
    places = np.split(rows, ends[:-1])
    return [
        Stored(numbers, torch.from_numpy(place), part.targets, part.weights)
        for part, place in zip(parts, places, strict=True)
    ]


def stored_view(
    part: Split,
    number: int,
    augment: AugmentBatch,
    known: object,
    source: FeatureSource,
    watch: ProgressWatch,
    cache: Cache | None = None,
) -> Stored | None:
    """Put features of an augmented view in the place of each image, the same ones for every seed.

    Args:
        part: That is trained on.
        number: Of the view.
        augment: Makes it.
        known: What the view goes by beside its number; JSON can hold it.
        cache: None for the user's own.

    Returns:
        The part; None where neither memory nor disk have room for the features.

    Raises:
        DataError: If a streamed image cannot be read.
    """

    def images() -> Iterator[Tensor]:
        draws = torch.Generator(source.device).manual_seed(derive(0, "views", number))
        for some in images_at([part], np.arange(len(part)), source.device):
            yield augment(some.to(source.device), None, draws)[0]

    view = {"number": number, "augment": known, "images": ids(part).tolist()}
    key = _digest({**source.known, "version": VERSION, "view": view})
    rows_of = partial(_rows, images, len(part), source, watch)
    numbers = _kept(Cache() if cache is None else cache, key, len(part), rows_of, source, watch)
    return None if numbers is None else Stored(numbers, torch.arange(len(part)), part.targets, part.weights)


def ids(part: Split) -> np.ndarray:
    """Digest each image of a part: its pixels, or the file that they come from, and the size that they get."""
    if part not in _ids:
        _ids[part] = np.array([hashlib.sha256(content).hexdigest()[:32] for content in _contents(part)])
    return _ids[part]


def _contents(part: Split) -> Iterator[bytes]:
    images = part.images
    if isinstance(images, Files):
        for path in images.paths:
            with open(path, "rb") as file:
                yield f"{images.shape}".encode() + hashlib.file_digest(file, "sha256").digest()
        return
    head = f"{images.dtype}{tuple(images.shape[1:])}".encode()
    for image in images.cpu().numpy():
        yield head + image.tobytes()


def digest_of_weights(network: nn.Module) -> str:
    """Digest all weights and statistics of a network, with their names."""
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        digest.update(f"{name}{weight.dtype}{tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _kept(
    cache: Cache, key: str, count: int, rows_of: RowsOf, source: FeatureSource, watch: ProgressWatch
) -> Tensor | None:
    """The features, (N, F) or (N, C, H, W) in channels_last order, found or made."""
    found = _found_or_made(cache, key, count, rows_of, source, watch)
    return found.permute(0, 3, 1, 2) if found is not None and found.dim() == 4 else found


def _found_or_made(
    cache: Cache, key: str, count: int, rows_of: RowsOf, source: FeatureSource, watch: ProgressWatch
) -> Tensor | None:
    """As on the disk; they are computed while other processes wait for them."""
    found = _found(cache, key, count)
    if found is not None:
        watch.tell(f"features of {count:,} images: from the cache")
        return found
    with ExitStack() as stack:
        try:
            _wait(cache, key, stack, watch)
        except OSError as error:
            return _computed(None, key, count, rows_of, source, watch, str(error.strerror))
        found = _found(cache, key, count)
        return _computed(cache, key, count, rows_of, source, watch) if found is None else found


def _wait(cache: Cache, key: str, stack: ExitStack, watch: ProgressWatch) -> None:
    try:
        stack.enter_context(cache.lock(key, timeout=0))
    except Timeout:
        watch.tell("Another process computes the same features: waiting for them.")
        stack.enter_context(cache.lock(key))


def _found(cache: Cache, key: str, count: int) -> Tensor | None:
    path = cache.find(key)
    try:
        found = None if path is None else read(path)
    except (OSError, ValueError):  # torn: it is made again
        return None
    return None if found is None or len(found) != count else found


def _computed(
    cache: Cache | None,
    key: str,
    count: int,
    rows_of: RowsOf,
    source: FeatureSource,
    watch: ProgressWatch,
    fault: str = "",
) -> Tensor | None:
    """Into memory where there is enough, and onto the disk; None where neither takes them."""
    began, rows = time.monotonic(), rows_of()
    some = next(rows)
    shape, kind = (count, *some.shape[1:]), some.dtype
    size = num_bytes(shape, kind)
    whole, about = None, {"images": str(count), "network": source.name}
    if size <= psutil.virtual_memory().available // 2:
        whole = torch.empty(shape, dtype=kind)
        _fill(whole, some, rows)
        about[RATE] = str(round(count * source.multiply_adds / max(time.monotonic() - began, 1e-6)))
    try:
        if cache is not None:
            with cache.writing(key, size) as place:
                write(place, shape, kind, _again(some, rows) if whole is None else whole.split(EXTRACTION_BATCH), about)
            path = cache.find(key)
            watch.tell(_took(count, time.monotonic() - began))
            return whole if path is None else read(path)
    except OSError as error:
        fault = error.strerror or str(error)
    instead = "The features stay in memory" if whole is not None else "The frozen layers run in every step"
    watch.tell(f"The cache of features cannot be used: {fault}. {instead}.")
    return whole


def _took(count: int, seconds: float) -> str:
    return f"features of {count:,} images: {duration(seconds)}, {count / max(seconds, 1e-6):,.0f} images a second"


def _fill(whole: Tensor, some: Tensor, rows: Iterator[Tensor]) -> None:
    done = 0
    for block in _again(some, rows):
        whole[done : done + len(block)] = block
        done += len(block)


def _again(some: Tensor, rows: Iterator[Tensor]) -> Iterator[Tensor]:
    """What was looked at already, and the rest."""
    yield some
    yield from rows


def _rows(
    images: Callable[[], Iterator[Tensor]], count: int, source: FeatureSource, watch: ProgressWatch
) -> Iterator[Tensor]:
    """The features of each image."""
    done = 0
    for some in images():
        yield source.features(some)
        done += len(some)
        watch.advance(done, count)


def images_at(parts: Sequence[Split], places: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    """Read the images at some places.

    Args:
        places: Counted over all parts.
        device: Where they are wanted.

    Yields:
        Batches (B, C, H, W), in the order of the places.

    Raises:
        DataError: If a streamed image cannot be read.
    """
    shape = _shape(parts[0])
    size = max(1, min(EXTRACTION_BATCH, EXTRACTION_PIXELS // (shape[1] * shape[2])))
    files = parts[0].images
    if isinstance(files, Files):
        paths = [path for part in parts if isinstance(part.images, Files) for path in part.images.paths]
        wanted = Files(tuple(paths[place] for place in places), files.shape, files.workers)
        for chunk in batches(Split(wanted, torch.zeros(len(places))), batch_size=size, device=device):
            for batch in chunk:
                yield batch.images
        return
    starts = list(accumulate(map(len, parts), initial=0))
    for some in np.split(places, range(size, len(places), size)):
        yield _gathered(parts, starts, some)


def _gathered(parts: Sequence[Split], starts: Sequence[int], places: np.ndarray) -> Tensor:
    images = parts[0].images
    assert isinstance(images, Tensor)
    found = torch.empty((len(places), *images.shape[1:]), dtype=images.dtype, memory_format=torch.channels_last)
    for part, start in zip(parts, starts, strict=False):
        of_part = (start <= places) & (places < start + len(part))
        assert isinstance(part.images, Tensor)
        found[torch.from_numpy(of_part)] = part.images[torch.from_numpy(places[of_part] - start)].cpu()
    return found


def _shape(part: Split) -> Sequence[int]:
    return part.images.shape if isinstance(part.images, Files) else part.images.shape[1:]


def _digest(known: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
