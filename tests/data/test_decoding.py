"""Image files that are sound although they look odd, and a fuzz of files: mistakes are told, never a traceback."""

import random
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from convgrid.data import arrays, image_folder, table_images
from convgrid.data.decoding import decode, quiet
from convgrid.errors import ConvgridError
from fuzzing import fuzz


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


GREY = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (np.array([0, 16, 2048, 4095]), [0, 1, 128, 255]),  # 12 bits
        (np.array([0, 256, 32768, 65535]), [0, 1, 128, 255]),  # 16 bits
        (np.array([0, 1, 128, 255]), [0, 1, 128, 255]),  # 8 bits
    ],
)
def test_grey_levels_are_scaled_by_the_bits_that_they_use(levels: np.ndarray, expected: list[int]) -> None:
    image = Image.fromarray(levels.astype(np.uint16).reshape(2, 2))
    assert decode(saved(image), (1, 2, 2)).flatten().tolist() == expected


def test_grey_images_of_several_depths_are_told(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number, most in enumerate((4095, 65535)):
            levels = np.full((8, 8), most - ord(label), np.uint16)
            Image.fromarray(levels).save(tmp_path / label / f"{number}.png")
    notes = image_folder(root=str(tmp_path), shape=[1, 8, 8], split=[0.5, 0.5]).notes
    assert notes == (
        "Grey images of more than 8 bits differ in what is taken for white: 4095 in 2, 65535 in 2. "
        "Rescale them alike if they come from one camera.",
    )


def test_floats_from_0_to_1_and_above_are_grey_levels() -> None:
    for levels in ([0, 0.5, 1, 0.25], [0, 128, 255, 64]):
        image = Image.fromarray(np.array(levels, np.float32).reshape(2, 2))
        found = decode(saved(image, "TIFF"), (1, 2, 2)).flatten()
        np.testing.assert_allclose(found, [0, 128, 255, 64], atol=1)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_broken_exif_and_long_text_do_not_make_an_image_unreadable() -> None:
    plain = saved(GREY)
    header = len(PngImagePlugin._MAGIC) + 25
    expected = decode(plain, (1, 8, 8))
    for extra in (
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03"),
        chunk(b"zTXt", b"note\0\0" + zlib.compress(b"x" * 2**21)),
        chunk(b"iTXt", b"note\0\1\0\0\0" + zlib.compress(b"x" * 2**21)),
    ):
        for place in (header, len(plain) - 12):
            assert np.array_equal(decode(plain[:place] + extra + plain[place:], (1, 8, 8)), expected)


def test_a_photo_of_108_megapixels_is_read() -> None:
    photo = Image.new("L", (12_000, 9_000), 99)
    with quiet():
        found = decode(saved(photo, "JPEG"), (1, 4, 4))
    assert (found == 99).all()


# --- fuzz


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Bytes changed, cut, doubled or put in, a few at a time."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(changed) + 1)
        match draw.randrange(4):
            case 0:
                changed[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                del changed[place : place + draw.choice((1, 4, 50))]
            case 2:
                changed[place:place] = changed[place : place + draw.choice((1, 4, 50))]
            case _:
                changed[place:place] = draw.choice((b"\0", b"\xff\xff\xff\xff", b",", b"\n", b'"', b"1e400", b"nan"))
    return bytes(changed)


def images() -> list[bytes]:
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    deep = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 60)
    kinds = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
    return [*(saved(colour, kind) for kind in kinds), saved(deep), saved(deep, "TIFF"), saved(GREY.convert("P"))]


ONES = np.ones((6, 4, 4))


def npzs() -> list[bytes]:
    found = []
    for content in (
        {"images": np.arange(128, dtype=np.uint8).reshape(8, 4, 4), "targets": np.arange(8) % 2},
        {"x_train": ONES, "y_train": np.eye(3)[np.arange(6) % 3], "x_val": ONES[:3], "y_val": np.eye(3)},
    ):
        buffer = BytesIO()
        np.savez(buffer, **content)  # pyright: ignore[reportArgumentType]
        found.append(buffer.getvalue())
    return found


def read_folder(folder: Path, content: bytes, draw: random.Random) -> None:
    (folder / "a" / "fuzzed.png").write_bytes(content)
    image_folder(root=str(folder), shape=[3, 4, 4], split=[0.5, 0.5], workers=1)


def read_npz(folder: Path, content: bytes, draw: random.Random) -> None:
    (folder / "fuzzed.npz").write_bytes(content)
    task = draw.choice(("classification", "regression", "multilabel"))
    arrays(path=str(folder / "fuzzed.npz"), shape=[1, 4, 4], split=[0.5, 0.5], task=task)


def read_table(folder: Path, content: bytes, draw: random.Random) -> None:
    (folder / "fuzzed.csv").write_bytes(content)
    task = draw.choice(("classification", "regression", "multilabel"))
    options: dict[str, Any] = {"weight": draw.choice((None, "w")), "group": draw.choice((None, "g"))}
    table_images(table=str(folder / "fuzzed.csv"), shape=[1, 4, 4], split=[0.5, 0.5], task=task, workers=1, **options)


TABLE = b"file,target,w,g\na/1.png,1,1,x\na/2.png,0,2,y\nb/1.png,1,1,z\nb/2.png,0,1,z\n"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("read", "seeds"),
    [(read_folder, images()), (read_npz, npzs()), (read_table, [TABLE, TABLE.replace(b",", b";")])],
)
def test_mutated_files_are_read_or_refused_in_a_line(tmp_path: Path, read: Any, seeds: list[bytes]) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(1, 4):
            Image.new("RGB", (5, 5), (number, 0, ord(label))).save(tmp_path / label / f"{number}.png")
    refused: list[ConvgridError] = []

    def case(draw: random.Random) -> None:
        try:
            read(tmp_path, mutated(draw.choice(seeds), draw), draw)
        except ConvgridError as error:
            refused.append(error)

    files = fuzz(case, share=1 / 3)
    assert 0 < len(refused) < files
