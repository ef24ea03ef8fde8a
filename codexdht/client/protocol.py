"""What the two clients have in common: how calls are written, and what their results look like.

`calls` has a function for each method of the API that returns a `Call`: the request but for its timeout, and
the type of its result. `Client` and `AsyncClient` only differ in how they send one and wait.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar

import msgspec

from codexdht.api.settings import LARGEST_REQUEST
from codexdht.errors import API_ERRORS, BadRequest, InternalError, InvalidParams
from codexdht.paths import expanded

T = TypeVar("T")
Kind = Literal["dht", "provider"]

DEFAULT_TIMEOUT: Final = 10.0
"""Seconds that a call of a client takes at most, unless told otherwise."""
GRACE: Final = 0.5
"""How long after the end of its time a reply is still waited for: the node's clock starts when the request arrives."""
SOCKET_NAME: Final = "api.sock"
_LONGEST: Final = 3600


def default_endpoint(data_dir: Path | str | None = None) -> str:
    """Return where the node on a data directory listens: there, or in $CODEXDHT_NODE__RUN_DIR if that is set.

    Without a data directory: below $CODEXDHT_NODE__DATA_DIR, else below ./data.
    """
    run_dir = os.environ.get("CODEXDHT_NODE__RUN_DIR")
    data = Path(data_dir or os.environ.get("CODEXDHT_NODE__DATA_DIR", "data"))
    folder = expanded(run_dir or data / "run", InvalidParams)
    return f"ipc://{folder.absolute() / SOCKET_NAME}"


# Keys and records as arguments --------------------------------------------------------------------------------


class Key:
    """A point of the id space in the form that travels. Made by `of`, or explicitly by `id`, `cid` and `address`."""

    __slots__ = ("wire",)

    def __init__(self, wire: dict[str, bytes | str]) -> None:
        self.wire = wire

    @classmethod
    def id(cls, value: bytes | str) -> Key:
        """A node id: 32 bytes or their hex."""
        return cls({"id": value})

    @classmethod
    def cid(cls, value: bytes | str) -> Key:
        """A CID, as text or bytes."""
        return cls({"cid": value})

    @classmethod
    def address(cls, value: bytes | str) -> Key:
        """An Ethereum address: 0x… or 20 bytes."""
        return cls({"address": value})

    @classmethod
    def of(cls, value: KeyLike) -> Key:
        """Guess: 32 bytes or 64 hexadecimal digits are an id, 20 bytes or 0x and 40 digits an Ethereum address,
        anything else is a CID."""
        if isinstance(value, Key):
            return value
        if not isinstance(value, (bytes, str)):
            raise InvalidParams(f"a key is bytes, text or a Key, not {type(value).__name__}")
        size = len(value) if isinstance(value, bytes) else _hex_size(value)
        if size == 32:
            return cls.id(value)
        is_address = size == 20 and (isinstance(value, bytes) or value.startswith("0x"))
        return cls.address(value) if is_address else cls.cid(value)

    def resolved(self) -> Key:
        """Return the id that a CID or an address stands for, so that many of them are not left to the node's front.

        Raises InvalidParams.
        """
        from codexdht.identity import node_id_of_cid, node_id_of_eth_address

        [(form, value)] = self.wire.items()
        if form == "id":
            return self
        return Key.id(node_id_of_cid(value) if form == "cid" else node_id_of_eth_address(value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and other.wire == self.wire

    def __hash__(self) -> int:
        return hash(tuple(self.wire.items()))

    def __repr__(self) -> str:
        return f"Key({self.wire})"


def _hex_size(text: str) -> int | None:
    try:
        return len(bytes.fromhex(text.removeprefix("0x")))
    except ValueError:
        return None


KeyLike = Key | bytes | str


class NamedKey(TypedDict, total=False):
    """A key as one of these keyword arguments, in place of the argument `key`."""

    id: bytes | str
    cid: bytes | str
    address: bytes | str


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """A verified peer record. spr: its bytes; uri: its text; node_id: 32 bytes; addresses: multiaddresses."""

    spr: bytes
    uri: str
    peer_id: str
    node_id: bytes
    seq: int
    addresses: list[str]


RecordLike = Record | bytes | str
"""A record, its bytes, or its spr:… text."""

# Results ------------------------------------------------------------------------------------------------------


class Added(msgspec.Struct, frozen=True):
    """The record is stored here, and was sent to so many nodes. Not complete: more are being sent."""

    nodes: int
    complete: bool


class AddedMany(msgspec.Struct, frozen=True, rename="camel"):
    """The same for many keys: records sent in all, and for each key in the order of the call."""

    nodes: int
    complete: bool
    per_key: list[int]


class Providers(msgspec.Struct, frozen=True):
    """The providers of a key. Not complete: the time was over first."""

    providers: list[Record]
    complete: bool


class Nodes(msgspec.Struct, frozen=True):
    """The nodes nearest to a key, nearest first. Not complete: the time was over first."""

    nodes: list[Record]
    complete: bool


class Pong(msgspec.Struct, frozen=True):
    """seq: of the node's record; address: our own as that node sees it; rtt: seconds."""

    seq: int
    address: str
    rtt: float


class TableEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A node in the routing table. rtt: seconds; reliability: 0 to 1; last_seen: seconds ago. None: not known yet."""

    record: Record
    bucket: int
    rtt: float | None = None
    reliability: float | None = None
    last_seen: float | None = None


class ActorStats(msgspec.Struct, frozen=True):
    """Counters only grow while a process lives; gauges are what is so now."""

    counters: dict[str, int] = {}
    gauges: dict[str, Any] = {}


class NodeStats(msgspec.Struct, frozen=True):
    """life: closed, open, started or unknown; actors: by name; missing: those that did not answer; info: what the node
    says of itself."""

    life: str
    actors: dict[str, ActorStats]
    missing: list[str]
    info: dict[str, Any]


class Removed(msgspec.Struct, frozen=True):
    """How many provider records were forgotten."""

    removed: int


# Requests and replies -----------------------------------------------------------------------------------------


def check_seconds(name: str, value: float) -> float:
    """Return a time to wait. Raises InvalidParams for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST:
        raise InvalidParams(f"{name} is {value!r}; expected seconds, above 0 and at most {_LONGEST}")
    return value


class Call(Generic[T]):
    """A request that is not sent yet. `pack` gives its bytes, `unpack` turns the reply into the result."""

    __slots__ = ("_decoder", "method", "params", "repeatable")

    def __init__(self, method: str, params: dict[str, Any], result: Any, repeatable: bool = True) -> None:
        self.method = method
        self.params = params
        self.repeatable = repeatable
        self._decoder = _decoder(result)

    def pack(self, timeout: float) -> bytes:
        """Return the request's bytes. Raises InvalidParams for arguments that cannot be packed, and for no time, and
        BadRequest for what is too large for any node: it would be closed out without a reply."""
        check_seconds("timeout", timeout)
        try:
            request = msgspec.msgpack.encode(
                {"method": self.method, "params": self.params, "timeout": timeout}
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidParams(f"{self.method}: {error}") from None
        if len(request) > LARGEST_REQUEST:
            raise BadRequest(f"{self.method}: {len(request)} bytes; {LARGEST_REQUEST} are the limit")
        return request

    def unpack(self, reply: bytes) -> T:
        """Return the result in a reply. Raises the ApiError of its code."""
        try:
            decoded = self._decoder.decode(reply)
        except msgspec.DecodeError as error:
            raise InternalError(f"the node's reply to {self.method} is not understood: {error}") from None
        if not decoded.ok:
            raise API_ERRORS.get(decoded.error.code, InternalError)(decoded.error.message)
        result: T = decoded.result
        return result


class _Error(msgspec.Struct, frozen=True):
    code: str = InternalError.code
    message: str = "the reply names no error"


class _Reply(msgspec.Struct, Generic[T], frozen=True):
    ok: bool
    result: T | None = None
    error: _Error = _Error()


_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def _decoder(result: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder of a result type; making one costs more than a call."""
    decoder = _decoders.get(result)
    if decoder is None:
        decoder = _decoders[result] = msgspec.msgpack.Decoder(_Reply[result])
    return decoder


def as_key(key: KeyLike | None, named: NamedKey) -> dict[str, bytes | str]:
    """Return the key that was given, in whichever way. Raises InvalidParams unless there is exactly one."""
    given = [Key.of(key)] if key is not None else []
    given += [Key({form: value}) for form, value in named.items() if isinstance(value, (bytes, str))]
    if len(given) != 1 or len(named) + (key is not None) != 1:
        raise InvalidParams("give one key: an argument, or one of id=…, cid=…, address=…")
    return given[0].wire
