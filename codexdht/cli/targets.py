"""What people type for keys, nodes and records, checked before anything is sent."""

from __future__ import annotations

from codexdht.client import Key
from codexdht.identity import node_id_of_public_key, parse_peer_id
from codexdht.records import record_from_uri


def key_of(text: str) -> Key:
    """Return the key that a text stands for: a CID, 64 hexadecimal digits, 0x and 40 digits, or a peer id.

    Raises InvalidParams.
    """
    if text.startswith("16Uiu2"):
        return Key.id(node_id_of_public_key(parse_peer_id(text)))
    return Key.of(text).resolved()


def node_of(text: str) -> Key | str:
    """Return a node's spr:… text as it is, and anything else as `key_of`. Raises InvalidParams and InvalidRecord."""
    return record_from_uri(text).uri if text.startswith("spr:") else key_of(text)


def id_of(text: str) -> Key:
    """Return the key of a node that is named by record, peer id or node id. Raises InvalidParams and InvalidRecord."""
    return Key.id(record_from_uri(text).node_id) if text.startswith("spr:") else key_of(text)
