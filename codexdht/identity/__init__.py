"""Keys, peer ids, node ids, CIDs and the distance between ids (wire.md section 1)."""

from codexdht.identity.curve import PUBLIC_KEY_SIZE
from codexdht.identity.distance import (
    MAX_DISTANCE,
    distance,
    id_at_distance,
    log_distance,
    lookup_distances,
)
from codexdht.identity.ids import (
    NODE_ID_SIZE,
    NodeId,
    keccak256,
    node_id_of_cid,
    node_id_of_eth_address,
    node_id_of_public_key,
    parse_cid,
    parse_eth_address,
    parse_peer_id,
    peer_id_bytes,
    peer_id_text,
)
from codexdht.identity.keys import (
    PrivateKey,
    decode_public_key,
    decode_public_key_unchecked,
    encode_public_key,
    verify,
)

__all__ = [
    "MAX_DISTANCE",
    "NODE_ID_SIZE",
    "PUBLIC_KEY_SIZE",
    "NodeId",
    "PrivateKey",
    "decode_public_key",
    "decode_public_key_unchecked",
    "distance",
    "encode_public_key",
    "id_at_distance",
    "keccak256",
    "log_distance",
    "lookup_distances",
    "node_id_of_cid",
    "node_id_of_eth_address",
    "node_id_of_public_key",
    "parse_cid",
    "parse_eth_address",
    "parse_peer_id",
    "peer_id_bytes",
    "peer_id_text",
    "verify",
]
