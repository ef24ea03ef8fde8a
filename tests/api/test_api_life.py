"""The life of the node: who decides it, in which order, and what happens when actors die meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from codexdht.messages import internal
from codexdht.messages.internal import (
    Actor,
    Close,
    Done,
    Failed,
    Hello,
    Life,
    LocalRecords,
    NodeLife,
    Open,
    Start,
)
from codexdht.testing.scripted_node import OWN, SILENT

MakeBench = Callable[..., Any]
ID = bytes(32)


def asked(node: Any, *kinds: type[Any]) -> list[type[Any]]:
    return [type(message) for message in node.actors.seen if isinstance(message, kinds)]


def told(node: Any) -> Life:
    """The life that everybody was told last."""
    return Life([m.life for m in node.actors.seen if isinstance(m, NodeLife)][-1])


def test_open_start_close(bench: MakeBench) -> None:
    """The three calls lead through the three states; everybody is told."""
    node = bench(life=Life.CLOSED)
    for method, life in (("open", Life.OPEN), ("start", Life.STARTED), ("closeWait", Life.CLOSED)):
        assert node.ask(method) == {"ok": True, "result": None}
        assert told(node) is life


def test_open_and_start_are_idempotent(bench: MakeBench) -> None:
    """What is so already is answered at once, without asking anybody."""
    node = bench(life=Life.STARTED)
    assert node.ask("open")["ok"]
    assert node.ask("start")["ok"]
    assert asked(node, Open, Start) == []


def test_start_before_open(bench: MakeBench) -> None:
    """`start` on a closed node is `not_running`."""
    assert bench(life=Life.CLOSED).ask("start")["error"]["code"] == "not_running"


def test_closing_flushes_the_store_last(bench: MakeBench) -> None:
    """Routing saves its table through the store, so the store comes last; only then is the reply sent."""
    node = bench({Close: lambda _: SILENT})
    node.send("closeWait", timeout=5)
    for actor in (Actor.ROUTING, Actor.WIRE, Actor.STORE):
        assert node.codes() == []
        owner = node.machine._life._sent
        assert owner[0] is actor
        node.machine.handle(Done(owner[1].request, None), node.now)
        node.actors.settle(node.now)
    assert node.codes() == ["ok"]
    assert told(node) is Life.CLOSED


def test_a_failed_flush_is_told_but_closes_all_the_same(bench: MakeBench) -> None:
    """An error while closing does not leave the node half open."""
    node = bench({Close: lambda m: Failed(0, "storage_full", "disk full")})
    assert node.ask("closeWait")["error"]["code"] == "storage_full"
    assert told(node) is Life.CLOSED


def test_the_first_error_of_a_close_is_told(bench: MakeBench) -> None:
    """What went wrong first is what the others may follow from."""
    texts = iter(["first", "second", "third"])
    node = bench({Close: lambda m: Failed(0, "internal", next(texts))})
    assert node.ask("closeWait")["error"]["message"] == "first"


def test_who_asks_for_the_same_waits_for_the_same(bench: MakeBench) -> None:
    """Two users who close the node at once have it closed once."""
    node = bench({Close: lambda _: SILENT})
    node.send("closeWait", timeout=5)
    node.send("closeWait", timeout=5)
    for _ in range(3):
        node.machine.handle(Done(node.machine._life._sent[1].request, None), node.now)
        node.actors.settle(node.now)
    assert node.codes() == ["ok", "ok"]
    assert asked(node, Close) == [Close] * 3


def test_everybody_who_asks_gets_an_answer(bench: MakeBench) -> None:
    """Several users may ask for the same, or for opposite things; operations run one after the other."""
    node = bench({Open: lambda _: SILENT}, life=Life.CLOSED)
    for method in ("open", "open", "start", "closeWait"):
        node.send(method, timeout=5)
    assert asked(node, Open) == [Open]
    node.machine.handle(Done(node.actors.seen[-1].request, OWN.encoded), node.now)
    node.actors.settle(node.now)
    assert node.codes() == ["ok"] * 4
    assert told(node) is Life.CLOSED


def test_a_port_that_is_taken(bench: MakeBench) -> None:
    """The reason why a socket cannot be bound reaches the user, and `open` may be tried again."""
    node = bench({Open: lambda _: Failed(0, "internal", "udp port 8090 is taken")}, life=Life.CLOSED)
    assert node.ask("open")["error"] == {"code": "internal", "message": "udp port 8090 is taken"}
    assert node.machine.deadline() is None, "what a user asked for is not tried again by itself"
    node.actors.script[Open] = lambda _: OWN.encoded
    assert node.ask("open")["ok"]


def test_an_operation_outlives_its_timeout(bench: MakeBench) -> None:
    """The user hears `timeout`; the work goes on, and its end takes effect."""
    node = bench({Open: lambda _: SILENT}, life=Life.CLOSED)
    node.send("open")
    opening = node.actors.seen[-1]
    node.pass_time(1.0)
    assert node.codes() == ["timeout"]
    node.machine.handle(Done(opening.request, OWN.encoded), node.now)
    node.actors.settle(node.now)
    assert node.codes() == []
    assert told(node) is Life.OPEN


def test_a_step_that_nobody_answers_ends(bench: MakeBench) -> None:
    """A dead wire does not block later operations for ever."""
    node = bench({Open: lambda _: SILENT}, life=Life.CLOSED)
    node.send("open", timeout=60)
    node.pass_time(10.0)
    assert node.codes() == ["timeout"]
    node.actors.script[Open] = lambda _: OWN.encoded
    assert node.ask("open")["ok"]


def test_a_wire_that_dies_while_opening_is_asked_again(bench: MakeBench) -> None:
    """The step is repeated to the new process, after it was told the life."""
    node = bench({Open: lambda _: SILENT}, life=Life.CLOSED)
    node.send("open", timeout=5)
    node.actors.script[Open] = lambda _: OWN.encoded
    node.machine.handle(Hello(Actor.WIRE), node.now)
    node.actors.settle(node.now)
    assert node.codes() == ["ok"]


# Beginnings ---------------------------------------------------------------------------------------------------


def newborn(bench: MakeBench, autostart: bool, **options: Any) -> Any:
    """A node in which no actor knows anything."""
    return bench(life=Life.UNKNOWN, autostart=autostart, **options)


def test_autostart(bench: MakeBench) -> None:
    """Where nobody knows better, a node that starts by itself opens and starts."""
    node = newborn(bench, autostart=True)
    assert told(node) is Life.STARTED
    assert asked(node, Open, Start) == [Open, Start]


def test_without_autostart(bench: MakeBench) -> None:
    """Where nobody knows better and the user decides, the node is closed."""
    node = newborn(bench, autostart=False)
    assert told(node) is Life.CLOSED
    assert node.ask("start")["error"]["code"] == "not_running"


def test_autostart_waits_for_the_wire_and_routing(bench: MakeBench) -> None:
    """One newborn actor is no proof: the other may know. A Hello counts as not knowing."""
    node = bench(autostart=True, boot=False)
    node.machine.handle(Hello(Actor.WIRE), node.now)
    node.actors.settle(node.now)
    assert asked(node, Open) == []
    node.machine.handle(NodeLife(Actor.ROUTING, Life.STARTED), node.now)
    node.actors.settle(node.now)
    assert asked(node, Open) == []
    assert told(node) is Life.STARTED


@pytest.mark.parametrize("life", [Life.CLOSED, Life.OPEN, Life.STARTED])
def test_a_restarted_front_adopts_what_the_others_know(bench: MakeBench, life: Life) -> None:
    """A restart of this process changes nothing, whatever autostart says."""
    node = bench(life=life, autostart=True)
    assert told(node) is life
    assert asked(node, Open, Start, Close) == []


def test_nobody_else_changes_a_life_that_is_known(bench: MakeBench) -> None:
    """An actor that believes something else, as after a restart between two messages, is not followed."""
    node = bench(life=Life.STARTED)
    node.machine.handle(NodeLife(Actor.STORE, Life.CLOSED), node.now)
    node.actors.settle(node.now)
    assert told(node) is Life.STARTED
    assert node.ask("getProviders", id=ID)["ok"]


def test_autostart_tries_again(bench: MakeBench) -> None:
    """A port that is free again later is taken then."""
    node = newborn(bench, autostart=True, script={Open: lambda _: Failed(0, "internal", "taken")})
    assert told(node) is Life.CLOSED
    node.actors.script[Open] = lambda _: OWN.encoded
    assert node.machine.deadline() == pytest.approx(node.now + 5.0)
    node.pass_time(5.0)
    assert told(node) is Life.STARTED


def test_close_ends_the_tries(bench: MakeBench) -> None:
    """A user who closes the node means it."""
    node = newborn(bench, autostart=True, script={Open: lambda _: Failed(0, "internal", "taken")})
    assert node.ask("closeWait")["ok"]
    assert node.machine.deadline() is None


@pytest.mark.parametrize("asked_while_opening", [False, True])
def test_no_try_falls_into_a_close(bench: MakeBench, asked_while_opening: bool) -> None:
    """A node that has acknowledged a close stays closed, however long that took, also if the try before it fails while
    the close is waiting for it."""
    script = {Open: lambda _: SILENT if asked_while_opening else Failed(0, "internal", "taken")}
    node = newborn(bench, autostart=True, script=script | {Close: lambda _: SILENT})
    node.send("closeWait", timeout=60)
    if asked_while_opening:
        node.machine.handle(Failed(node.machine._life._sent[1].request, "internal", "taken"), node.now)
    node.actors.script[Open] = lambda _: OWN.encoded
    for _ in range(3):
        node.pass_time(5.0)
        node.machine.handle(Done(node.machine._life._sent[1].request, None), node.now)
        node.actors.settle(node.now)
    assert node.codes() == ["ok"]
    assert node.machine.deadline() is None
    assert told(node) is Life.CLOSED


def test_a_restarted_actor_is_told_the_life(bench: MakeBench) -> None:
    """An actor that says Hello hears what the node is doing."""
    node = bench(life=Life.STARTED)
    node.machine.handle(Hello(Actor.STORE), node.now)
    [(actor, messages)] = node.machine.outbox.take()
    assert (actor, messages) == (Actor.STORE, [NodeLife(Actor.API, Life.STARTED)])


def test_requests_wait_for_a_life_that_is_not_known_yet(bench: MakeBench) -> None:
    """In the first milliseconds of a process requests wait, and are then served."""
    node = bench(boot=False)
    for method, params in (
        ("getProviders", {"id": ID}),
        ("open", {}),
        ("record", {}),
        ("addProvider", {"id": ID}),
    ):
        node.send(method, **params)
    assert node.codes() == []
    node.machine.handle(NodeLife(Actor.WIRE, Life.STARTED), node.now)
    node.actors.settle(node.now)
    assert node.codes() == ["ok", "ok"]
    node.machine.handle(LocalRecords(OWN.encoded, b""), node.now)
    node.actors.settle(node.now)
    assert node.codes() == ["ok", "ok"]


def test_waiting_requests_time_out(bench: MakeBench) -> None:
    """Where no actor ever speaks, each request still gets its reply in time."""
    node = bench(boot=False)
    for method in ("open", "record", "closeWait"):
        node.send(method)
    node.send("getProviders", id=ID)
    node.pass_time(1.0)
    assert node.codes() == ["timeout"] * 4
    assert node.machine.is_idle()
    assert node.machine._counts()["gauges"]["parked"] == 0


def test_waiting_for_the_records_says_so(bench: MakeBench) -> None:
    """Who waits in vain for what only the wire can tell hears that actors are still starting."""
    node = bench(boot=False)
    node.machine.handle(NodeLife(Actor.ROUTING, Life.STARTED), node.now)
    node.send("record")
    node.pass_time(1.0)
    assert "still starting" in node.take()[0]["error"]["message"]


def test_requests_wait_while_the_node_is_opening(bench: MakeBench) -> None:
    """A call during the start of a node is served, not refused."""
    node = newborn(bench, autostart=True, script={Open: lambda _: SILENT})
    [opening] = [message for message in node.actors.seen if isinstance(message, Open)]
    node.send("getProviders", id=ID)
    assert node.codes() == []
    node.machine.handle(Done(opening.request, OWN.encoded), node.now)
    node.actors.settle(node.now)
    assert node.codes() == ["ok"]


def test_no_record_yet(bench: MakeBench) -> None:
    """Before the first `open` there may be no record: a clear `not_running`."""
    node = bench(life=Life.CLOSED)
    node.machine.handle(LocalRecords(b"", b""), node.now)
    assert node.ask("record")["error"]["code"] == "not_running"


def test_messages_for_others_are_counted(bench: MakeBench) -> None:
    """A message that no API actor should get is counted, and does nothing."""
    node = bench()
    node.machine.handle(internal.CallSent(1), node.now)
    assert node.machine.counters["unexpected_message"] == 1


def test_answers_stats_of_others(bench: MakeBench) -> None:
    """The API actor answers Stats as every actor does."""
    node = bench()
    node.machine.handle(internal.Stats(Actor.WIRE, 5, node.now + 1), node.now)
    [(actor, [done])] = node.machine.outbox.take()
    assert (actor, done.request) == (Actor.WIRE, 5)
    assert sorted(done.value) == ["counters", "gauges"]
