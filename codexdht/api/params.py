"""The parameters of each method, as msgspec validates them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from codexdht.api.forms import KEY_FORMS, Address, Blob, Cid, EthAddress, Id, Key, Peer, Spr
from codexdht.errors import InvalidParams
from codexdht.identity import node_id_of_public_key

Kind = Literal["dht", "provider"]
Keys = Annotated[list[Key], Meta(min_length=1, max_length=2_000)]
Limit = Annotated[int, Meta(ge=1, le=10_000)]


class Params(Struct, forbid_unknown_fields=True, kw_only=True):
    """A method without parameters, and the base of all others."""


class OfKind(Params):
    kind: Kind = "dht"


class UpdateRecord(OfKind):
    spr: Spr | None = None
    addresses: Annotated[list[Address], Meta(min_length=1, max_length=32)] | None = None


def _only(expected: str, *given: Any) -> Any:
    """Return the one that is not None. Raises InvalidParams when there are more, or none."""
    named = [value for value in given if value is not None]
    if len(named) != 1:
        raise InvalidParams(f"expected exactly one {expected} ({KEY_FORMS}), found {len(named) or 'none'}")
    return named[0]


class OfKey(Params):
    """A key: as `key`, or in one of its forms without that wrapping."""

    key: Key | None = None
    id: Id | None = None
    cid: Cid | None = None
    address: EthAddress | None = None

    def the_key(self) -> bytes:
        """Return the key. Raises InvalidParams unless there is exactly one."""
        key: Key = _only("key", *self._keys())
        return key.id

    def _keys(self) -> tuple[Key | None, ...]:
        return self.key, self.id, self.cid, self.address


class OfKeys(Params):
    keys: Keys


class AddProvider(OfKey):
    spr: Spr | None = None


class AddProviders(OfKeys):
    spr: Spr | None = None


class GetProviders(OfKey):
    limit: Limit | None = None


class FindProviders(GetProviders):
    own: bool = False


class OfPeer(Params):
    peerId: Peer  # noqa: N815


class Resolve(OfKey):
    peerId: Peer | None = None  # noqa: N815

    def node_id(self) -> bytes:
        """Return the id of the node that is meant. Raises InvalidParams."""
        named = _only("peerId or key", *self._keys(), self.peerId)
        return node_id_of_public_key(named.public_key) if isinstance(named, Peer) else named.id


class OfNode(OfKey):
    record: Spr | None = None
    spr: Spr | None = None

    def node(self) -> tuple[bytes, bytes]:
        """Return node id and record (empty if it is to be found) of the node that is meant. Raises InvalidParams."""
        named = _only("record or key", *self._keys(), self.record, self.spr)
        if isinstance(named, Key):
            return named.id, b""
        if named.record.endpoint is None:
            raise InvalidParams("the record holds no UDP address (/ip4|ip6/…/udp/…) to reach the node at")
        return named.record.node_id, named.record.encoded


class Talk(OfNode, kw_only=True):
    protocol: Blob
    request: Blob
