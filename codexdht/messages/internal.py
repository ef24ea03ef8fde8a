"""Every message between actors, defined once.

A message is immutable; `codec` packs it as a MessagePack array behind its tag, a number that is never used again for
another meaning, and checks the types of its fields when it reads one. Fields hold only what MessagePack carries:
integers, floats, bytes, text, booleans, None, lists and maps.

Conventions:

* `deadline` and every other time is in seconds on the clock that all processes of a machine share
  (CLOCK_MONOTONIC): deadline - now is the time a request has left, queueing included. A receiver drops what is
  too late. Only fields named `unix…` are Unix time.
* A request names its `asker` and that actor's `request` number; the answer is one `Done` or one `Failed` with
  that number, sent to the asker. Every request may be sent again: the second one does no harm.
* Ids and keys are 32 bytes, `record` is an encoded SPR, `public_key` 33 compressed bytes, host the text of an IP
  address, and addresses are binary multiaddresses.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from msgspec import Struct


class Actor(IntEnum):
    """The actors; the number is what travels."""

    WIRE = 1
    ROUTING = 2
    STORE = 3
    API = 4


def process_name(actor: Actor, number: int) -> str:
    """Return the name of an actor's process, for its files and in logs: wire, and wire-1 for the second of several."""
    return f"{actor.name.lower()}-{number}" if number else actor.name.lower()


class Life(IntEnum):
    """What the node as a whole is doing. UNKNOWN is an actor that has just started and was not told yet."""

    UNKNOWN = 0
    CLOSED = 1
    OPEN = 2
    STARTED = 3


class _Message(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What all messages have in common: half the time of a named tuple to make, a fifth to pack and a third to read.

    Each says again that it is frozen, as type checkers do not take that from here.
    """


class Hello(_Message, frozen=True, tag=1):
    """A process of this actor has just started and knows nothing. Everyone answers with what it should know:
    each with `NodeLife`, the wire with `LocalRecords`, too. Requests it owed are lost and may be sent again."""

    actor: int


class NodeLife(_Message, frozen=True, tag=2):
    """`actor` takes the node to be in this state. The API actor decides the state and tells everybody; an actor in
    state UNKNOWN adopts it from whoever knows."""

    actor: int
    life: int


class ClockSet(_Message, frozen=True, tag=3):
    """From an actor's own shell: at start, and whenever the system clock was stepped. Unix time = `now` + offset."""

    unix_offset: float


class LocalRecords(_Message, frozen=True, tag=4):
    """From the wire to everybody: this node's DHT record, and its provider record (empty when there is none)."""

    record: bytes
    provider_record: bytes


class Open(_Message, frozen=True, tag=10):
    """To the wire: bind the UDP socket. Done: the encoded DHT record."""

    asker: int
    request: int
    deadline: float


class Close(_Message, frozen=True, tag=11):
    """To wire: close the socket; to routing: end maintenance and save the table; to store: flush. Done: None, when
    it is so."""

    asker: int
    request: int
    deadline: float


class UpdateRecord(_Message, frozen=True, tag=12):
    """To the wire: replace the DHT record (`provider` false) or provider record, by `record` unless that is empty,
    else by a newly signed one of `addresses`. Done: the encoded record."""

    asker: int
    request: int
    deadline: float
    provider: bool
    record: bytes
    addresses: list[bytes]


class Start(_Message, frozen=True, tag=13):
    """To routing: bootstrap and begin maintenance. Done: None, at once."""

    asker: int
    request: int
    deadline: float


class Lookup(_Message, frozen=True, tag=14):
    """To routing: find the nodes closest to target. Done: {"nodes": [record], "complete": bool}, nearest first."""

    asker: int
    request: int
    deadline: float
    target: bytes


class Resolve(_Message, frozen=True, tag=15):
    """To routing: find the DHT record of one node. Done: record or None."""

    asker: int
    request: int
    deadline: float
    node_id: bytes


class FindProviders(_Message, frozen=True, tag=16):
    """To routing, which also asks the store: find providers of a key, `limit` distinct ones at most (0: the default).
    Done: {"providers": [record], "complete": bool}."""

    asker: int
    request: int
    deadline: float
    key: bytes
    limit: int


class Publish(_Message, frozen=True, tag=17):
    """To routing: send a record to the nodes closest to each key, and remember to go on doing so; an empty one stands
    for our own, as it is each time. The local store is asked by the API actor, not here; by routing when it publishes
    again. Done: {"nodes": [n per key], "complete": bool}."""

    asker: int
    request: int
    deadline: float
    keys: list[bytes]
    record: bytes


class Withdraw(_Message, frozen=True, tag=18):
    """To routing: publish these keys no longer. Done: None. Nodes forget them when their lifetime ends."""

    asker: int
    request: int
    deadline: float
    keys: list[bytes]


class PingNode(_Message, frozen=True, tag=19):
    """To routing: ping the node of a record, or of an id that is resolved first (record empty). Done:
    {"seq", "host", "port", "rtt"}: host and port are our own as seen by that node."""

    asker: int
    request: int
    deadline: float
    node_id: bytes
    record: bytes


class Talk(_Message, frozen=True, tag=20):
    """To routing: send a TALK_REQ to a node, named as in PingNode. Done: the response bytes."""

    asker: int
    request: int
    deadline: float
    node_id: bytes
    record: bytes
    protocol: bytes
    payload: bytes


class DumpTable(_Message, frozen=True, tag=21):
    """To routing. Done: [{"record", "bucket", "rtt", "reliability", "last_seen", …}]; times are ages in seconds."""

    asker: int
    request: int
    deadline: float


class Stats(_Message, frozen=True, tag=22):
    """To any actor; `process` is the number of the one that is asked where several wire processes run. Done:
    {"counters": {name: int}, "gauges": {name: number}}."""

    asker: int
    request: int
    deadline: float
    process: int = 0


class PutProvider(_Message, frozen=True, tag=30):
    """To the store: keep our own record under these keys, durably. Done: None, when it is on disk."""

    asker: int
    request: int
    deadline: float
    keys: list[bytes]
    record: bytes


class GetProviders(_Message, frozen=True, tag=31):
    """To the store: the providers held here, `limit` at most (0: all). Done: [record], freshest first."""

    asker: int
    request: int
    deadline: float
    key: bytes
    limit: int


class RemoveProviders(_Message, frozen=True, tag=32):
    """To the store: forget every provider record of one peer. Done: {"removed": n}, when it is on disk."""

    asker: int
    request: int
    deadline: float
    public_key: bytes


class SaveTable(_Message, frozen=True, tag=33):
    """To the store: keep these entries (maps that routing alone reads) in place of the last ones. Done: None."""

    asker: int
    request: int
    deadline: float
    entries: list[Any]


class LoadTable(_Message, frozen=True, tag=34):
    """To the store: Done: the entries last saved."""

    asker: int
    request: int
    deadline: float


class PutProvided(_Message, frozen=True, tag=35):
    """To the store: remember until withdrawn that this node provides these keys, and when each was last published:
    items are [key, unix time of the last publication]. `record` is what is published (empty: the default record).
    Done: None, when it is on disk."""

    asker: int
    request: int
    deadline: float
    items: list[Any]
    record: bytes


class DropProvided(_Message, frozen=True, tag=36):
    """To the store: the keys are withdrawn. Done: None, when it is on disk."""

    asker: int
    request: int
    deadline: float
    keys: list[bytes]


class ListProvided(_Message, frozen=True, tag=37):
    """To the store: what this node provides, in key order from the first key not below `start`, `limit` at most.
    Done: [[key, unix time of the last publication, record], …]; fewer than limit: the end."""

    asker: int
    request: int
    deadline: float
    start: bytes
    limit: int


class Done(_Message, frozen=True, tag=5):
    """The answer to a request that succeeded."""

    request: int
    value: Any


class Failed(_Message, frozen=True, tag=6):
    """The answer to a request that failed: a code of the user API and one line for a person."""

    request: int
    code: str
    text: str


class PeerRequest(_Message, frozen=True, tag=50):
    """From the wire: a peer's FIND_NODE or FIND_NODE_FAST to routing, ADD_PROVIDER or GET_PROVIDERS to the store.
    node_id, host, port and request_id together are the ticket that the answer carries back: the wire keeps nothing."""

    node_id: bytes
    host: str
    port: int
    request_id: bytes
    kind: int
    body: bytes
    client_mode: bool
    deadline: float


class PeerReply(_Message, frozen=True, tag=51):
    """To the wire: the answer to a PeerRequest, one encoded body a packet. Every body leaves room for the outer
    message in 1280 bytes (`discv5.split_records`)."""

    node_id: bytes
    host: str
    port: int
    request_id: bytes
    kind: int
    bodies: list[bytes]


class Call(_Message, frozen=True, tag=52):
    """From routing to the wire: send a request to a peer; a handshake is made first where it is needed. Answers are
    CallAnswers and one CallFailed at most; ADD_PROVIDER has no answer but CallSent."""

    call: int
    deadline: float
    node_id: bytes
    public_key: bytes
    host: str
    port: int
    kind: int
    body: bytes


class CallSent(_Message, frozen=True, tag=53):
    """The packet of an ADD_PROVIDER call has left."""

    call: int


class CallAnswer(_Message, frozen=True, tag=54):
    """One packet of the answer to a call: rtt is in seconds from the packet that asked, handshake excluded. More may
    follow, for 1 s after each packet, 16 packets in all."""

    call: int
    kind: int
    body: bytes
    rtt: float
    client_mode: bool


class CallFailed(_Message, frozen=True, tag=55):
    """No answer came in time ("timeout"), or the call could not be sent ("busy", "closed", "unreachable",
    "too large")."""

    call: int
    reason: str


class PeerSeen(_Message, frozen=True, tag=56):
    """From the wire to routing: a handshake with this peer has succeeded, its client mode has changed, or there is a
    session with it and routing has just started. The record is verified; it may have come with an earlier handshake,
    and be of an older seq than others know. It is empty where the wire knows none. Host and port are where the peer's
    packets come from."""

    node_id: bytes
    host: str
    port: int
    record: bytes
    client_mode: bool


class AddressVoted(_Message, frozen=True, tag=57):
    """From routing to the wire: a majority of voters sees us at this address."""

    host: str
    port: int


# fmt: off
Message = (
    Hello | NodeLife | ClockSet | LocalRecords | Done | Failed
    | Open | Close | UpdateRecord | Start | Lookup | Resolve | FindProviders | Publish | Withdraw | PingNode
    | Talk | DumpTable | Stats | PutProvider | GetProviders | RemoveProviders | SaveTable | LoadTable
    | PutProvided | DropProvided | ListProvided
    | PeerRequest | PeerReply | Call | CallSent | CallAnswer | CallFailed | PeerSeen | AddressVoted
)
# fmt: on
