"""Several wire processes on one UDP port, under real supervisord, with real peers on loopback."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codexdht.actors.place import owner
from codexdht.actors.udp import bind_udp
from codexdht.errors import ApiError, StartupError
from codexdht.identity import PrivateKey
from codexdht.messages.discv5 import Kind, encode_ping
from codexdht.messages.internal import Actor, Call, CallAnswer, LocalRecords, Open
from codexdht.node import Node, actor_pid, new_protocol
from codexdht.records import Endpoint, decode_record, record_from_uri, record_to_uri
from codexdht.wire.local import LocalState
from codexdht.wire.machine import WireMachine
from codexdht.wire.settings import WireSettings

PROCESSES = 2
PEERS = 12


class Peer:
    """A wire machine with a UDP socket of its own, driven by hand."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.socket = bind_udp(("127.0.0.1", 0))
        address = self.socket.getsockname()
        settings = WireSettings(listen=[f"/ip4/127.0.0.1/udp/{address[1]}"])
        self.machine = WireMachine(PrivateKey.generate(chance), LocalState(), settings, chance)
        now = time.monotonic()
        self.machine.boot(now)
        self.machine.handle(Open(Actor.API, 1, now + 5), now)
        self.machine.socket_bound([address], now)
        self.record = self._sent(LocalRecords)[-1].record
        self.number = owner(*address, PROCESSES)

    def _sent(self, kind: type) -> list:
        return [m for _, messages in self.machine.outbox.take() for m in messages if isinstance(m, kind)]

    def turn(self, seconds: float) -> None:
        """Send what is to be sent and take what comes within so many seconds."""
        for datagram in self.machine.datagrams:
            self.socket.sendto(*datagram)
        self.machine.datagrams.clear()
        if select.select([self.socket], [], [], seconds)[0]:
            data, address = self.socket.recvfrom(2048)
            self.machine.receive_datagram(data, address, time.monotonic())
        self.machine.tick(time.monotonic())

    def ping(self, record: bytes, address: Endpoint) -> bool:
        """Ping a node; tell whether it answered within the second that a call has."""
        target, now = decode_record(record), time.monotonic()
        call = Call(1, now + 1, target.node_id, target.public_key, *address, Kind.PING, encode_ping(1))
        self.machine.handle(call, now)
        while self.machine.deadline() is not None:
            self.turn(0.05)
            if self._sent(CallAnswer):
                return True
        return False


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    """Peers of which each process of the node owns some."""
    made = [Peer(seed) for seed in range(PEERS)]
    while len({peer.number for peer in made}) < PROCESSES:
        made.append(Peer(len(made)))
    yield made
    for peer in made:
        peer.socket.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node of two wire processes, the same for all tests: each leaves it started."""
    folder = Path(tempfile.mkdtemp(prefix="cdx-"))
    settings = {"wire.processes": PROCESSES}
    with new_protocol(listen="/ip4/127.0.0.1/udp/0", data_dir=folder / "a", settings=settings) as made:
        made.open()
        made.start()
        yield made
    shutil.rmtree(folder)


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> object:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if result := condition():
                return result
        except ApiError:
            pass
        threading.Event().wait(0.01)
    raise AssertionError("it never happened")


def endpoint_of(node: Node) -> tuple[bytes, Endpoint]:
    record = record_from_uri(node.client.record().uri)
    assert record.endpoint is not None
    return record.encoded, record.endpoint


def counted(node: Node, name: str) -> list[int]:
    actors = node.client.stats(timeout=2.0).actors
    return [actors[process].counters.get(name, 0) for process in ("wire", "wire-1")]


def ping_all(peers: list[Peer], node: Node) -> bool:
    record, address = endpoint_of(node)
    return all(peer.ping(record, address) for peer in peers)


def test_every_packet_of_a_peer_reaches_the_process_that_owns_it(node: Node, peers: list[Peer]) -> None:
    """Each process makes the sessions of its own peers, and reads all of their packets with them."""
    shares = [sum(peer.number == number for peer in peers) for number in range(PROCESSES)]
    before = counted(node, "served_ping")
    eventually(lambda: ping_all(peers, node))
    assert ping_all(peers, node), "not every ping was answered"
    assert [b - a for a, b in zip(before, counted(node, "served_ping"), strict=True)] == [
        2 * n for n in shares
    ]
    assert counted(node, "handshakes_accepted") == shares
    assert counted(node, "undecryptable") == [0, 0]


def test_calls_to_a_peer_leave_from_the_process_that_owns_it(node: Node, peers: list[Peer]) -> None:
    """What the node asks a peer goes out where the answer will come in."""
    with ThreadPoolExecutor(1) as user:
        for peer in peers:
            pong = user.submit(node.client.ping, record_to_uri(peer.record), timeout=5.0)
            while not pong.done():
                peer.turn(0.02)
            assert pong.result().rtt < 1


@pytest.mark.parametrize("victim", ["wire", "wire-1"])
def test_a_killed_process_takes_its_place_again(node: Node, peers: list[Peer], victim: str) -> None:
    """The port stays, the other process does not notice, and the new one serves the peers of the old."""
    eventually(lambda: ping_all(peers, node))
    address = endpoint_of(node)[1]
    pid = actor_pid(node.config.run_dir, victim)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    other = [peer for peer in peers if (peer.number == 1) != (victim == "wire-1")]
    assert ping_all(other, node), "the other process has noticed"
    eventually(lambda: actor_pid(node.config.run_dir, victim) not in (None, pid))
    eventually(lambda: ping_all(peers, node))
    assert endpoint_of(node)[1] == address


def test_all_killed_at_once_come_back(node: Node, peers: list[Peer]) -> None:
    """When no process holds the sockets any more, the first binds them anew."""
    for name in ("wire", "wire-1"):
        os.kill(actor_pid(node.config.run_dir, name) or 0, signal.SIGKILL)
    eventually(lambda: ping_all(peers, node))


def is_free(address: Endpoint) -> bool:
    try:
        bind_udp(address).close()
    except StartupError:
        return False
    return True


def test_closing_gives_the_port_back(node: Node) -> None:
    """After closeWait nobody holds a socket of the port, in whichever process; open binds it again."""
    address = endpoint_of(node)[1]
    node.client.close_wait(timeout=5.0)
    eventually(lambda: is_free(address))
    node.open()
    node.start()
    assert not is_free(endpoint_of(node)[1])


def test_another_nodes_port_is_not_shared(node: Node, start_node: Callable[..., Node]) -> None:
    """SO_REUSEPORT would let two nodes of one user share a port: the second is refused."""
    host, port = endpoint_of(node)[1]
    with pytest.raises(ApiError, match="in use"):
        start_node("b", wire__processes=PROCESSES, network__listen=f"/ip4/{host}/udp/{port}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as single, pytest.raises(OSError, match="in use"):
        single.bind((host, port))


def test_they_end_in_order(start_node: Callable[..., Node]) -> None:
    """SIGTERM to supervisord ends all of them at work, and none of them by a crash."""
    node = start_node("b", wire__processes=PROCESSES)
    os.kill(node.supervisor_pid, signal.SIGTERM)
    eventually(lambda: node.exit_code is not None)
    logs = [path.read_text() for path in sorted((node.config.data_dir / "logs").glob("wire*"))]
    assert [("stopped" in log, "crashed" in log) for log in logs] == [(True, False)] * PROCESSES
