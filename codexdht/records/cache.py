"""A bounded cache of verified records by their bytes: the same record arrives many times, and a check takes 40 us."""

from __future__ import annotations

from collections import OrderedDict

from codexdht.records.multiaddress import ALL_VERSIONS, IpVersions
from codexdht.records.spr import SignedPeerRecord, decode_record


class RecordCache:
    """Least recently used records leave first. Only records that decoded are kept, so a flood of bad ones costs
    checks but no memory and drives nothing out."""

    def __init__(self, size: int, versions: IpVersions = ALL_VERSIONS) -> None:
        """versions: those that this node has sockets of; the endpoints of records are chosen among them."""
        self._size = size
        self._versions = versions
        self._records: OrderedDict[bytes, SignedPeerRecord] = OrderedDict()
        self.checks = 0

    def __len__(self) -> int:
        return len(self._records)

    def shared(self, versions: IpVersions) -> RecordCache:
        """Return a cache of the same records for a node with other sockets."""
        cache = RecordCache(self._size, versions)
        cache._records = self._records
        return cache

    def decode(self, data: bytes, *, verified: bool = False) -> SignedPeerRecord:
        """Return the record in data. Raises DecodeError, and takes `verified`, as `decode_record` does."""
        record = self._records.get(data)
        if record is not None:
            self._records.move_to_end(data)
            return record.reached_over(self._versions)
        self.checks += not verified
        record = decode_record(data, verified=verified)
        self._records[data] = record
        if len(self._records) > self._size:
            self._records.popitem(last=False)
        return record.reached_over(self._versions)
