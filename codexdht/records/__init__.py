"""Signed peer records (SPRs): what a node tells others about how to reach a peer (wire.md section 2)."""

from codexdht.records.cache import RecordCache
from codexdht.records.multiaddress import (
    ALL_VERSIONS,
    Endpoint,
    IpVersions,
    address_text,
    endpoint_of,
    ip_version,
    is_valid_multiaddress,
    multiaddress_of_endpoint,
    parse_address,
)
from codexdht.records.spr import (
    SignedPeerRecord,
    decode_record,
    largest_record,
    record_from_uri,
    record_to_uri,
    sign_record,
)

__all__ = [
    "ALL_VERSIONS",
    "Endpoint",
    "IpVersions",
    "RecordCache",
    "SignedPeerRecord",
    "address_text",
    "decode_record",
    "endpoint_of",
    "ip_version",
    "is_valid_multiaddress",
    "largest_record",
    "multiaddress_of_endpoint",
    "parse_address",
    "record_from_uri",
    "record_to_uri",
    "sign_record",
]
