"""Every method: what it asks of whom, and what users get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from codexdht.identity import PrivateKey, node_id_of_cid, node_id_of_eth_address, peer_id_bytes
from codexdht.messages import internal
from codexdht.messages.internal import Failed, Life
from codexdht.records import parse_address, sign_record
from codexdht.testing.scripted_node import OWN, PEERS, SILENT, record_of

CID = "zDvZRwzm9AurSxw3hkfqX7eSpopgt5uHxGfGuWSJpEXHbxf3DKDi"
ADDRESS = "0x" + "ab" * 20
ID = bytes(range(32))
MakeBench = Callable[..., Any]


def result(reply: Any) -> Any:
    assert reply["ok"], reply
    return reply["result"]


def last(bench: Any, kind: type[Any]) -> Any:
    return [message for message in bench.actors.seen if isinstance(message, kind)][-1]


def test_record_is_answered_from_local_state(bench: MakeBench) -> None:
    """`record` has all fields of a record map, and asks no actor."""
    node = bench()
    seen = len(node.actors.seen)
    record = result(node.ask("record"))
    assert record == {
        "spr": OWN.encoded,
        "uri": OWN.uri,
        "peerId": OWN.peer_id,
        "nodeId": OWN.node_id,
        "seq": OWN.seq,
        "addresses": ["/ip4/127.0.0.1/udp/9000"],
    }
    assert len(node.actors.seen) == seen


def test_no_provider_record_is_null(bench: MakeBench) -> None:
    """A provider record that was never set is null, not an error."""
    assert result(bench().ask("record", kind="provider")) is None


def test_update_record_by_addresses_and_by_spr(bench: MakeBench) -> None:
    """`updateRecord` hands addresses or the record to the wire, and returns what that made of it."""
    node = bench()
    assert (
        result(node.ask("updateRecord", addresses=["/ip4/1.2.3.4/tcp/8070"], kind="provider"))["seq"]
        > OWN.seq
    )
    asked = last(node, internal.UpdateRecord)
    assert (asked.provider, asked.record, asked.addresses) == (
        True,
        b"",
        [parse_address("/ip4/1.2.3.4/tcp/8070")],
    )
    newer = record_of(0, seq=1_800_000_000)
    assert result(node.ask("updateRecord", spr=newer.uri))["spr"] == newer.encoded
    assert last(node, internal.UpdateRecord).provider is False


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"key": {"id": ID}}, ID),
        ({"key": {"id": ID.hex()}}, ID),
        ({"key": "0x" + ID.hex()}, ID),
        ({"id": ID.hex()}, ID),
        ({"key": {"cid": CID}}, node_id_of_cid(CID)),
        ({"cid": CID}, node_id_of_cid(CID)),
        ({"key": {"address": ADDRESS}}, node_id_of_eth_address(ADDRESS)),
        ({"address": bytes.fromhex(ADDRESS[2:])}, node_id_of_eth_address(ADDRESS)),
    ],
)
def test_every_form_of_a_key(bench: MakeBench, params: dict[str, Any], expected: bytes) -> None:
    """A key may be an id, a CID or an Ethereum address, as text or bytes, wrapped in `key` or not."""
    node = bench()
    result(node.ask("lookup", **params))
    assert last(node, internal.Lookup).target == expected


def test_add_provider_stores_and_publishes(bench: MakeBench) -> None:
    """`addProvider` stores the DHT record where no provider record exists, and has routing publish our own record as it
    is by then."""
    node = bench()
    assert result(node.ask("addProvider", cid=CID)) == {"nodes": 4, "complete": True}
    for kind, record in ((internal.PutProvider, OWN.encoded), (internal.Publish, b"")):
        assert (last(node, kind).keys, last(node, kind).record) == ([node_id_of_cid(CID)], record)


def test_add_provider_takes_another_record(bench: MakeBench) -> None:
    """A given record is published in place of the node's own."""
    node = bench()
    result(node.ask("addProvider", cid=CID, spr=PEERS[0].encoded))
    assert last(node, internal.Publish).record == PEERS[0].encoded


def test_the_provider_record_comes_first(bench: MakeBench) -> None:
    """`addProvider` publishes the provider record as soon as there is one."""
    node = bench()
    node.machine.handle(internal.LocalRecords(OWN.encoded, PEERS[1].encoded), node.now)
    result(node.ask("addProvider", cid=CID))
    assert last(node, internal.PutProvider).record == PEERS[1].encoded


def test_add_providers_counts_for_each_key(bench: MakeBench) -> None:
    """`addProviders` sends all keys at once and tells the nodes of each."""
    node = bench()
    reply = result(node.ask("addProviders", keys=[{"cid": CID}, {"id": ID}]))
    assert reply == {"nodes": 8, "perKey": [4, 4], "complete": True}
    assert last(node, internal.Publish).keys == [node_id_of_cid(CID), ID]


@pytest.mark.parametrize("answer", [SILENT, Failed(0, "not_running", "not started"), Failed(0, "busy", "")])
def test_what_is_stored_but_not_published_is_incomplete(bench: MakeBench, answer: object) -> None:
    """Stored here and not sent is a success with `complete` false."""
    node = bench({internal.Publish: lambda _: answer})
    reply = node.ask("addProvider", cid=CID)
    if reply is None:
        node.pass_time(0.98)
        [reply] = node.take()
    assert result(reply) == {"nodes": 0, "complete": False}


@pytest.mark.parametrize("kind", [internal.PutProvider, internal.Publish])
def test_storage_full_fails_add_provider(bench: MakeBench, kind: type[Any]) -> None:
    """What cannot be kept is not a success, and is told at once."""
    node = bench({kind: lambda _: Failed(0, "storage_full", "no room")})
    reply = node.ask("addProvider", cid=CID)
    assert reply["error"] == {"code": "storage_full", "message": "no room"}


def test_a_failed_store_does_not_wait_for_routing(bench: MakeBench) -> None:
    """When the store refuses, the reply does not wait for the publication."""
    node = bench(
        {internal.PutProvider: lambda _: Failed(0, "storage_full", ""), internal.Publish: lambda _: SILENT}
    )
    assert node.ask("addProvider", cid=CID)["error"]["code"] == "storage_full"


def test_get_providers(bench: MakeBench) -> None:
    """Providers come as record maps, with the limit handed on; none found is an empty list."""
    node = bench()
    found = result(node.ask("getProviders", cid=CID, limit=2))
    assert [record["peerId"] for record in found["providers"]] == [peer.peer_id for peer in PEERS[:2]]
    assert found["complete"] is True
    node.actors.script[internal.FindProviders] = lambda _: {"providers": [], "complete": False}
    assert result(node.ask("getProviders", cid=CID)) == {"providers": [], "complete": False}
    local = result(node.ask("getProvidersLocal", cid=CID))
    assert [record["nodeId"] for record in local["providers"]] == [PEERS[0].node_id]


def test_the_own_record_is_there_if_asked_for(bench: MakeBench) -> None:
    """Also where a limit would keep it behind fresher ones of the store; the limit holds for all together."""
    held = [PEERS[0].encoded, PEERS[1].encoded, OWN.encoded]
    node = bench({internal.GetProviders: lambda m: held[: m.limit or None]})
    for limit, expected in ((1, [OWN]), (2, [OWN, PEERS[0]])):
        found = result(node.ask("getProviders", cid=CID, own=True, limit=limit))["providers"]
        assert [record["spr"] for record in found] == [record.encoded for record in expected]


@pytest.mark.parametrize("answer", [SILENT, Failed(0, "busy", "too much to do")])
def test_what_was_found_needs_no_store(bench: MakeBench, answer: Any) -> None:
    """Where the store does not say whether this node is a provider, too, the others are in the reply all the same."""
    node = bench({internal.GetProviders: lambda _: answer})
    node.send("getProviders", cid=CID, own=True)
    node.pass_time(1.0)
    [reply] = node.take()
    assert [record["spr"] for record in result(reply)["providers"]] == [peer.encoded for peer in PEERS]
    assert result(reply)["complete"] is False


@pytest.mark.parametrize("method", ["addProvider", "addProviders"])
def test_a_record_that_no_peer_could_be_sent_is_refused(bench: MakeBench, method: str) -> None:
    """An ADD_PROVIDER is one packet: a record of up to 1140 bytes fits, a larger one would reach nobody."""
    node = bench()
    key = {"cid": CID} if method == "addProvider" else {"keys": [{"cid": CID}]}
    sized = {len(r.encoded): r for r in (record_of(7, *["/ip4/1.2.3.4/tcp/80"] * n) for n in range(60, 90))}
    fits, too_large = max(n for n in sized if n <= 1140), min(n for n in sized if n > 1140)
    assert result(node.ask(method, spr=sized[fits].encoded, **key))["complete"]
    reply = node.ask(method, spr=sized[too_large].encoded, **key)
    assert reply["error"]["code"] == "invalid_record"
    assert f"{too_large} bytes" in reply["error"]["message"]


@pytest.mark.parametrize("peer_id", [PEERS[0].peer_id, peer_id_bytes(PEERS[0].public_key)])
def test_remove_providers_local(bench: MakeBench, peer_id: str | bytes) -> None:
    """A peer is named by text or bytes."""
    node = bench()
    assert result(node.ask("removeProvidersLocal", peerId=peer_id)) == {"removed": 2}
    assert last(node, internal.RemoveProviders).public_key == PEERS[0].public_key


def test_resolve_by_peer_id_and_by_key(bench: MakeBench) -> None:
    """A known node gives its record, an unknown one null."""
    node = bench()
    assert result(node.ask("resolve", peerId=PEERS[2].peer_id))["uri"] == PEERS[2].uri
    assert result(node.ask("resolve", key={"id": PEERS[2].node_id}))["uri"] == PEERS[2].uri
    assert result(node.ask("resolve", id=ID)) is None


@pytest.mark.parametrize("form", ["bytes", "uri", "map", "key"])
def test_ping_and_talk_take_a_record_or_a_key(bench: MakeBench, form: str) -> None:
    """A node is named by its record in any form, or by a key."""
    node = bench()
    peer = PEERS[0]
    forms = {
        "bytes": {"record": peer.encoded},
        "uri": {"record": peer.uri},
        "map": {"record": {"spr": peer.encoded, "seq": 1}},
        "key": {"key": {"id": peer.node_id}},
    }
    assert result(node.ask("ping", **forms[form])) == {
        "seq": 7,
        "address": "/ip4/192.0.2.1/udp/8090",
        "rtt": 0.012,
    }
    asked = last(node, internal.PingNode)
    assert (asked.node_id, asked.record) == (peer.node_id, b"" if form == "key" else peer.encoded)
    assert result(node.ask("talk", protocol=b"echo", request=b"hi", **forms[form])) == b"echo:hi"


def test_table_names_are_camel_case(bench: MakeBench) -> None:
    """Routing entries come with record maps and the names of the API."""
    [entry] = result(bench().ask("table"))
    assert entry["record"]["peerId"] == PEERS[0].peer_id
    assert {name: entry[name] for name in ("bucket", "rtt", "reliability", "lastSeen")} == {
        "bucket": 255,
        "rtt": 0.012,
        "reliability": 0.9,
        "lastSeen": 3.0,
    }


def test_withdraw(bench: MakeBench) -> None:
    """`withdraw` hands its keys to routing."""
    node = bench()
    assert result(node.ask("withdraw", keys=[{"cid": CID}])) is None
    assert last(node, internal.Withdraw).keys == [node_id_of_cid(CID)]


def test_stats_of_all_actors(bench: MakeBench) -> None:
    """`stats` has counters and gauges of every actor, the life, and what the shell adds."""
    stats = result(bench().ask("stats"))
    assert sorted(stats["actors"]) == ["api", "routing", "store", "wire"]
    assert stats["actors"]["wire"] == {"counters": {"packets": 3}, "gauges": {"size": 1}}
    assert (stats["life"], stats["missing"], stats["info"]) == ("started", [], {"version": "test"})


def test_stats_without_a_silent_actor(bench: MakeBench) -> None:
    """An actor that does not answer is named, and the others' statistics come all the same."""
    node = bench({internal.Stats: lambda m: SILENT})
    assert node.ask("stats", timeout=0.4) is None
    node.pass_time(0.4)
    [reply] = node.take()
    assert result(reply)["missing"] == ["wire", "routing", "store"]
    assert result(reply)["actors"]["api"]["counters"]["requests"] == 1


@pytest.mark.parametrize("method", ["addProvider", "getProviders", "resolve", "ping", "lookup", "talk"])
def test_a_closed_node_asks_nobody(bench: MakeBench, method: str) -> None:
    """What needs the network is `not_running` before `open`."""
    extra = {"protocol": b"p", "request": b""} if method == "talk" else {}
    reply = bench(life=Life.CLOSED).ask(method, id=ID, **extra)
    assert reply["error"]["code"] == "not_running"
    assert "open" in reply["error"]["message"]


def test_a_closed_node_still_serves_its_store(bench: MakeBench) -> None:
    """The local store, the table and `stats` need no socket."""
    node = bench(life=Life.CLOSED)
    for reply in (node.ask("getProvidersLocal", id=ID), node.ask("table"), node.ask("stats")):
        result(reply)


def test_a_record_without_udp_address_cannot_be_pinged(bench: MakeBench) -> None:
    """A provider record names no place for a PING: the user is told."""
    tcp_only = sign_record(PrivateKey(bytes(31) + b"\x09"), 1, [parse_address("/ip4/1.2.3.4/tcp/1")])
    error = bench().ask("ping", record=tcp_only.encoded)["error"]
    assert error["code"] == "invalid_params"
    assert "UDP" in error["message"]


def test_an_unknown_code_of_an_actor_is_internal(bench: MakeBench) -> None:
    """Users only ever see the codes of the API."""
    node = bench({internal.Lookup: lambda _: Failed(0, "strange", "what")})
    assert node.ask("lookup", id=ID)["error"] == {"code": "internal", "message": "what"}
