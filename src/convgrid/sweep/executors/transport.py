"""Frames between the scheduler and its nodes: encrypted, with a pulse, each end in a thread of its own.

A session is one connection: a node that loses it ends its work and begins a new one, so no frame is lost or doubled
in silence. See README.md for what is known when.
"""

import secrets
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from convgrid.errors import ConfigError
from convgrid.sweep.executors.address import Address, place_of
from convgrid.sweep.executors.lease import Lease, clock
from convgrid.sweep.executors.wire import MAX_MESSAGE_BYTES

HELLO, BEAT, SAID, GONE = b"h", b"b", b"m", b"g"  # what a frame is
BEATS = 10  # in the time after which a node is lost
LEASE = 2 / 3  # of that time: so long a node may train after a beat that was answered
MOST_AT_ONCE = 1000  # frames between two looks at who is silent
MAX_FRAMES_AT_ONCE = 32  # frames that are taken at once
_JUDGED = 0.2  # seconds between such looks


@dataclass(frozen=True)
class Frame:
    """What has come from a session.

    Args:
        body: A message; None where the session is over.
        is_first: Whether it begins a session.
        reason: Why the session is over.
    """

    session: bytes
    body: bytes | None
    is_first: bool = False
    reason: str = ""


class Wake:
    """Ends a thread's waiting from another one, or from a signal handler."""

    def __init__(self) -> None:
        self._reads, self._writes = socket.socketpair()
        self._is_awake = False
        for each in (self._reads, self._writes):
            each.setblocking(False)

    def fileno(self) -> int:
        """What to wait for."""
        return self._reads.fileno()

    def __call__(self) -> None:
        """Wake; who is to wake already is not told again, which would cost a change of threads each time."""
        if not self._is_awake:
            self._is_awake = True
            with suppress(OSError):  # full: it will wake; closed: there is nobody
                self._writes.send(b"!")

    def clear(self) -> None:
        """Sleep again; what there is to do is to be looked for after this."""
        self._is_awake = False
        with suppress(OSError):
            while self._reads.recv(4096):
                pass

    def close(self) -> None:
        """Let go of both ends."""
        self._reads.close()
        self._writes.close()


class Server:
    """The scheduler's end.

    Args:
        host: As `place_of` takes it.
        port: 0 for one that is free.
        lost_after: Seconds of silence after which a session is over.

    Raises:
        ConfigError: If it cannot listen there.
    """

    def __init__(self, host: str | None, port: int, lost_after: float) -> None:
        self._lost_after = lost_after
        self._public, secret = zmq.curve_keypair()
        self._nodes_public, self._nodes_secret = zmq.curve_keypair()
        self._context = zmq.Context()
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(credentials_provider=self)
        self._router = router = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 1000)
        router.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        router.setsockopt(zmq.SNDHWM, 0)  # a node that hangs is lost, not waited for
        router.setsockopt(zmq.BACKLOG, 1024)
        router.setsockopt(zmq.HANDSHAKE_IVL, 10_000)  # a stranger is not waited for either
        router.setsockopt(zmq.CURVE_SERVER, 1)
        router.setsockopt(zmq.CURVE_SECRETKEY, secret)
        place = place_of(host)
        router.setsockopt(zmq.IPV6, place.startswith("["))
        try:
            router.bind(f"tcp://{place}:{port or '*'}")
        except zmq.ZMQError as error:
            self._authenticator.stop()
            self._context.destroy(linger=0)
            raise ConfigError(
                f"sweep.executor.host={host or place}, sweep.executor.port={port}: nobody can listen there: {error}. "
                "Name an address or an interface of this machine, and a port that is free; port=0 takes any."
            ) from None
        at = router.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(at, bytes)
        self._at = at.rstrip(b"\0").decode()
        self.inbox: SimpleQueue[Frame] = SimpleQueue()
        self._outbox: deque[tuple[bytes, bytes, bytes]] = deque()
        self._heard: dict[bytes, float] = {}
        self._wake, self._ends = Wake(), False
        self._thread = threading.Thread(target=self._serve, name="convgrid-server", daemon=True)
        self._thread.start()

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a key opens the door: the nodes' own, and no other."""
        return secrets.compare_digest(key, self._nodes_public)

    def address(self, *, cwd: Path, sweep: Path, patience: float) -> Address:
        """What a node must know to come."""
        return Address(
            secrets.token_hex(8),
            self._at,
            server=self._public.decode(),
            public=self._nodes_public.decode(),
            secret=self._nodes_secret.decode(),
            cwd=str(cwd),
            sweep=str(sweep),
            lost_after=self._lost_after,
            patience=patience,
        )

    def frames(self, timeout: float) -> Iterator[Frame]:
        """Take what has come, a few at once: a worker that is free does not wait for the news of all others.

        Args:
            timeout: Seconds to wait for something.
        """
        with suppress(Empty):
            yield self.inbox.get(timeout=timeout)
        for _ in range(min(self.inbox.qsize(), MAX_FRAMES_AT_ONCE)):
            yield self.inbox.get()

    def say(self, session: bytes, body: bytes) -> None:
        """Send a message, in the order of the calls. Returns at once."""
        self._outbox.append((session, SAID, body))
        self._wake()

    def forget(self, session: bytes) -> None:
        """Take nothing more from a session, and let its node know."""
        self._outbox.append((session, GONE, b""))
        self._wake()

    def close(self) -> None:
        """Send what is left, and stop to listen."""
        self._ends = True
        self._wake()
        self._thread.join()
        self._authenticator.stop()
        self._context.destroy(linger=1000)
        self._wake.close()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wake.fileno(), zmq.POLLIN)
        judged = time.monotonic()
        while not self._ends:
            poller.poll(int(1000 * _JUDGED))
            self._wake.clear()
            self._send()
            all_heard = self._receive()
            now = time.monotonic()
            if all_heard and now - judged > _JUDGED:  # what waits to be read is no silence
                judged = now
                self._judge(now)
        self._send()
        self._router.close()

    def _send(self) -> None:
        while self._outbox:
            session, kind, body = self._outbox.popleft()
            if kind == GONE:
                self._heard.pop(session, None)
            self._router.send_multipart((session, kind, body))

    def _receive(self) -> bool:
        """Take what is there; whether that is all."""
        for _ in range(MOST_AT_ONCE):
            try:
                session, kind, *rest = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return True
            except ValueError:  # one of the keys' holder that means nothing
                continue
            body = rest[0] if rest else b""
            if session not in self._heard and kind != HELLO:
                self._router.send_multipart((session, GONE, b""))
                continue
            self._heard[session] = time.monotonic()
            if kind == BEAT:
                self._router.send_multipart((session, BEAT, body))
            else:
                self.inbox.put(Frame(session, body, is_first=kind == HELLO))
        return False

    def _judge(self, now: float) -> None:
        for session in [session for session, heard in self._heard.items() if now - heard > self._lost_after]:
            del self._heard[session]
            self.inbox.put(Frame(session, None, reason=f"silent for {self._lost_after:g} s"))


class Client:
    """A node's end, for one session.

    Args:
        address: Of the scheduler.
        hello: The first message.
        lease: Put off with every beat that the scheduler answers.
    """

    def __init__(self, address: Address, hello: bytes, lease: Lease) -> None:
        self._address, self._hello, self._lease = address, hello, lease
        self._beat = address.lost_after / BEATS
        self._inbox: deque[bytes] = deque()
        self._outbox: deque[bytes] = deque()
        self.wake, self._wake_thread = Wake(), Wake()
        self._ends = False
        self._is_leased = False  # whether a beat was answered
        self.is_open = False  # whether the scheduler has answered
        self.ended = ""  # why the session is over
        self._thread = threading.Thread(target=self._serve, name="convgrid-client", daemon=True)
        self._thread.start()

    def say(self, body: bytes) -> None:
        """Send a message, in the order of the calls. Returns at once."""
        self._outbox.append(body)
        self._wake_thread()

    def heard(self) -> Iterator[bytes]:
        """Take the messages that have come."""
        self.wake.clear()
        while self._inbox:
            yield self._inbox.popleft()

    def wait(self, timeout: float) -> None:
        """Wait for news.

        Args:
            timeout: Seconds after which there are none.
        """
        select.select([self.wake], [], [], timeout)

    def close(self) -> None:
        """Send what is left, and hang up."""
        self._ends = True
        self._wake_thread()
        self._thread.join()
        self.wake.close()
        self._wake_thread.close()

    def _serve(self) -> None:
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        dealer.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        dealer.setsockopt(zmq.RECONNECT_IVL, 3_600_000)  # never: that would be another session
        dealer.setsockopt(zmq.IPV6, self._address.at.startswith("tcp://["))
        dealer.setsockopt(zmq.CURVE_SERVERKEY, self._address.server.encode())
        dealer.setsockopt(zmq.CURVE_PUBLICKEY, self._address.public.encode())
        dealer.setsockopt(zmq.CURVE_SECRETKEY, self._address.secret.encode())
        poller = zmq.Poller()
        for each in (dealer, monitor, self._wake_thread.fileno()):
            poller.register(each, zmq.POLLIN)
        sent: dict[bytes, float] = {}
        try:
            began = due = clock()
            dealer.connect(self._address.at)
            dealer.send_multipart((HELLO, self._hello), zmq.NOBLOCK)
            number = 0
            while not self._ends and not self.ended:
                now = clock()
                if now >= due:
                    number += 1
                    sent[b"%d" % number] = now  # before it goes out: the scheduler hears it later, by any clock
                    dealer.send_multipart((BEAT, b"%d" % number), zmq.NOBLOCK)
                    due = now + self._beat
                ready = dict(poller.poll(int(1000 * max(0.0, min(due - clock(), 1.0))) + 1))
                self._wake_thread.clear()
                self._send(dealer)
                if monitor in ready:
                    self._look_at(recv_monitor_message(monitor)["event"])
                if ready:  # the last words of a connection that has ended are still there
                    self._receive(dealer, sent)
                if self._lease.left < 0 and (self._is_leased or clock() - began > self._address.lost_after):
                    self.ended = self.ended or "the scheduler does not answer"
            self._send(dealer)
        except zmq.Again:  # the connection is gone already, or full of what nobody takes
            self.ended = "the scheduler takes nothing more" if self.is_open else "nobody answers there"
        finally:
            dealer.disable_monitor()
            monitor.close(linger=0)
            context.destroy(linger=0 if self.ended else 2000)
            self.wake()

    def _send(self, dealer: zmq.Socket[bytes]) -> None:
        while self._outbox:
            dealer.send_multipart((SAID, self._outbox.popleft()), zmq.NOBLOCK)

    def _receive(self, dealer: zmq.Socket[bytes], sent: dict[bytes, float]) -> None:
        with suppress(zmq.Again):
            while True:
                kind, body = dealer.recv_multipart(zmq.NOBLOCK)
                self.is_open = True
                if kind == BEAT and body in sent:
                    if self._is_leased and self._lease.left < 0:  # workers may have ended by it: it stays over
                        return
                    self._lease.put_off(sent[body] + LEASE * self._address.lost_after)
                    self._is_leased = True
                    for older in [each for each in sent if int(each) <= int(body)]:
                        del sent[older]
                elif kind == GONE:
                    self.ended = "the scheduler had not heard of it for too long"
                elif kind == SAID:
                    self._inbox.append(body)
                    self.wake()

    def _look_at(self, event: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.ended = "the key is not the scheduler's"
        elif self.is_open:
            self.ended = "the connection is broken"
        else:
            self.ended = "nobody answers there"
