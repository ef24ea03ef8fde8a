"""What peers may send and must not achieve: each is counted, nothing is stored, nothing is answered, nothing raised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codexdht.messages import discv5_pb2 as pb
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import CallSent, Failed, GetProviders, PutProvider
from codexdht.records import sign_record
from codexdht.records.envelope_pb2 import Envelope

ADDRESS = b"\x04\x01\x02\x03\x04\x06\x1f\x9a"


def unsigned(encoded: bytes) -> bytes:
    envelope = Envelope.FromString(encoded)
    envelope.ClearField("signature")
    return bytes(envelope.SerializeToString())


def tampered(encoded: bytes) -> bytes:
    return encoded[:-1] + bytes([encoded[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "counter"),
    [
        (tampered, "refused_bad_record_signature"),
        (unsigned, "refused_bad_record_signature"),
        (lambda _: b"", None),
        (lambda e: e[:50], None),
        (lambda _: b"\xff" * 100, None),
    ],
)
def test_bad_records(make_store: Any, damage: Any, counter: str | None) -> None:
    """A bad, missing or cut signature, and bytes that are no record."""
    store = make_store()
    record = store.record(0)
    store.add_record(store.key(1), damage(record.encoded), record.node_id)
    assert store.get(1) == []
    assert sum(n for name, n in store.machine.counters.items() if name.startswith("refused")) == 1
    if counter:
        assert store.count(counter) == 1


@pytest.mark.parametrize("addresses", [[], [b"\x04\x01\x02\x03\x04\x06\x1f\x9a"]])
def test_record_without_udp_address(make_store: Any, addresses: list[bytes]) -> None:
    """A legal provider record (wire.md section 2): with TCP addresses alone, and with none at all."""
    store = make_store()
    record = sign_record(store.keys[0], 1, addresses)
    store.add_record(store.key(1), record.encoded, record.node_id)
    assert store.get(1) == [(0, 1)]


def test_record_of_60_kb(make_store: Any) -> None:
    """Above 4 kB a record is not even decoded."""
    store = make_store()
    record = sign_record(store.keys[0], 1, [ADDRESS] * 6000)
    assert len(record.encoded) > 60_000
    store.add_record(store.key(1), record.encoded, record.node_id)
    assert store.count("refused_record_size") == 1
    assert store.stats()["counters"]["signature_checks"] == 0
    answer = store.ask(PutProvider(0, 0, 0, [store.key(1)], record.encoded))
    assert isinstance(answer, Failed)
    assert answer.code == "invalid_record"


@pytest.mark.parametrize("size", [0, 31, 33, 1000])
def test_key_of_wrong_length(make_store: Any, size: int) -> None:
    """In ADD_PROVIDER and GET_PROVIDERS alike; a user is told."""
    store = make_store()
    record = store.record(0)
    add = pb.AddProvider(key=bytes(size), record=record.encoded).SerializeToString()
    assert store.request(Kind.ADD_PROVIDER, add, record.node_id) == []
    get = pb.GetProviders(key=bytes(size)).SerializeToString()
    assert store.request(Kind.GET_PROVIDERS, get) == []
    assert store.count("refused_bad_body") == 1
    assert store.count("bad_body") == 1
    for message in (
        PutProvider(0, 0, 0, [store.key(1), bytes(size)], record.encoded),
        GetProviders(0, 0, 0, bytes(size), 0),
    ):
        answer = store.ask(message)
        assert isinstance(answer, Failed)
        assert answer.code == "invalid_params"
    assert store.get(1) == []


def test_bad_local_record(make_store: Any) -> None:
    """A user is told that the record does not hold."""
    store = make_store()
    answer = store.ask(PutProvider(0, 0, 0, [store.key(1)], tampered(store.record(0).encoded)))
    assert isinstance(answer, Failed)
    assert answer.code == "invalid_record"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(kind=st.integers(0, 255), body=st.binary(max_size=300), node_id=st.binary(min_size=32, max_size=32))
def test_any_bytes(make_store: Any, kind: int, body: bytes, node_id: bytes) -> None:
    """Whatever arrives as a peer's request, the machine goes on."""
    store = make_store()
    replies = store.request(kind, body, node_id)
    assert len(replies) == (1 if kind == Kind.GET_PROVIDERS and store.count("bad_body") == 0 else 0)
    store.add(1, peer=0)
    assert store.get(1) == [(0, 1)]
    store.backend.close()


def test_unexpected_messages(make_store: Any) -> None:
    """What is not for the store is counted."""
    store = make_store()
    store.machine.handle(CallSent(1), store.now)
    store.request(Kind.FIND_NODE, b"")
    assert store.count("unexpected_message") == 2
