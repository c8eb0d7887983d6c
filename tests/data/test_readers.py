import gzip
import hashlib
import io
import pickle
import struct
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convgrid.data import ImageData, Split, arrays, cifar, cifar10, cifar100, digits, fashion_mnist, idx, mnist, random
from convgrid.errors import ConfigError, DataError
from forks import fork

RNG = np.random.default_rng(0)
UNREACHABLE = "http://127.0.0.1:9/"  # the discard port: refused at once


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MNIST_URL", UNREACHABLE)
    monkeypatch.setattr(idx, "FASHION_URL", UNREACHABLE)
    monkeypatch.setattr(cifar, "URL", UNREACHABLE)


def pixels_of(split: Split | None) -> np.ndarray:
    assert split is not None
    assert isinstance(split.images, torch.Tensor)
    return split.images.numpy()


def all_targets(data: ImageData) -> list[int]:
    return sorted(data.train.targets.tolist() + data.validation.targets.tolist())


# --- digits and random


@pytest.mark.reference("data", "digits")
def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data = digits(split=(0.5, 0.5))
    images, targets = load_digits(return_X_y=True)  # scikit-learn's own reader
    ours = np.concatenate([pixels_of(data.train), pixels_of(data.validation)]).reshape(-1, 64)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, np.asarray(images).astype(np.uint8)))
    assert np.bincount(all_targets(data)).tolist() == np.bincount(np.asarray(targets)).tolist()
    assert data.class_names == tuple("0123456789")
    assert pixels_of(data.train).dtype == np.uint8


def read_digits_anew() -> None:
    """As in a process that has imported torch and nothing else."""
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("convgrid", "sklearn", "PIL"):
            del sys.modules[name]
    import convgrid.data

    assert len(convgrid.data.digits().train) == 1258
    assert not {"sklearn", "PIL"} & {*sys.modules}


def test_digits_are_read_without_importing_scikit_learn() -> None:
    reader = fork(read_digits_anew)
    reader.join()
    assert reader.exitcode == 0


def test_a_shape_that_digits_have_not_is_named() -> None:
    with pytest.raises(DataError) as caught:
        digits(shape=[1, 28, 28])
    expected = "data.shape=[1, 28, 28] does not fit: the images of digits are [1, 8, 8]. Use data.shape=[1,8,8]."
    assert str(caught.value) == expected
    with pytest.raises(DataError, match=r"data\.num_classes=3 does not fit: digits has 10 classes\."):
        digits(num_classes=3)


@pytest.mark.reference("data", "random")
def test_random_noise_has_the_shape_asked_for_and_depends_on_its_seed() -> None:
    data, again, other = (random(shape=[3, 5, 7], num_classes=4, size=100, split_seed=seed) for seed in (1, 1, 2))
    assert pixels_of(data.train).shape == (70, 3, 5, 7)
    assert set(all_targets(data)) == {0, 1, 2, 3}
    assert (pixels_of(data.train) == pixels_of(again.train)).all()
    assert data.digest == again.digest != other.digest
    assert 120 < pixels_of(data.train).mean() < 135


def test_random_noise_of_more_classes_than_images_can_be_divided() -> None:
    data = random(shape=[1, 2, 2], num_classes=1000, size=40)
    assert (len(data.train), len(data.class_names)) == (28, 1000)


@pytest.mark.parametrize("wrong", [{"shape": [3, 0, 4]}, {"shape": [3, 4]}, {"num_classes": 0}, {"size": 0}])
def test_random_noise_of_no_size_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"data.{next(iter(wrong))}="):
        random(**wrong)


# --- MNIST and Fashion-MNIST


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, *, packed: bool = True) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    content = {}
    for part, size in (("train", 40), ("t10k", 10)):
        content[f"{part}-images-idx3-ubyte"] = RNG.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        content[f"{part}-labels-idx1-ubyte"] = (np.arange(size) % 10).astype(np.uint8)
    for name, array in content.items():
        raw = idx_bytes(array)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(raw, mtime=0) if packed else raw)
    return content


@pytest.mark.reference("data", "mnist", "fashion_mnist")
@pytest.mark.parametrize(("reader", "folder"), [(mnist, "mnist"), (fashion_mnist, "fashion-mnist")])
def test_idx_files_are_read_packed_and_unpacked(tmp_path: Path, reader: Any, folder: str) -> None:
    for packed in (True, False):
        root = tmp_path / str(packed)
        content = write_idx(root / folder, packed=packed)
        data = reader(root=str(root), split=[0.75, 0.25])
        assert (len(data.train), len(data.validation)) == (30, 10)
        assert (pixels_of(data.test)[:, 0] == content["t10k-images-idx3-ubyte"]).all()
        assert data.test.targets.tolist() == list(range(10))
        ours = np.concatenate([pixels_of(data.train), pixels_of(data.validation)])[:, 0]
        assert sorted(map(bytes, ours)) == sorted(map(bytes, content["train-images-idx3-ubyte"]))
        assert len(data.class_names) == 10


def test_the_digest_is_of_the_content_not_of_its_packing(tmp_path: Path) -> None:
    content = write_idx(tmp_path / "mnist")
    packed = mnist(root=str(tmp_path)).digest
    for name, array in content.items():
        (tmp_path / "mnist" / f"{name}.gz").unlink()
        (tmp_path / "mnist" / name).write_bytes(idx_bytes(array))
    assert mnist(root=str(tmp_path)).digest == packed
    changed = content["t10k-images-idx3-ubyte"].copy()
    changed[3, 4, 5] ^= 1
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(changed))
    assert mnist(root=str(tmp_path)).digest != packed


def spoil_truncate(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def spoil_header(raw: bytes) -> bytes:
    return gzip.compress(b"\x00\x00\x0d" + gzip.decompress(raw)[3:])


def spoil_length(raw: bytes) -> bytes:
    return gzip.compress(gzip.decompress(raw)[:-1])


def spoil_crc(raw: bytes) -> bytes:
    return raw[:-8] + b"\0" * 8


@pytest.mark.parametrize(
    "spoil", [spoil_truncate, spoil_header, spoil_length, spoil_crc, lambda _: b"", lambda _: b"<html>"]
)
def test_a_corrupt_idx_file_is_named(tmp_path: Path, spoil: Any) -> None:
    write_idx(tmp_path / "mnist")
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        mnist(root=str(tmp_path))
    assert str(caught.value).startswith(f"{path} is not a whole IDX file (")


def test_idx_images_of_another_number_than_labels_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist")
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(39, np.uint8))))
    with pytest.raises(DataError, match=r"images \(40, 28, 28\) and labels \(39,\) do not belong together"):
        mnist(root=str(tmp_path))


def test_a_label_above_9_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist")
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.full(40, 11, np.uint8))))
    with pytest.raises(DataError, match=r"data\.num_classes=10 does not fit: mnist has 12 classes"):
        mnist(root=str(tmp_path))


def test_without_network_the_message_says_which_files_to_put_where(tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").unlink()
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError) as caught:
        mnist(root=str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path}/mnist lacks t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz. "
        f"Fetching {UNREACHABLE}t10k-images-idx3-ubyte.gz failed: no connection (ConnectionError).\n"
        "Put them there, or point data.root (or CONVGRID_DATA) at the folder that holds mnist/."
    )


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/mnist lacks train-images-idx3-ubyte\.gz"):
        mnist(root=str(tmp_path / "file"))


def test_without_a_root_the_users_cache_folder_is_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    with pytest.raises(DataError, match=f"^{tmp_path}/convgrid/data/mnist lacks"):
        mnist(root=None)


# --- fetching


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server: its address, the folder that it serves, and the paths that were asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    with HTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/", folder, asked
        httpd.shutdown()
        thread.join()


def sha256s(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in idx.MNIST_SHA256}


def test_missing_files_are_fetched_once(
    tmp_path: Path, server: tuple[str, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served, asked = server
    write_idx(served)
    monkeypatch.setattr(idx, "MNIST_URL", url)
    monkeypatch.setattr(idx, "MNIST_SHA256", sha256s(served))
    first = mnist(root=str(tmp_path / "root"))
    assert asked == [f"/{name}" for name in idx.MNIST_SHA256]
    again = mnist(root=str(tmp_path / "root"))
    assert len(asked) == 4
    assert first.digest == again.digest


def test_a_file_with_another_checksum_is_not_kept(
    tmp_path: Path, server: tuple[str, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served, _ = server
    write_idx(served)
    monkeypatch.setattr(idx, "MNIST_URL", url)
    with pytest.raises(DataError, match="what came does not have the official checksum"):
        mnist(root=str(tmp_path / "root"))
    assert list((tmp_path / "root" / "mnist").iterdir()) == []


def test_a_server_without_the_file_is_told(
    tmp_path: Path, server: tuple[str, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idx, "MNIST_URL", server[0])
    with pytest.raises(DataError, match="failed: 404 Client Error"):
        mnist(root=str(tmp_path))


# --- CIFAR


PurePickler: Any = pickle._Pickler  # pyright: ignore[reportAttributeAccessIssue]


class Python2Pickler(PurePickler):
    """Writes bytes as the Python 2 strings that the official files hold."""

    dispatch = PurePickler.dispatch.copy()

    def save_bytes(self, obj: bytes) -> None:
        short = len(obj) < 256
        self.write(b"U" + bytes([len(obj)]) + obj if short else b"T" + struct.pack("<i", len(obj)) + obj)
        self.memoize(obj)

    dispatch[bytes] = save_bytes


def python2_pickle(content: object) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def cifar_files(layout: cifar.CifarFiles, num_classes: int) -> tuple[dict[str, bytes], np.ndarray]:
    """The official files with 20 images a class over all training batches, and the test images."""
    files = {}
    images = np.zeros(0)
    for name in (*layout.train, layout.test):
        labels = np.arange(num_classes * 20 // len(layout.train)) % num_classes
        images = RNG.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        content = {b"data": images, layout.labels: labels.tolist(), b"filenames": [b"a.png"] * len(labels)}
        files[name] = python2_pickle({**content, b"batch_label": b"batch"})
    names = [f"class {index}".encode() for index in range(num_classes)]
    files[layout.meta] = python2_pickle({layout.names: names, b"num_vis": 3072})
    return files, images.reshape(-1, 3, 32, 32)


def write_cifar(root: Path, layout: cifar.CifarFiles = cifar.CIFAR10, num_classes: int = 10) -> np.ndarray:
    files, test_images = cifar_files(layout, num_classes)
    (root / layout.folder).mkdir(parents=True)
    for name, content in files.items():
        (root / layout.folder / name).write_bytes(content)
    return test_images


@pytest.mark.reference("data", "cifar10", "cifar100")
@pytest.mark.parametrize(
    ("reader", "layout", "num_classes"), [(cifar10, cifar.CIFAR10, 10), (cifar100, cifar.CIFAR100, 100)]
)
def test_cifars_pickles_are_read(tmp_path: Path, reader: Any, layout: cifar.CifarFiles, num_classes: int) -> None:
    test_images = write_cifar(tmp_path, layout, num_classes)
    data = reader(root=str(tmp_path), num_classes=num_classes)
    assert (len(data.train), len(data.validation)) == (18 * num_classes, 2 * num_classes)
    assert data.validation.targets.bincount().tolist() == [2] * num_classes
    assert (pixels_of(data.test) == test_images).all()
    assert data.class_names[:2] == ("class 0", "class 1")
    assert len(data.class_names) == num_classes


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (str(self.target),)


def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(pickle.dumps({b"data": Hostile(tmp_path / "harm")}))
    with pytest.raises(DataError) as caught:
        cifar10(root=str(tmp_path))
    assert str(caught.value).startswith(f"{path} is not a sound CIFAR file (UnpicklingError: it asks for posix.mkdir)")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        python2_pickle({b"data": np.zeros((200, 3072), np.uint8), b"labels": [0] * 200})[:-9],
        python2_pickle([1, 2]),
        python2_pickle({b"labels": [0]}),
        python2_pickle({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}),
        python2_pickle({b"data": np.zeros((1, 3072), np.float32), b"labels": [0]}),
        python2_pickle({b"data": np.zeros((1, 999), np.uint8), b"labels": [0]}),
        python2_pickle({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}),
        python2_pickle({b"data": np.zeros((0, 3072), np.uint8), b"labels": []}),
        python2_pickle({b"data": 5, b"labels": None}),
    ],
)
def test_a_cifar_batch_with_other_content_is_named(tmp_path: Path, content: bytes) -> None:
    write_cifar(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        cifar10(root=str(tmp_path))
    assert str(caught.value).startswith(f"{path} is not a sound CIFAR file (")


def test_a_shape_that_cifar_has_not_is_named_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.shape=\[1, 32, 32\] does not fit: .* \[3, 32, 32\]"):
        cifar10(root=str(tmp_path), shape=[1, 32, 32])


def test_a_missing_cifar_names_the_archive_and_the_files(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        cifar100(root=str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path} lacks cifar-100-python.tar.gz. "
        f"Fetching {UNREACHABLE}cifar-100-python.tar.gz failed: no connection (ConnectionError).\n"
        f"Put it there, or train, test, meta into {tmp_path}/cifar-100-python,\n"
        "or point data.root (or CONVGRID_DATA) at the folder that holds cifar-100-python/."
    )


def test_cifars_archive_is_fetched_and_unpacked_once(
    tmp_path: Path, server: tuple[str, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, served, asked = server
    files, test_images = cifar_files(cifar.CIFAR100, 100)
    with tarfile.open(served / "cifar-100-python.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    md5 = hashlib.md5((served / "cifar-100-python.tar.gz").read_bytes()).hexdigest()
    layout = cifar.CifarFiles(**{**vars(cifar.CIFAR100), "checksum": f"md5:{md5}"})
    monkeypatch.setattr(cifar, "URL", url)
    monkeypatch.setattr(cifar, "CIFAR100", layout)
    root = tmp_path / "root"
    for _ in range(2):
        assert (pixels_of(cifar100(root=str(root)).test) == test_images).all()
    assert asked == ["/cifar-100-python.tar.gz"]
    assert sorted(path.name for path in (root / "cifar-100-python").iterdir()) == ["meta", "test", "train"]


# --- arrays


def saved(path: Path, **content: Any) -> str:
    np.savez(path / "data.npz", **content)
    return str(path / "data.npz")


@pytest.mark.reference("data", "arrays")
def test_keras_mnist_npz_is_read(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8)
    labels = (np.arange(30) % 10).astype(np.uint8)
    path = saved(tmp_path, x_train=images, y_train=labels, x_test=images[:5], y_test=labels[:5])
    data = arrays(path=path, split=(2 / 3, 1 / 3))
    assert (len(data.train), len(data.validation)) == (20, 10)
    assert (pixels_of(data.test) == images[:5, None]).all()
    assert data.train.targets.dtype == torch.int64
    assert data.class_names == tuple("0123456789")


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1)])
def test_channels_are_found_by_the_shape(tmp_path: Path, order: tuple[int, ...]) -> None:
    images = RNG.integers(0, 256, (10, 3, 5, 4), dtype=np.uint8)
    own = {"x_val": images.transpose(order), "y_val": np.arange(10).reshape(10, 1)}
    path = saved(tmp_path, x_train=images.transpose(order), y_train=np.arange(10).reshape(10, 1), **own)
    data = arrays(path=path, shape=[3, 5, 4])
    assert (pixels_of(data.train) == images).all()
    assert (pixels_of(data.validation) == images).all()
    assert data.test is None


def test_float_images_stay_float_and_integers_up_to_255_become_bytes(tmp_path: Path) -> None:
    for dtype, expected in ((np.float64, np.float32), (np.int64, np.uint8), (np.bool_, np.uint8)):
        images = RNG.integers(0, 2, (10, 4, 4)).astype(dtype)
        data = arrays(path=saved(tmp_path, images=images, targets=np.arange(10) % 2), shape=[1, 4, 4], split=(0.5, 0.5))
        assert pixels_of(data.train).dtype == expected


def test_regression_targets_are_float_rows(tmp_path: Path) -> None:
    images = np.zeros((10, 4, 4), np.uint8)
    for targets, width in ((np.arange(10), 1), (RNG.random((10, 3)), 3)):
        path = saved(tmp_path, images=images, targets=targets)
        data = arrays(path=path, shape=[1, 4, 4], task="regression", num_classes=width, split=(0.8, 0.2))
        assert data.train.targets.shape == (8, width)
        assert data.train.targets.dtype == torch.float32
        assert data.class_names == ()


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_labels_are_rows_of_0_and_1_divided_without_strata(tmp_path: Path, dtype: type) -> None:
    """Images of their own number, so that each can be told; one label would be too rare for strata."""
    numbers, has = np.arange(20, dtype=np.uint8), np.eye(4)[np.arange(20) % 4].astype(dtype)
    images = np.broadcast_to(numbers[:, None, None], (20, 4, 4))
    data = arrays(
        path=saved(tmp_path, images=images, targets=has), shape=[1, 4, 4], task="multilabel", split=(0.6, 0.2, 0.2)
    )
    assert data.test is not None
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [12, 4, 4]
    assert data.class_names == ("0", "1", "2", "3")
    assert (data.task, data.num_classes) == ("multilabel", 4)
    for part in parts:
        assert part.targets.dtype == torch.uint8
        assert part.targets.argmax(1).tolist() == (pixels_of(part)[:, 0, 0, 0] % 4).tolist()


NINE = np.zeros((9, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ({"a": NINE}, {}, r"must hold x_train and y_train, or images and targets, but holds \['a'\]"),
        ({"x_train": NINE}, {}, "has only one of x_train and y_train"),
        (
            {"images": NINE, "targets": np.full(9, 0.5)},
            {},
            r"data\.npz: targets holds float64, not classes\. Use data\.task=regression\.$",
        ),
        ({"images": NINE, "targets": np.zeros(8, int)}, {}, "images holds 9 images, but targets 8 targets"),
        (
            {"images": NINE, "targets": np.arange(9) - 1},
            {},
            r"one class index from 0 an image; it is \[9\], the least -1",
        ),
        (
            {"images": NINE, "targets": np.arange(9) + 1},
            {},
            r"has classes up to 9, but no image of class 0\. Number the classes from 0 without gaps, or set "
            r"data\.num_classes=10\.$",
        ),
        (
            {"images": NINE, "targets": np.zeros((9, 2), int)},
            {},
            r"one class index from 0 an image; it is \[9, 2\], the least 0\. "
            r"For several labels an image, use data\.task=multilabel\.$",
        ),
        ({"images": NINE, "targets": np.arange(9)}, {"num_classes": 5}, r"data\.num_classes=5 does not fit"),
        (
            {"images": NINE, "targets": np.arange(9)},
            {"shape": [1, 5, 4]},
            r"data\.shape=\[1, 5, 4\] does not fit: images is",
        ),
        ({"images": NINE * np.nan, "targets": np.arange(9)}, {}, "images holds NaN"),
        ({"images": NINE.astype(str), "targets": np.arange(9)}, {}, "images holds <U., not numbers"),
        ({"images": NINE, "targets": np.full(9, np.inf)}, {"task": "regression"}, "must be finite"),
        (
            {"images": NINE, "targets": np.ones((9, 2))},
            {"task": "regression", "num_classes": 1},
            r"data\.num_classes=1",
        ),
        ({"images": NINE, "targets": np.array([None] * 9)}, {}, "not an .npz of plain arrays"),
        (
            {"images": NINE, "targets": np.arange(18).reshape(9, 2)},
            {"task": "multilabel"},
            r"^data\.path=.*/data\.npz: targets must be 0 or 1 for each label, .* it is \[9, 2\], with 2\.$",
        ),
        ({"images": NINE, "targets": np.full((9, 2), np.nan)}, {"task": "multilabel"}, r"it is \[9, 2\], with nan\.$"),
        ({"images": NINE, "targets": np.ones(9)}, {"task": "multilabel"}, r"0 or 1 for each label, .* it is \[9\]\.$"),
        ({"images": NINE, "targets": np.ones((9, 0))}, {"task": "multilabel"}, r"for each label, .* it is \[9, 0\]\.$"),
        (
            {"images": NINE, "targets": np.ones((9, 2))},
            {"task": "multilabel", "num_classes": 3},
            r"^data\.num_classes=3, but the images have \[2\] labels\.$",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_told(
    tmp_path: Path, content: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        arrays(path=saved(tmp_path, **content), **{"shape": [1, 4, 4], **options})


@pytest.mark.parametrize(
    ("targets", "task", "note"),
    [
        (np.arange(9), "classification", None),
        (np.arange(9.0), "regression", None),
        (np.ones((9, 2)), "multilabel", None),
        (
            np.arange(9.0)[::-1],
            "classification",
            "targets: whole numbers in float64, read as classes. To predict numbers, use data.task=regression.",
        ),
        (
            np.eye(9)[::-1],
            "classification",
            "targets: one-hot rows, read as classes. If several may apply to an image, use data.task=multilabel.",
        ),
        (
            np.eye(9),
            "multilabel",
            "targets: a single 1 in every row, read as labels. If they are classes, use data.task=classification.",
        ),
        (
            np.eye(9),
            "regression",
            "targets: a single 1 in every row, read as numbers to predict. If they are classes, use "
            "data.task=classification.",
        ),
    ],
)
def test_targets_of_two_readings_are_told(tmp_path: Path, targets: np.ndarray, task: str, note: str | None) -> None:
    images = np.arange(9, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    data = arrays(path=saved(tmp_path, images=images, targets=targets), shape=[1, 4, 4], task=task, split=(0.5, 0.5))
    assert data.notes == (() if note is None else (note,))
    if task == "classification":
        expected = targets if targets.ndim == 1 else np.arange(9)[::-1]
        assert data.train.targets.tolist() == expected[pixels_of(data.train)[:, 0, 0, 0]].tolist()


def test_classes_without_images_are_there_where_their_number_is_given(tmp_path: Path) -> None:
    path = saved(tmp_path, images=NINE, targets=np.arange(9) // 3 * 2)
    data = arrays(path=path, shape=[1, 4, 4], num_classes=6, split=(0.5, 0.5))
    assert data.class_names == ("0", "1", "2", "3", "4", "5")


def test_a_missing_or_corrupt_npz_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.path must be given"):
        arrays()
    with pytest.raises(DataError, match=r"absent\.npz is not a file"):
        arrays(path=str(tmp_path / "absent.npz"))
    with pytest.raises(ConfigError, match=r"data\.task=cluster must be"):
        arrays(path="", task="cluster")
    path = Path(saved(tmp_path, images=RNG.random((9, 4, 4)), targets=np.arange(9)))
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:100] + b"spoilt" + whole[106:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{path} is not an .npz"):
            arrays(path=str(path), shape=[1, 4, 4])
    path.write_bytes(b"text")
    with pytest.raises(DataError, match=r"\(it is damaged, or was not written by numpy\.savez\)\. Write it anew"):
        arrays(path=str(path), shape=[1, 4, 4])
    np.save(tmp_path / "single.npy", NINE)
    with pytest.raises(DataError, match=r"single\.npy is not an \.npz"):
        arrays(path=str(tmp_path / "single.npy"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", b"not an array")
    with pytest.raises(DataError, match=f"{path} is not an .npz"):
        arrays(path=str(path))
