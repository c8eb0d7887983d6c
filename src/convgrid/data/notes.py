"""What the user is told of a data set: no mistakes, but what makes results mean less than they seem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from convgrid.data.dataset import ImageData, Split
from convgrid.data.files import some
from convgrid.data.origins import Origins

MAX_COPIES_NAMED = 3
SHARE_TOLERANCE = 0.1  # of a part's share: groups that miss it by more are told


def notes_on(data: ImageData) -> tuple[str, ...]:
    """Tell what its reader left aside, classes that parts lack, copies, and groups.

    Returns:
        A sentence or two each.
    """
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    if data.validation is data.train:  # trainer=overfit
        del parts["validation"]
    present = {name: part for name, part in parts.items() if part is not None}
    return (*data.notes, *_missing_classes(data, present), *_copies(data, present), *_groups(data, present))


def _missing_classes(data: ImageData, parts: Mapping[str, Split]) -> Iterator[str]:
    if data.task != "classification":
        return
    counts = {name: part.targets.bincount(minlength=data.num_classes) for name, part in parts.items()}
    anywhere = sum(counts.values())
    lacking = {
        name: [data.class_names[place] for place in ((count == 0) & (anywhere > 0)).nonzero()[:, 0].tolist()]
        for name, count in counts.items()
    }
    told = [f"the {name} part has none of {some(classes)}" for name, classes in lacking.items() if classes]
    if told:
        yield (
            f"Parts lack classes: {'; '.join(told)}. How well those are predicted is not known. "
            "Add images of them, or divide otherwise (data.split, data.split_seed)."
        )


def _copies(data: ImageData, parts: Mapping[str, Split]) -> Iterator[str]:
    known = [part.origins for part in parts.values() if part.origins is not None]
    if len(known) < len(parts):
        return
    _, content, counts = np.unique(
        np.concatenate([each.contents for each in known]), return_inverse=True, return_counts=True
    )
    if counts.max() == 1:
        return
    names = np.concatenate([each.names for each in known])
    twice = _spread(content, np.repeat(np.arange(len(known)), [len(each.names) for each in known]))
    if len(twice):
        yield (
            f"Copies of images are in several parts: {_counted(twice, content, names)}. Results on them look better "
            "than they are. Remove them, or keep them together with data.group."
        )
    if data.task == "classification":
        twice = _spread(content, np.concatenate([part.targets.numpy() for part in parts.values()]))
        if len(twice):
            yield f"Copies of images are under several classes: {_counted(twice, content, names)}. Keep one of each."


def _spread(content: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Contents that come with several kinds."""
    kinds = kind.max() + 1
    found, count = np.unique(np.unique(content * kinds + kind) // kinds, return_counts=True)
    return found[count > 1]


def _counted(twice: np.ndarray, content: np.ndarray, names: np.ndarray) -> str:
    """Such as "2 images (a.jpg = b.jpg, c.jpg = d.jpg)"."""
    examples = [" = ".join(names[np.flatnonzero(content == each)[:3]]) for each in twice[:MAX_COPIES_NAMED]]
    more = f" and {len(twice) - MAX_COPIES_NAMED} more" if len(twice) > MAX_COPIES_NAMED else ""
    return f"{len(twice)} image{'s' * (len(twice) > 1)} ({', '.join(examples)}{more})"


def _groups(data: ImageData, parts: Mapping[str, Split]) -> Iterator[str]:
    origins = {name: part.origins for name, part in parts.items()}
    groups = {name: _sizes(each) for name, each in origins.items() if each is not None and each.groups is not None}
    if not groups:
        return
    sizes = np.concatenate([np.array(list(found.values())) for found in groups.values()])
    counts = ", ".join(f"{len(found)} in {name}" for name, found in groups.items())
    yield f"data.group: groups of {sizes.min()} to {sizes.max()} images, {counts}."
    shared = {name for first, second in combinations(groups.values(), 2) for name in first.keys() & second.keys()}
    if shared:
        yield (
            f"Groups are in several parts, as the data comes divided: {len(shared)} ({some(sorted(shared))}). "
            "Images of the training make a test look better than it is. Put each into one part."
        )
    yield from _unlike(data, parts)


def _sizes(origins: Origins) -> dict[str, int]:
    assert origins.groups is not None
    names, counts = np.unique(origins.groups.astype(str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _unlike(data: ImageData, parts: Mapping[str, Split]) -> Iterator[str]:
    sizes = [len(part) for part in parts.values()][: len(data.wanted)]
    shares = [size / sum(sizes) for size in sizes]
    if any(abs(share - wanted) > SHARE_TOLERANCE * wanted for share, wanted in zip(shares, data.wanted, strict=True)):
        possible = ", ".join(f"{share:.3g}" for share in shares)
        yield (
            f"data.split={list(data.wanted)} is not possible with whole groups; the nearest found is [{possible}]. "
            "Smaller groups, or other fractions, come closer."
        )
