"""What users write in several forms: keys, records, peer ids, addresses, bytes.

msgspec hands what was sent for one of these types to `read`. They are plain classes, as msgspec reads any other kind
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from codexdht.errors import DecodeError, InvalidParams, InvalidRecord
from codexdht.identity import (
    NODE_ID_SIZE,
    node_id_of_cid,
    node_id_of_eth_address,
    parse_peer_id,
)
from codexdht.records import SignedPeerRecord, decode_record, parse_address, record_from_uri

_MAX_TEXT: Final = 512
KEY_FORMS: Final = '{"id": 32 bytes or hex}, {"cid": …} or {"address": …}'


class Key:
    """A point of the id space, given as {"id": 32 bytes or hex}, {"cid": text or bytes}, {"address": 0x… or 20 bytes},
    or as the hex of an id."""

    __slots__ = ("id",)

    def __init__(self, id: bytes) -> None:
        self.id = id


class Id(Key):
    """The id form of a key by itself."""

    __slots__ = ()


class Cid(Key):
    """The CID form of a key by itself."""

    __slots__ = ()


class EthAddress(Key):
    """The address form of a key by itself."""

    __slots__ = ()


class Spr:
    """A record, given as SPR bytes, as spr:… text, or as the map that this API returns for records."""

    __slots__ = ("record",)

    def __init__(self, record: SignedPeerRecord) -> None:
        self.record = record


class Peer:
    """A peer id, as text or bytes."""

    __slots__ = ("public_key",)

    def __init__(self, public_key: bytes) -> None:
        self.public_key = public_key


class Address:
    """A multiaddress, as text or bytes."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Blob:
    """Bytes, or text that stands for its UTF-8."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def read(wanted: type[Any], given: Any) -> Any:
    """Make one of this module's types. Raises ValueError, to which msgspec adds where it happened, or InvalidRecord."""
    try:
        return _READERS[wanted](given)
    except InvalidParams as error:
        raise ValueError(str(error)) from None


def _read_key(given: Any) -> Key:
    if isinstance(given, str):
        return Key(_id(given))
    if not isinstance(given, dict) or len(given) != 1:
        raise InvalidParams(f"a key is {KEY_FORMS}")
    [(form, value)] = given.items()
    reader = _KEY_READERS.get(form)
    if reader is None:
        raise InvalidParams(f"a key is {KEY_FORMS}")
    return Key(reader(_bytes_or_text(value, f"the {form} of a key")))


def _id(value: str | bytes) -> bytes:
    if isinstance(value, str):
        try:
            value = bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            raise InvalidParams("an id is 32 bytes or their 64 hexadecimal digits") from None
    if len(value) != NODE_ID_SIZE:
        raise InvalidParams(f"an id has {NODE_ID_SIZE} bytes, this one has {len(value)}")
    return value


def _read_spr(given: Any) -> Spr:
    if isinstance(given, dict):
        given = given.get("spr")
    if isinstance(given, str):
        return Spr(record_from_uri(given))
    if not isinstance(given, bytes):
        raise InvalidParams("a record is its bytes, its spr:… text, or a map with its bytes as spr")
    try:
        return Spr(decode_record(given))
    except DecodeError as error:
        raise InvalidRecord(f"the record does not hold: {error}") from None


def _read_peer(given: Any) -> Peer:
    return Peer(parse_peer_id(_bytes_or_text(given, "a peer id")))


def _read_address(given: Any) -> Address:
    address = _bytes_or_text(given, "a multiaddress")
    return Address(parse_address(address) if isinstance(address, str) else address)


def _read_blob(given: Any) -> Blob:
    if isinstance(given, str):
        return Blob(given.encode())
    if not isinstance(given, bytes):
        raise InvalidParams("expected bytes or text")
    return Blob(given)


def _bytes_or_text(value: Any, what: str) -> bytes | str:
    """Bounded, because decoding base58 takes time with the square of the length."""
    if not isinstance(value, (bytes, str)):
        raise InvalidParams(f"{what} is bytes or text")
    if len(value) > _MAX_TEXT:
        raise InvalidParams(f"{what} is at most {_MAX_TEXT} long, this one {len(value)}")
    return value


_KEY_READERS: Final[dict[str, Callable[[str | bytes], bytes]]] = {
    "id": _id,
    "cid": node_id_of_cid,
    "address": node_id_of_eth_address,
}
_READERS: Final[dict[type[Any], Callable[[Any], Any]]] = {
    Key: _read_key,
    Id: lambda given: Id(_id(_bytes_or_text(given, "an id"))),
    Cid: lambda given: Cid(node_id_of_cid(_bytes_or_text(given, "a CID"))),
    EthAddress: lambda given: EthAddress(
        node_id_of_eth_address(_bytes_or_text(given, "an Ethereum address"))
    ),
    Spr: _read_spr,
    Peer: _read_peer,
    Address: _read_address,
    Blob: _read_blob,
}
