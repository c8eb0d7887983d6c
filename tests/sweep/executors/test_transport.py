"""The wire: who has the keys is heard in order, and in time; a stranger learns nothing and changes nothing."""

import json
import os
import random
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from convgrid.errors import ConfigError
from convgrid.sweep.executors.address import Address, own_address, place_of, read_address
from convgrid.sweep.executors.lease import Lease, clock
from convgrid.sweep.executors.transport import HELLO, LEASE, SAID, Client, Frame, Server
from convgrid.sweep.executors.wire import MAX_MESSAGE_BYTES

SECRET = b"a trial's settings, which are nobody's business"
LOST_AFTER = 1.0


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server("127.0.0.1", 0, LOST_AFTER)
    yield made
    made.close()


@pytest.fixture
def address(server: Server, tmp_path: Path) -> Address:
    return server.address(cwd=tmp_path, sweep=tmp_path, patience=1.0)


@contextmanager
def client(address: Address, tmp_path: Path, hello: bytes = b"hello") -> Iterator[Client]:
    made = Client(address, hello, Lease(tmp_path / "lease"))
    try:
        yield made
    finally:
        made.close()


def next_frames(server: Server, count: int, seconds: float = 10.0) -> list[Frame]:
    found: list[Frame] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        found += server.frames(0.1)
    return found


def serves(server: Server, address: Address, tmp_path: Path) -> None:
    """A node with the keys is heard and answered, and nothing else has been heard before it."""
    with client(address, tmp_path) as node:
        (first,) = next_frames(server, 1)
        assert (first.body, first.is_first) == (b"hello", True)
        server.say(first.session, SECRET)
        node.wait(10)
        assert [*node.heard()] == [SECRET]


def port_of(address: Address) -> int:
    return int(address.at.rpartition(":")[2])


def test_messages_arrive_in_order_both_ways_and_beats_put_off_the_lease(
    server: Server, address: Address, tmp_path: Path
) -> None:
    lease = Lease(tmp_path / "lease")
    assert lease.left < 0
    with client(address, tmp_path) as node:
        for number in range(500):
            node.say(b"%d" % number)
        frames = next_frames(server, 501)
        assert [frame.body for frame in frames] == [b"hello", *(b"%d" % number for number in range(500))]
        assert [frame.is_first for frame in frames] == [True, *([False] * 500)]
        for number in range(500):
            server.say(frames[0].session, b"%d" % number)
        heard: list[bytes] = []
        while len(heard) < 500:
            node.wait(10)
            heard += node.heard()
        assert heard == [b"%d" % number for number in range(500)]
        began = clock()
        while clock() - began < LOST_AFTER:  # longer than a lease lasts: it is put off with each beat
            assert 0 < lease.left <= LEASE * LOST_AFTER
            time.sleep(0.05)
        assert not node.ended
    assert next_frames(server, 1, LOST_AFTER + 5) == [Frame(frames[0].session, None, reason="silent for 1 s")]


def test_a_message_that_is_too_long_ends_its_session_and_no_other(
    server: Server, address: Address, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with client(address, tmp_path / "other", b"other") as other, client(address, tmp_path) as node:
        hellos = {frame.body: frame.session for frame in next_frames(server, 2)}
        node.say(bytes(MAX_MESSAGE_BYTES + 1))
        while not node.ended:
            node.wait(10)
            node.wake.clear()
        assert node.ended == "the connection is broken"
        other.say(bytes(MAX_MESSAGE_BYTES - 100))
        frames = next_frames(server, 2, LOST_AFTER + 5)
    assert {frame.session: len(frame.body or b"") for frame in frames} == {
        hellos[b"other"]: MAX_MESSAGE_BYTES - 100,
        hellos[b"hello"]: 0,
    }


def test_a_node_learns_that_its_session_is_over(server: Server, address: Address, tmp_path: Path) -> None:
    with client(address, tmp_path) as node:
        (first,) = next_frames(server, 1)
        server.forget(first.session)
        while not node.ended:
            node.wait(10)
            node.wake.clear()
        assert node.ended == "the scheduler had not heard of it for too long"


def test_a_node_whose_scheduler_is_gone_learns_it_at_once(address: Address, server: Server, tmp_path: Path) -> None:
    with client(address, tmp_path) as node:
        (first,) = next_frames(server, 1)
        server.say(first.session, b"word")
        node.wait(10)
        server.close()
        while not node.ended:
            node.wait(10)
            node.wake.clear()
        assert node.ended == "the connection is broken"
    with client(address, tmp_path) as node:
        while not node.ended:
            node.wait(10)
            node.wake.clear()
        assert node.ended == "nobody answers there"


@pytest.mark.parametrize("keys", ["none", "own", "wrong server"])
def test_a_stranger_without_the_keys_is_not_heard(server: Server, address: Address, tmp_path: Path, keys: str) -> None:
    context = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    public, secret = zmq.curve_keypair()
    if keys == "own":
        stranger.curve_serverkey, stranger.curve_publickey, stranger.curve_secretkey = (
            address.server.encode(),
            public,
            secret,
        )
    if keys == "wrong server":
        stranger.curve_serverkey = public
        stranger.curve_publickey, stranger.curve_secretkey = address.public.encode(), address.secret.encode()
    stranger.connect(address.at)
    for kind in (HELLO, SAID):
        stranger.send_multipart((kind, b'{"id": "x", "host": "y"}'))
    serves(server, address, tmp_path)
    assert next_frames(server, 1, 0.3) == []
    assert stranger.poll(300) == 0
    context.destroy(linger=0)


def test_garbage_on_the_port_and_10000_random_frames_change_nothing(
    server: Server, address: Address, tmp_path: Path
) -> None:
    """Bytes of all kinds: noise, and ZMTP greetings with noise behind them, as a stranger would try."""
    noise = random.Random(0)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01"
    sent = attempt = 0
    learned = b""
    while sent < 10_000:
        attempt += 1
        with socket.create_connection(("127.0.0.1", port_of(address))) as raw, suppress(OSError):
            raw.settimeout(0.005)
            if attempt % 2:
                mechanism = noise.choice([b"CURVE", b"NULL", b"PLAIN"]).ljust(20, b"\0")
                raw.sendall(greeting + mechanism + b"\0" + bytes(31))
            for _ in range(100):
                body = noise.randbytes(noise.randrange(200))
                raw.sendall(bytes([noise.choice([0, 1, 4]), len(body)]) + body if attempt % 4 else body)
                sent += 1
            learned += raw.recv(4096)
    assert attempt > 100  # it is cut off again and again
    serves(server, address, tmp_path)
    assert SECRET not in learned


def test_10000_random_frames_of_a_node_itself_end_its_session_at_most(
    server: Server, address: Address, tmp_path: Path
) -> None:
    """Who has the keys is one of the sweep's own nodes; a broken one must not stop the others."""
    noise = random.Random(0)
    context = zmq.Context()
    broken = context.socket(zmq.DEALER)
    broken.curve_serverkey = address.server.encode()
    broken.curve_publickey, broken.curve_secretkey = address.public.encode(), address.secret.encode()
    broken.connect(address.at)
    for _ in range(10_000):
        broken.send_multipart([noise.randbytes(noise.randrange(1, 100)) for _ in range(noise.randrange(1, 4))])
    frames = [frame for frame in next_frames(server, 1, 1.0) if frame.body == b"hello"]
    assert frames == []
    with client(address, tmp_path):
        assert any(frame.body == b"hello" for frame in next_frames(server, 10_001, 2.0))
    context.destroy(linger=0)


class Proxy:
    """Stands on the wire: it passes everything on, and keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sent: list[bytes] = []
        self.seen = b""
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self.listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self._port))
                self.pairs.append((ours, theirs))
                for one, other in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._pass, args=(one, other, one is ours), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, from_node: bool) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self.seen += data
                if from_node:
                    self.sent.append(data)
                other.sendall(data)

    def close(self) -> None:
        self.listener.close()
        for pair in self.pairs:
            for each in pair:
                each.close()


def test_a_replayed_message_is_heard_once_and_the_wire_shows_nothing(
    server: Server, address: Address, tmp_path: Path
) -> None:
    proxy = Proxy(port_of(address))
    through = replace(address, at=f"tcp://127.0.0.1:{proxy.listener.getsockname()[1]}")
    with client(through, tmp_path) as node:
        (first,) = next_frames(server, 1)
        before = len(proxy.sent)
        node.say(SECRET)
        assert [frame.body for frame in next_frames(server, 1)] == [SECRET]
        for data in proxy.sent[before:]:  # into the same connection: the message, as it was
            proxy.pairs[0][1].sendall(data)
        with socket.create_connection(("127.0.0.1", port_of(address))) as again:  # into one of its own, all of it
            again.sendall(b"".join(proxy.sent))
            time.sleep(0.3)
    heard = next_frames(server, 1, LOST_AFTER + 5)
    assert heard == [Frame(first.session, None, reason="silent for 1 s")]
    assert b"CURVE" in proxy.seen
    assert SECRET not in proxy.seen
    assert b"hello" not in proxy.seen
    serves(server, address, tmp_path)
    proxy.close()


def test_the_keys_are_for_the_user_alone_and_others_at_every_start(tmp_path: Path) -> None:
    files: list[dict[str, str]] = []
    mask = os.umask(0)
    try:
        for _ in range(2):
            server = Server("127.0.0.1", 0, LOST_AFTER)
            made = server.address(cwd=tmp_path, sweep=tmp_path, patience=1.0)
            server.close()
            file = made.write()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert read_address(file) == made
            files.append(json.loads(file.read_text()))
    finally:
        os.umask(mask)
    assert all(files[0][name] != files[1][name] for name in ("start", "server", "public", "secret"))


def test_where_to_listen_is_one_interface() -> None:
    assert place_of("10.1.2.3") == "10.1.2.3"
    assert place_of("lo") == "lo"
    assert place_of("localhost") == "127.0.0.1"
    assert place_of(None) == own_address() != "0.0.0.0"
    server = Server("lo", 0, LOST_AFTER)
    assert server.address(cwd=Path(), sweep=Path(), patience=1.0).at.startswith("tcp://127.0.0.1:")
    server.close()


def test_an_address_that_is_not_this_machines_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigError, match=r"sweep.executor.host=192.0.2.7, sweep.executor.port=0: nobody can listen"):
        Server("192.0.2.7", 0, LOST_AFTER)


def test_a_file_that_is_no_schedulers_is_refused(tmp_path: Path) -> None:
    assert read_address(tmp_path / "none.json") is None
    for text in ("", "[]", '{"at": 3}'):
        (tmp_path / "some.json").write_text(text)
        with pytest.raises(ConfigError, match=r"some.json is no scheduler's"):
            read_address(tmp_path / "some.json")
