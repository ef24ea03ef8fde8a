"""Whole nodes: real supervisord, real processes, real UDP on loopback, killed for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from codexdht.client import Client
from codexdht.errors import ApiError, StartupError
from codexdht.identity import PrivateKey
from codexdht.node import Node, actor_pid, new_protocol

CID = "zDvZRwzm9AurSxw3hkfqX7eSpopgt5uHxGfGuWSJpEXHbxf3DKDi"
ACTORS = ["wire", "routing", "store", "api"]


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> object:
    """Return the first true answer of a condition; fail when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if result := condition():
                return result
        except ApiError:
            pass
        threading.Event().wait(0.01)
    raise AssertionError("it never happened")


def processes_of(node: Node) -> list[psutil.Process]:
    supervisor = psutil.Process(node.supervisor_pid)
    return [supervisor, *supervisor.children(recursive=True)]


def kill(node: Node, actor: str) -> int:
    pid = eventually(lambda: actor_pid(node.config.run_dir, actor))
    os.kill(pid, signal.SIGKILL)
    return pid


def test_what_one_node_publishes_another_finds(start_node: Callable[..., Node]) -> None:
    """The main job: a record published on one node is found from another, which holds no copy of it."""
    provider = start_node("a")
    record = provider.client.record()
    seeker = start_node("b", bootstrap=[record.uri])
    eventually(seeker.client.table)
    added = provider.add_provider(cid=CID)
    assert added.nodes == 1
    stored = eventually(lambda: seeker.client.get_providers_local(cid=CID).providers)
    assert [r.peer_id for r in stored] == [record.peer_id]
    seeker.remove_providers_local(record.peer_id)
    found = seeker.get_providers(cid=CID)
    assert [r.spr for r in found.providers] == [record.spr]
    assert seeker.resolve(peer_id=record.peer_id).spr == record.spr


def test_a_node_leaves_nothing_behind(folder: Path) -> None:
    """After close_wait there is no process, no socket and no lock; the data stays."""
    node = new_protocol(listen="/ip4/127.0.0.1/udp/0", data_dir=folder / "a")
    node.open()
    processes = processes_of(node)
    assert len(processes) == 5
    node.close_wait()
    assert not any(process.is_running() for process in processes)
    assert list(node.config.run_dir.iterdir()) == []
    assert node.config.key_file.is_file()
    assert node.exit_code == 0


def test_a_node_ends_when_its_owner_is_killed(folder: Path) -> None:
    """An owner that dies without a word leaves no process and no socket behind."""
    program = textwrap.dedent(f"""
        import codexdht, time
        node = codexdht.new_protocol(listen="/ip4/127.0.0.1/udp/0", data_dir={str(folder / "a")!r})
        node.open()
        print(node.supervisor_pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        supervisor = psutil.Process(int(owner.stdout.readline()))
        processes = [supervisor, *supervisor.children(recursive=True)]
        assert len(processes) == 5
        owner.kill()
    gone, alive = psutil.wait_procs(processes, timeout=15)
    assert len(gone) == 5
    assert alive == []
    assert list((folder / "a" / "run").glob("*.sock")) == []


def test_sigterm_saves_the_table_and_ends_every_process(start_node: Callable[..., Node]) -> None:
    """The store stops last, so that it gets the table: the node knows its neighbour when it runs again without any
    bootstrap node."""
    neighbour = start_node("a").client.record()
    node = start_node("b", bootstrap=neighbour)
    eventually(node.client.table)
    processes = processes_of(node)
    processes[0].send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert alive == []
    assert node.exit_code == 0
    again = start_node("b")
    table = eventually(again.client.table)
    assert [entry.record.node_id for entry in table] == [neighbour.node_id]


def test_the_actors_end_when_supervisord_is_killed(start_node: Callable[..., Node]) -> None:
    """Without its supervisor no actor lives on."""
    node = start_node("a")
    supervisor, *actors = processes_of(node)
    supervisor.kill()
    _, alive = psutil.wait_procs(actors, timeout=15)
    assert alive == []


def test_every_call_is_answered_while_each_process_is_killed_in_turn(start_node: Callable[..., Node]) -> None:
    """Under a running stream of calls each actor is killed with SIGKILL: every call gets its one answer or a timeout
    in time, service returns, and no record that was acknowledged is lost."""
    node = start_node("a")
    stored: list[bytes] = []
    answers: list[str] = []
    over = threading.Event()

    def stream() -> None:
        with Client(node.client.endpoint) as client:
            number = 0
            while not over.is_set():
                number += 1
                key = number.to_bytes(32, "big")
                started = time.monotonic()
                try:
                    client.add_provider(key, timeout=1.0)
                    stored.append(key)
                    answers.append("ok")
                except ApiError as error:
                    answers.append(error.code)
                assert time.monotonic() - started < 5.0

    thread = threading.Thread(target=stream)
    thread.start()
    for actor in ACTORS:
        before = len(stored)
        eventually(lambda before=before: len(stored) > before + 5)
        killed = kill(node, actor)
        eventually(
            lambda actor=actor, killed=killed: actor_pid(node.config.run_dir, actor) not in (None, killed)
        )
        before = len(stored)
        eventually(lambda before=before: len(stored) > before + 5)
    over.set()
    thread.join(10)
    assert not thread.is_alive()
    assert set(answers) <= {"ok", "timeout", "busy", "not_running"}
    assert [key for key in stored if not node.client.get_providers_local(key).providers] == []


def test_routing_knows_its_peers_again_after_it_was_killed(start_node: Callable[..., Node]) -> None:
    """Also on a node without bootstrap nodes that has not saved its table yet, as the first of a network is."""
    first = start_node("a")
    other = start_node("b", bootstrap=first.client.record())
    expected = [other.client.record().node_id]
    eventually(first.client.table)
    killed = kill(first, "routing")
    eventually(lambda: actor_pid(first.config.run_dir, "routing") not in (None, killed))
    eventually(lambda: [entry.record.node_id for entry in first.client.table()] == expected)


def test_all_processes_killed_at_once_come_back_to_work(start_node: Callable[..., Node]) -> None:
    """Records survive, and so does what the record's sequence number was."""
    node = start_node("a", node__autostart=True)
    record = node.client.record()
    node.add_provider(cid=CID)
    killed = {actor: kill(node, actor) for actor in ACTORS}
    for actor, pid in killed.items():
        eventually(lambda actor=actor, pid=pid: actor_pid(node.config.run_dir, actor) not in (None, pid))
    eventually(lambda: node.client.get_providers_local(cid=CID).providers)
    assert eventually(node.client.record).seq >= record.seq


def test_provider_records_survive_a_restart_of_the_node(folder: Path) -> None:
    """What was acknowledged is there when the node runs again, under the same key."""
    secret = PrivateKey(b"\x07" * 32)
    for run in range(2):
        node = new_protocol(secret.secret, "/ip4/127.0.0.1/udp/0", data_dir=folder / "a")
        try:
            node.open()
            if run == 0:
                node.start()
                node.add_provider(cid=CID)
                seq = node.client.record().seq
            else:
                (found,) = node.client.get_providers_local(cid=CID).providers
                assert found.node_id == node.client.record().node_id
                assert node.client.record().seq >= seq
        finally:
            node.close_wait()


def test_a_second_node_on_one_data_directory_is_refused(start_node: Callable[..., Node]) -> None:
    """The message says which directory, and what to do."""
    node = start_node("a")
    with pytest.raises(StartupError, match=r"a node runs on .*/a already; `codexdht down` stops it"):
        new_protocol(listen="/ip4/127.0.0.1/udp/0", data_dir=node.config.data_dir)


def test_another_key_does_not_replace_the_one_there(folder: Path) -> None:
    """A private key that differs from the key file is refused before anything starts."""
    (folder / "a").mkdir()
    (folder / "a" / "key").write_text("01" * 32)
    with pytest.raises(StartupError, match="holds another key already"):
        new_protocol(b"\x02" * 32, "/ip4/127.0.0.1/udp/0", data_dir=folder / "a")


def shout(node_id: bytes, address: tuple[str, int], request: bytes) -> bytes:
    """A TALK handler of the test below; loaded by name in the wire's process."""
    return request.upper() + b" from port %d" % address[1]


def test_talk_requests_reach_their_handler(
    start_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configured handler answers its protocol; a protocol without one gets an empty response."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    server = start_node("a", talk__handlers={"shout": "test_node:shout"})
    record = server.client.record()
    client = start_node("b", bootstrap=[record.uri])
    port = client.client.record().addresses[0].rpartition("/")[2]
    assert client.client.talk(record, "shout", b"hello") == f"HELLO from port {port}".encode()
    assert client.client.talk(record, "nobody", b"hello") == b""


def test_a_node_finds_itself_only_if_asked(start_node: Callable[..., Node]) -> None:
    """The node's own record is left out of what it finds, unless the user wants it."""
    node = start_node("a")
    node.add_provider(cid=CID)
    assert node.get_providers(cid=CID).providers == []
    assert [r.spr for r in node.get_providers(cid=CID, own=True).providers] == [node.client.record().spr]
