"""Files hurt in the ways in which power cuts, full disks, other programs and people hurt them."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1.5, float("nan"), float("inf"), 1e300, "", "x", "../..", "a\0b", "\ud800", [], {}),
    *([None], [[]], {"x": None}, {"x": {}}, [1, 2, 3], "val/accuracy", -(2**63), 2**63),
)


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def zeroed(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    length = draw.randrange(1, 5000)
    return content[:start] + b"\0" * len(content[start : start + length]) + content[start + length :]


def flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20))):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def noise(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(200))


def other_values(content: bytes, draw: random.Random) -> bytes:
    """What parses, but lacks something, has it twice, or has another type in its place."""
    lines = content.splitlines()
    try:
        known = json.loads(content)
    except ValueError:
        try:
            known = [json.loads(line) for line in lines]
        except ValueError:
            known = yaml.safe_load(content)
            hurt(known, draw)
            return yaml.safe_dump(known, allow_unicode=False).encode("utf-8", "surrogatepass")
        hurt(known, draw)
        return "".join(f"{json.dumps(each)}\n" for each in known).encode()
    hurt(known, draw)
    return json.dumps(known).encode()


def hurt(known: Any, draw: random.Random) -> None:
    places = [*_places(known)]
    for _ in range(draw.choice((1, 1, 2))):
        if places:
            inside, key = draw.choice(places)
            if draw.random() < 0.3 and isinstance(inside, dict):
                inside.pop(key, None)
            else:
                inside[key] = draw.choice(ODD)


def _places(known: Any) -> Iterator[tuple[Any, Any]]:
    inner = known.items() if isinstance(known, dict) else enumerate(known) if isinstance(known, list) else ()
    for key, value in inner:
        yield known, key
        yield from _places(value)


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, zeroed, flipped, noise)


def mutate(file: Path, draw: random.Random, *, parses: bool = True) -> str:
    """Hurt a file; in what way."""
    if draw.random() < 0.06:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
        if draw.random() < 0.5:
            file.mkdir()
        return "gone"
    way = draw.choice((*BYTES, *((other_values,) * 6 if parses else ())))
    file.write_bytes(way(file.read_bytes(), draw))
    return way.__name__
