"""One reply to every request, in time, under a clock that the test holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from codexdht.api.machine import ApiMachine
from codexdht.api.settings import ApiSettings
from codexdht.entropy import seeded
from codexdht.messages import internal
from codexdht.messages.internal import Actor, Done, Hello
from codexdht.testing.scripted_node import SILENT

MakeBench = Callable[..., Any]
ID = bytes(32)


def silent(*kinds: type[Any]) -> dict[type[Any], Callable[[Any], Any]]:
    return {kind: lambda _: SILENT for kind in kinds}


@pytest.mark.parametrize(
    ("timeout", "waits"), [(None, 0.98), (1, 0.98), (60, 59.98), (0.02, 0.015), (0.001, 0.00075)]
)
def test_timeout_comes_shortly_before_the_end(bench: MakeBench, timeout: float | None, waits: float) -> None:
    """A request that nobody answers is answered `timeout`: not before its time, and not after it."""
    node = bench(silent(internal.Lookup))
    assert node.ask("lookup", timeout=timeout, id=ID) is None
    assert node.machine.deadline() == pytest.approx(node.now + waits)
    node.pass_time(waits * 0.99)
    assert node.codes() == []
    node.pass_time(waits * 0.0101)
    assert node.codes() == ["timeout"]
    assert node.machine.deadline() is None


def test_the_default_is_no_longer_than_the_longest(bench: MakeBench) -> None:
    """A request that names no time gets one that may be asked for, whatever the two settings say."""
    node = bench(silent(internal.Lookup), settings=ApiSettings(default_timeout=5.0, max_timeout=2.0))
    node.send("lookup", id=ID)
    node.pass_time(2.0)
    assert node.codes() == ["timeout"]


def test_actors_have_less_time_than_the_reply(bench: MakeBench) -> None:
    """An actor's deadline leaves time for its answer to arrive."""
    node = bench(silent(internal.FindProviders))
    node.send("getProviders", id=ID)
    asked = node.actors.seen[-1]
    assert node.now < asked.deadline < node.machine.deadline() < node.now + 1.0


def test_a_late_answer_is_dropped(bench: MakeBench) -> None:
    """An answer after the timeout makes no second reply."""
    node = bench(silent(internal.Lookup))
    node.send("lookup", id=ID)
    asked = node.actors.seen[-1]
    node.pass_time(1.0)
    node.machine.handle(Done(asked.request, {"nodes": [], "complete": True}), node.now)
    assert node.codes() == ["timeout"]
    assert node.machine.counters["late_answer"] == 1


def test_an_answer_to_an_earlier_process_fits_nothing(bench: MakeBench) -> None:
    """Numbers of requests do not start at the same place in every process: the first one's answer is not another's."""
    numbers = set()
    for process in ("earlier", "later"):
        machine = ApiMachine(ApiSettings(), autostart=False, entropy=seeded(process))
        request = {"method": "getProvidersLocal", "params": {"id": ID}}
        machine.receive_request((b"",), [msgspec.msgpack.encode(request)], 0.0)
        [(_, [asked])] = machine.outbox.take()
        numbers.add(asked.request)
    assert len(numbers) == 2


def test_a_restarted_actor_is_asked_again(bench: MakeBench) -> None:
    """What an actor owed when it died is sent again to its next process, behind the life of the node, and only that."""
    node = bench(silent(internal.Lookup, internal.GetProviders))
    node.send("lookup", id=ID)
    node.send("getProvidersLocal", id=ID)
    node.actors.script[internal.Lookup] = lambda _: {"nodes": [], "complete": True}
    node.machine.handle(Hello(Actor.ROUTING), node.now)
    node.actors.settle(node.now)
    assert node.codes() == ["ok"]
    assert node.actors.seen[-2] == internal.NodeLife(Actor.API, internal.Life.STARTED)
    assert sum(isinstance(message, internal.GetProviders) for message in node.actors.seen) == 1


def test_a_slow_request_holds_nobody_up(bench: MakeBench) -> None:
    """Replies come in the order in which requests are done."""
    node = bench(silent(internal.Lookup))
    node.send("lookup", timeout=10.0, id=ID)
    assert node.ask("record")["ok"]
    assert node.ask("getProvidersLocal", id=ID)["ok"]
    node.pass_time(10.0)
    assert node.codes() == ["timeout"]


def test_busy_at_the_limit_of_requests(bench: MakeBench) -> None:
    """One request too many is `busy` at once; there is room again when another is answered."""
    node = bench(silent(internal.Lookup), settings=ApiSettings(max_pending=3))
    for _ in range(4):
        node.send("lookup", id=ID)
    assert node.codes() == ["busy"]
    node.pass_time(1.0)
    assert node.codes() == ["timeout"] * 3
    assert node.ask("record")["ok"]


def test_busy_at_the_limit_of_bytes(bench: MakeBench) -> None:
    """Waiting requests are bounded in size, too."""
    node = bench(silent(internal.Withdraw), settings=ApiSettings(max_pending_bytes=64 * 1024))
    for _ in range(2):
        node.send("withdraw", keys=[{"id": ID}] * 1000)
    assert node.codes() == ["busy"]
    node.pass_time(1.0)
    node.send("withdraw", keys=[{"id": ID}] * 1000)
    node.pass_time(1.0)
    assert node.codes() == ["timeout"] * 2


def test_addresses_count_as_well(bench: MakeBench) -> None:
    """What is kept to send the reply back is bounded as the request is."""
    node = bench(silent(internal.Lookup), settings=ApiSettings(max_pending_bytes=64 * 1024))
    request = msgspec.msgpack.encode({"method": "lookup", "params": {"id": ID}})
    for _ in range(20):
        node.machine.receive_request((b"id", bytes(4000), b""), [request], node.now)
    codes = [msgspec.msgpack.decode(reply)["error"]["code"] for _, reply in node.machine.replies]
    assert codes == ["busy"] * 4


def test_an_address_of_any_size_gets_its_reply(bench: MakeBench) -> None:
    """One that no broker makes is `bad_request` at once, and comes back with it."""
    node = bench(silent(internal.Lookup))
    envelope = (b"id", bytes(20_000_000), b"")
    request = msgspec.msgpack.encode({"method": "lookup", "params": {"id": ID}})
    node.machine.receive_request(envelope, [request], node.now)
    [(given, reply)] = node.machine.replies
    assert given == envelope
    assert msgspec.msgpack.decode(reply)["error"]["code"] == "bad_request"
    assert node.machine.is_idle()


def test_a_long_run_of_answered_requests_leaves_nothing(bench: MakeBench) -> None:
    """Deadlines of answered requests do not pile up until their time comes."""
    node = bench()
    for _ in range(2000):
        node.send("getProvidersLocal", timeout=60, id=ID)
    assert node.codes() == ["ok"] * 2000
    assert len(node.machine._pending._heap) < 100


@pytest.mark.parametrize(
    "envelope", [(b"id", b""), (b"id", b"\0\0\0\1", b""), (b"id",), (b"a", b"b", b"c", b"")]
)
def test_the_envelope_comes_back(bench: MakeBench, envelope: tuple[bytes, ...]) -> None:
    """Plain REQ, REQ with REQ_CORRELATE, a bare DEALER, and requests through brokers all get their frames back."""
    node = bench()
    node.machine.receive_request(envelope, [msgspec.msgpack.encode({"method": "record"})], node.now)
    node.machine.receive_request(envelope, [b""], node.now)
    assert [given for given, _ in node.machine.replies] == [envelope, envelope]


def test_stopping_answers_what_waits_and_takes_nothing_new(bench: MakeBench) -> None:
    """After SIGTERM new requests are refused, waiting ones end, and then the machine is idle."""
    node = bench(silent(internal.Lookup))
    node.send("lookup", id=ID)
    node.machine.stop(node.now)
    assert node.ask("record")["error"]["code"] == "not_running"
    assert not node.machine.is_idle()
    node.pass_time(1.0)
    assert node.codes() == ["timeout"]
    assert node.machine.is_idle()


def test_stopping_answers_every_request_in_time(bench: MakeBench) -> None:
    """However much time they have left, the waiting requests are answered before the process ends: with what has been
    found, else with `not_running`, once each."""
    node = bench(silent(internal.Lookup, internal.Publish, internal.Close))
    for method, params in (("lookup", {"id": ID}), ("addProvider", {"id": ID}), ("closeWait", {})):
        node.send(method, timeout=60, **params)
    node.pass_time(1.0)
    node.machine.stop(node.now)
    node.pass_time(1.9)
    assert node.codes() == []
    node.pass_time(0.1)
    lookup, added, closed = node.take()
    assert added == {"ok": True, "result": {"nodes": 0, "complete": False}}
    for reply in (lookup, closed):
        assert reply["error"] == {"code": "not_running", "message": "the node is shutting down"}
    assert node.machine.is_idle()
    node.pass_time(60.0)
    assert node.codes() == []


def test_errors_are_counted(bench: MakeBench) -> None:
    """Every code has a counter."""
    node = bench()
    node.send("nope")
    node.send_raw(b"")
    assert node.machine.counters["error_unknown_method"] == 1
    assert node.machine.counters["error_bad_request"] == 1
    assert node.machine.counters["requests"] == 2
