"""The format between actors, frozen: processes of two versions of this package may meet during an upgrade."""

from __future__ import annotations

from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht.errors import DecodeError
from codexdht.messages import internal
from codexdht.messages.codec import decode_batch, encode_batch
from codexdht.messages.internal import Message

GOLDEN: list[tuple[Message, str]] = [
    (internal.Hello(actor=1), "91920101"),
    (internal.NodeLife(actor=1, life=2), "9193020102"),
    (internal.ClockSet(unix_offset=1.5), "919203cb3ff8000000000000"),
    (internal.LocalRecords(record=b"record", provider_record=b""), "919304c4067265636f7264c400"),
    (internal.Done(request=7, value={"x": [1, b"y", None]}), "9193050781a1789301c40179c0"),
    (internal.Failed(request=7, code="busy", text="why"), "91940607a462757379a3776879"),
    (internal.Open(asker=4, request=7, deadline=2.5), "91940a0407cb4004000000000000"),
    (internal.Close(asker=4, request=7, deadline=2.5), "91940b0407cb4004000000000000"),
    (
        internal.UpdateRecord(
            asker=4, request=7, deadline=2.5, provider=True, record=b"record", addresses=[b"\x04\x7f"]
        ),
        "91970c0407cb4004000000000000c3c4067265636f726491c402047f",
    ),
    (internal.Start(asker=4, request=7, deadline=2.5), "91940d0407cb4004000000000000"),
    (
        internal.Lookup(
            asker=4,
            request=7,
            deadline=2.5,
            target=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
        ),
        "91950e0407cb4004000000000000c4201111111111111111111111111111111111111111111111111111111111111111",
    ),
    (
        internal.Resolve(
            asker=4,
            request=7,
            deadline=2.5,
            node_id=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
        ),
        "91950f0407cb4004000000000000c4201111111111111111111111111111111111111111111111111111111111111111",
    ),
    (
        internal.FindProviders(
            asker=4,
            request=7,
            deadline=2.5,
            key=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
            limit=20,
        ),
        "9196100407cb4004000000000000c420111111111111111111111111111111111111111111111111111111111111111114",
    ),
    (
        internal.Publish(
            asker=4,
            request=7,
            deadline=2.5,
            keys=[
                b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11"
            ],
            record=b"record",
        ),
        "9196110407cb400400000000000091c4201111111111111111111111111111111111111111111111111111111111111111c4067265636f7264",
    ),
    (
        internal.Withdraw(
            asker=4,
            request=7,
            deadline=2.5,
            keys=[
                b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11"
            ],
        ),
        "9195120407cb400400000000000091c4201111111111111111111111111111111111111111111111111111111111111111",
    ),
    (
        internal.PingNode(
            asker=4,
            request=7,
            deadline=2.5,
            node_id=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
            record=b"record",
        ),
        "9196130407cb4004000000000000c4201111111111111111111111111111111111111111111111111111111111111111c4067265636f7264",
    ),
    (
        internal.Talk(
            asker=4,
            request=7,
            deadline=2.5,
            node_id=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
            record=b"record",
            protocol=b"echo",
            payload=b"hi",
        ),
        "9198140407cb4004000000000000c4201111111111111111111111111111111111111111111111111111111111111111c4067265636f7264c4046563686fc4026869",
    ),
    (internal.DumpTable(asker=4, request=7, deadline=2.5), "9194150407cb4004000000000000"),
    (internal.Stats(asker=4, request=7, deadline=2.5, process=1), "9195160407cb400400000000000001"),
    (
        internal.PutProvider(
            asker=4,
            request=7,
            deadline=2.5,
            keys=[
                b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11"
            ],
            record=b"record",
        ),
        "91961e0407cb400400000000000091c4201111111111111111111111111111111111111111111111111111111111111111c4067265636f7264",
    ),
    (
        internal.GetProviders(
            asker=4,
            request=7,
            deadline=2.5,
            key=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
            limit=20,
        ),
        "91961f0407cb4004000000000000c420111111111111111111111111111111111111111111111111111111111111111114",
    ),
    (
        internal.RemoveProviders(
            asker=4,
            request=7,
            deadline=2.5,
            public_key=b"\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02",
        ),
        "9195200407cb4004000000000000c421020202020202020202020202020202020202020202020202020202020202020202",
    ),
    (
        internal.SaveTable(asker=4, request=7, deadline=2.5, entries=[{"a": 1}]),
        "9195210407cb40040000000000009181a16101",
    ),
    (internal.LoadTable(asker=4, request=7, deadline=2.5), "9194220407cb4004000000000000"),
    (
        internal.PutProvided(
            asker=4,
            request=7,
            deadline=2.5,
            items=[
                [
                    b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
                    1700000000.0,
                ]
            ],
            record=b"record",
        ),
        "9196230407cb40040000000000009192c4201111111111111111111111111111111111111111111111111111111111111111cb41d954fc40000000c4067265636f7264",
    ),
    (
        internal.DropProvided(
            asker=4,
            request=7,
            deadline=2.5,
            keys=[
                b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11"
            ],
        ),
        "9195240407cb400400000000000091c4201111111111111111111111111111111111111111111111111111111111111111",
    ),
    (
        internal.ListProvided(
            asker=4,
            request=7,
            deadline=2.5,
            start=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
            limit=20,
        ),
        "9196250407cb4004000000000000c420111111111111111111111111111111111111111111111111111111111111111114",
    ),
    (
        internal.PeerRequest(
            node_id=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
            host="1.2.3.4",
            port=9,
            request_id=b"12345678",
            kind=3,
            body=b"body",
            client_mode=True,
            deadline=2.5,
        ),
        "919932c4201111111111111111111111111111111111111111111111111111111111111111a7312e322e332e3409c408313233343536373803c404626f6479c3cb4004000000000000",
    ),
    (
        internal.PeerReply(
            node_id=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
            host="1.2.3.4",
            port=9,
            request_id=b"12345678",
            kind=3,
            bodies=[b"a", b"b"],
        ),
        "919733c4201111111111111111111111111111111111111111111111111111111111111111a7312e322e332e3409c40831323334353637380392c40161c40162",
    ),
    (
        internal.Call(
            call=5,
            deadline=2.5,
            node_id=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
            public_key=b"\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02",
            host="1.2.3.4",
            port=9,
            kind=3,
            body=b"body",
        ),
        "91993405cb4004000000000000c4201111111111111111111111111111111111111111111111111111111111111111c421020202020202020202020202020202020202020202020202020202020202020202a7312e322e332e340903c404626f6479",
    ),
    (internal.CallSent(call=5), "91923505"),
    (
        internal.CallAnswer(call=5, kind=3, body=b"body", rtt=0.25, client_mode=True),
        "9196360503c404626f6479cb3fd0000000000000c3",
    ),
    (internal.CallFailed(call=5, reason="timeout"), "91933705a774696d656f7574"),
    (
        internal.PeerSeen(
            node_id=b"\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11",
            host="1.2.3.4",
            port=9,
            record=b"record",
            client_mode=True,
        ),
        "919638c4201111111111111111111111111111111111111111111111111111111111111111a7312e322e332e3409c4067265636f7264c3",
    ),
    (internal.AddressVoted(host="1.2.3.4", port=9), "919339a7312e322e332e3409"),
]

"""Every message once, and its bytes as a batch of one."""


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=[type(m).__name__ for m, _ in GOLDEN])
def test_golden_bytes(message: Message, golden: str) -> None:
    """A message has the same bytes for ever, and they read back as the same message."""
    assert encode_batch([message]).hex() == golden
    [decoded] = decode_batch(bytes.fromhex(golden))
    assert decoded == message
    assert type(decoded) is type(message)


def test_every_message_is_frozen() -> None:
    """No message is missing above, and every one has a number of its own."""
    assert {type(m) for m, _ in GOLDEN} == set(get_args(Message))
    tags = [m.__struct_config__.tag for m, _ in GOLDEN]
    assert len(set(tags)) == len(tags)


def test_batch_keeps_order() -> None:
    """All messages of a turn travel together, in order."""
    messages = [m for m, _ in GOLDEN]
    assert decode_batch(encode_batch(messages)) == messages
    assert decode_batch(encode_batch([])) == []


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.binary(max_size=9) | st.text(max_size=9),
    lambda children: (
        st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
)


@pytest.mark.parametrize(
    "batch",
    [
        [[54, 5, 3, b"body", 0.25]],
        [[54, 5, 3, b"body", 0.25, True, 1]],
        [[54, 5, 3, "text", 0.25, True]],
        [[54, 5, 3, b"body", 0.25, 1]],
        [[54, 5, None, b"body", 0.25, True]],
        [[51, bytes(32), "1.2.3.4", 9, b"", 3, [b"a", "b"]]],
        [[7, 5]],
        [["54", 5]],
        [[]],
        [53, 5],
        {},
        7,
    ],
    ids=repr,
)
def test_what_no_message_looks_like_is_refused(batch: Any) -> None:
    """A field too few or too many, one of another type, an unknown tag: the whole batch is a DecodeError, as it is of
    another version or not of ours."""
    with pytest.raises(DecodeError):
        decode_batch(msgpack.packb(batch))


@given(st.binary(max_size=100) | values.map(msgpack.packb))
def test_no_bytes_raise_but_decode_error(data: bytes) -> None:
    """Any bytes are a batch or a DecodeError."""
    try:
        decoded: list[Any] = decode_batch(data)
    except DecodeError:
        return
    assert all(type(m) in get_args(Message) for m in decoded)
