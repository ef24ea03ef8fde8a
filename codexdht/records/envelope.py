"""Reading and writing of the protobuf messages of a record (wire.md section 2): envelope, and peer record in it.

    Envelope    1 public_key  2 payload_type = 03 01  3 payload  5 signature
    PeerRecord  1 peer_id     2 seq                   3 addresses { 1 multiaddr }

Nothing is verified here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from codexdht.errors import DecodeError
from codexdht.identity import decode_public_key_unchecked, encode_public_key, peer_id_bytes
from codexdht.identity.encoding import read_fields, read_uvarint, uvarint

PAYLOAD_TYPE: Final = b"\x03\x01"
_ONE_BYTE: Final = 127
"""The largest length of a field that takes one byte."""
_KEY_FIELD: Final = b"\x0a\x25\x08\x02\x12\x21"
_KEY_END: Final = 39
_TYPE_FIELD: Final = b"\x12\x02" + PAYLOAD_TYPE + b"\x1a"
_SIZE_AT: Final = 44
_PAYLOAD_AT: Final = 45
_SIGNATURE_FIELDS: Final = {size: bytes((0x2A, size)) for size in range(_ONE_BYTE + 1)}
_PEER_ID_FIELD: Final = b"\x0a\x27\x00\x25"
_SEQ_AT: Final = 41
_SEQ_FIELD: Final = 0x10
_LONGEST_SEQ: Final = 5
_ADDRESS_HEAD: Final = 4
_ADDRESS_FIELDS: Final = {bytes((0x1A, size + 2, 0x0A, size)): size for size in range(_ONE_BYTE - 1)}
"""Size of an address by the heads of its two fields, one in the other."""


class Parts(NamedTuple):
    """What a record says: 33-byte public key, which may be no point of the curve; seq below 2**64; binary
    multiaddresses, of any kind; the bytes that are signed over, and the DER signature."""

    public_key: bytes
    seq: int
    addresses: list[bytes]
    payload: bytes
    signature: bytes


def encode_payload(public_key: bytes, seq: int, addresses: list[bytes] | tuple[bytes, ...]) -> bytes:
    """Return an encoded PeerRecord."""
    fields = [_field(1, peer_id_bytes(public_key)), b"\x10" + uvarint(seq)]
    return b"".join(fields + [_field(3, _field(1, address)) for address in addresses])


def encode_envelope(public_key: bytes, payload: bytes, signature: bytes) -> bytes:
    """Return an encoded Envelope."""
    fields = (1, encode_public_key(public_key)), (2, PAYLOAD_TYPE), (3, payload), (5, signature)
    return b"".join([_field(number, data) for number, data in fields])


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + uvarint(len(data)) + data


def read_envelope(data: bytes) -> Parts:
    """Return what a record says. Raises DecodeError when it is none, or names another peer than its key's.

    Records just as everybody writes them (fields in order, lengths of one byte) are taken apart by offsets: 3 us, where
    protobuf takes 9. All else is left to protobuf, which is imported then: it is 3 MB.
    """
    return _read_usual(data) or _read_any(data)


def _read_usual(data: bytes) -> Parts | None:
    """Return what a record of the usual form says. Every byte is accounted for, so protobuf would say the same."""
    if len(data) <= _PAYLOAD_AT or not data.startswith(_KEY_FIELD) or data[_KEY_END:_SIZE_AT] != _TYPE_FIELD:
        return None
    size = data[_SIZE_AT]
    end = _PAYLOAD_AT + size
    payload, signature = data[_PAYLOAD_AT:end], data[end + 2 :]
    if size > _ONE_BYTE or data[end : end + 2] != _SIGNATURE_FIELDS.get(len(signature)):
        return None
    if payload[:4] != _PEER_ID_FIELD or payload[4:_SEQ_AT] != data[2:_KEY_END]:
        return None
    seq, at = read_uvarint(payload, _SEQ_AT + 1, _LONGEST_SEQ)
    addresses = read_fields(payload, at, _ADDRESS_HEAD, _ADDRESS_FIELDS)
    if seq < 0 or payload[_SEQ_AT] != _SEQ_FIELD or addresses is None:
        return None
    return Parts(data[6:_KEY_END], seq, addresses, payload, signature)


def _read_any(data: bytes) -> Parts:
    from google.protobuf.message import DecodeError as ProtobufError

    from codexdht.records.envelope_pb2 import Envelope, PeerRecord

    try:
        envelope = Envelope.FromString(data)
        record = PeerRecord.FromString(envelope.payload)
    except ProtobufError:
        raise DecodeError("bad record") from None
    if envelope.payload_type != PAYLOAD_TYPE or not record.HasField("seq"):
        raise DecodeError("bad record")
    public_key = decode_public_key_unchecked(envelope.public_key)
    if record.peer_id != peer_id_bytes(public_key):
        raise DecodeError("foreign record")
    addresses = [info.multiaddr for info in record.addresses]
    return Parts(public_key, record.seq, addresses, envelope.payload, envelope.signature)
