"""This node's own records: what they announce, their seq, and what of it survives a restart (behaviour.md, "Local
record and address")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from codexdht.errors import ConfigError, DecodeError, InvalidParams, InvalidRecord
from codexdht.identity import PrivateKey
from codexdht.records import (
    Endpoint,
    SignedPeerRecord,
    decode_record,
    endpoint_of,
    ip_version,
    is_valid_multiaddress,
    multiaddress_of_endpoint,
    parse_address,
    sign_record,
)
from codexdht.wire.settings import WireSettings

MAX_RECORD: Final = 512
"""A larger record would leave no room for a request beside it in a handshake packet, nor for others in an answer."""
_UNSPECIFIED: Final = ("0.0.0.0", "::")
_LARGEST_GIVEN_SEQ: Final = 2**63 - 1
"""Every later record needs a larger seq, and 64 bits hold it."""


Save = Callable[[bytes], None]
"""Puts bytes on disk in place of the last ones before it returns. Raises StorageFull when it cannot."""


def keep_nothing(_: bytes) -> None:
    """Do without a disk, as simulations do: the next run starts anew."""


class LocalState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the wire actor keeps on disk. No record signed after a restart may have a seq that was used before it.

    last_seq: of the newest record of either kind; record, provider_record: encoded, b"" if there is none;
    configured: the binary addresses that the configuration stood for when `record` was signed.
    """

    last_seq: int = 0
    record: bytes = b""
    provider_record: bytes = b""
    configured: list[bytes] = []


def encode_state(state: LocalState) -> bytes:
    """Return the bytes of the file."""
    return msgspec.msgpack.encode(state)


def decode_state(data: bytes) -> LocalState:
    """Return the state in the bytes of the file. Raises DecodeError."""
    try:
        return msgspec.msgpack.decode(data, type=LocalState)
    except msgspec.MsgspecError:
        raise DecodeError("bad local state") from None


def parse_listen(text: str) -> Endpoint:
    """Return host and port of a listen multiaddress, /ip4|ip6/host/udp/port; port 0 takes any, and 0.0.0.0 and :: all
    interfaces. Raises ConfigError."""
    parts = text.split("/")
    try:
        if len(parts) == 5 and parts[0] == "" and parts[3] == "udp" and 0 <= int(parts[4]) < 65536:
            data = multiaddress_of_endpoint((parts[2], int(parts[4])))
            if data[0] == {"ip4": 0x04, "ip6": 0x29}.get(parts[1]):
                return parts[2], int(parts[4])
    except (ValueError, InvalidParams):
        pass
    raise ConfigError(f"{text!r} is not a listen address such as /ip4/0.0.0.0/udp/8090")


class LocalRecords:
    """The DHT record and the provider record of this node.

    Every change goes through `_change`, which has the new state on disk before anybody sees it, or raises StorageFull
    and has changed nothing: no seq is ever used twice. `record` is never missing: before the first address is known it
    has none.
    """

    def __init__(self, key: PrivateKey, state: LocalState, settings: WireSettings, save: Save) -> None:
        self._key = key
        self._settings = settings
        self._state = state
        self._save = save
        record = self._own(state.record)
        self.record = sign_record(key, 0, []) if record is None else record
        self.provider_record = self._own(state.provider_record)
        self._is_fresh = record is None

    def _own(self, encoded: bytes) -> SignedPeerRecord | None:
        """Return a saved record, unless it is damaged or the key has been replaced."""
        try:
            record = decode_record(encoded) if encoded else None
        except DecodeError:
            return None
        return record if record is not None and record.public_key == self._key.public_key else None

    def configure(self, bound: list[Endpoint], unix_time: float) -> bool:
        """Follow the configuration, given where the sockets are or will be; tell whether the record changed. Raises
        StorageFull.

        Addresses that were voted or set by the user stay as long as the configuration says what it said then.
        """
        addresses = self._configured(bound)
        if not self._is_fresh and addresses == self._state.configured:
            return False
        changed = addresses != list(self.record.addresses) or self.record.seq == 0
        record = self._sign(addresses, unix_time) if changed else self.record
        self._change(record, self.provider_record, addresses)
        self._is_fresh = False
        return changed

    def _configured(self, bound: list[Endpoint]) -> list[bytes]:
        if self._settings.announce == "auto":
            return [multiaddress_of_endpoint(e) for e in bound if e[0] not in _UNSPECIFIED and e[1]]
        ports = {ip_version(endpoint): endpoint[1] for endpoint in reversed(bound)}
        return [_with_port(parse_address(text), ports) for text in self._settings.announce]

    def follow(self, record: bytes, provider: bytes) -> None:
        """Take both records as another process of this node has signed them. Raises DecodeError."""
        self.record = decode_record(record)
        self.provider_record = decode_record(provider) if provider else None

    def vote(self, endpoint: Endpoint, unix_time: float) -> bool:
        """Announce the address that a majority of peers sees, in place of those of its family; tell whether the record
        changed. Nothing happens when the configuration fixes the addresses. Raises StorageFull."""
        if self._settings.announce != "auto" or self.record.endpoint == endpoint:
            return False
        voted = multiaddress_of_endpoint(endpoint)
        others = [a for a in self.record.addresses if a[0] != voted[0]]
        addresses = [voted, *others]
        if addresses == list(self.record.addresses):
            return False
        self._change(self._sign(addresses, unix_time), self.provider_record, self._state.configured)
        return True

    def update(
        self, provider: bool, encoded: bytes, addresses: list[bytes], unix_time: float
    ) -> SignedPeerRecord:
        """Replace one of the records and return the new one. A given one whose seq is not above all before it is
        signed again with one that is. Raises InvalidRecord, InvalidParams or StorageFull."""
        record = self._given(encoded, unix_time) if encoded else self._sign(_checked(addresses), unix_time)
        if len(record.encoded) > MAX_RECORD:
            raise InvalidParams(f"the record has {len(record.encoded)} bytes, the limit is {MAX_RECORD}")
        if provider:
            self._change(self.record, record, self._state.configured)
        else:
            self._change(record, self.provider_record, self._state.configured)
        return record

    def _given(self, encoded: bytes, unix_time: float) -> SignedPeerRecord:
        try:
            record = decode_record(encoded)
        except DecodeError as error:
            raise InvalidRecord(f"the record does not hold: {error}") from None
        if record.public_key != self._key.public_key:
            raise InvalidRecord("the record is signed with another key than this node's")
        if record.seq > _LARGEST_GIVEN_SEQ:
            raise InvalidRecord(
                f"the record's seq {record.seq} leaves no room for later ones; use the Unix time"
            )
        return record if record.seq > self._state.last_seq else self._sign(list(record.addresses), unix_time)

    def _sign(self, addresses: list[bytes], unix_time: float) -> SignedPeerRecord:
        return sign_record(self._key, max(int(unix_time), self._state.last_seq + 1), addresses)

    def _change(
        self, record: SignedPeerRecord, provider: SignedPeerRecord | None, configured: list[bytes]
    ) -> None:
        state = LocalState(
            last_seq=max(self._state.last_seq, record.seq, 0 if provider is None else provider.seq),
            record=record.encoded,
            provider_record=b"" if provider is None else provider.encoded,
            configured=configured,
        )
        self._save(encode_state(state))
        self._state = state
        self.record, self.provider_record = record, provider


def _checked(addresses: list[bytes]) -> list[bytes]:
    for address in addresses:
        if not is_valid_multiaddress(address):
            raise InvalidParams(f"0x{address.hex()} is not a multiaddress")
    return addresses


def _with_port(address: bytes, ports: dict[int, int]) -> bytes:
    """Return a multiaddress that ends with /udp/0 with the port that is bound for its IP version in place of the 0."""
    if not address.endswith(b"\x91\x02\0\0"):
        return address
    endpoint = endpoint_of(address[:-2] + b"\0\x01")
    port = 0 if endpoint is None else ports.get(ip_version(endpoint), 0)
    return address[:-2] + port.to_bytes(2, "big")
