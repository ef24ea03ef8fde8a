"""What routing is told about its own node."""

from __future__ import annotations

from codexdht.messages.internal import Life, LocalRecords
from codexdht.records import RecordCache, SignedPeerRecord


class LocalNode:
    """Our id, records, life and Unix clock, as the other actors told us last.

    record is None until the wire has said it; provider_record may be empty; default_seq: the seq of `default_record`,
    which is the Unix time of its last change, if nobody has set it to something else; Unix time = now + unix_offset.
    """

    __slots__ = ("default_seq", "life", "node_id", "provider_record", "record", "unix_offset")

    def __init__(self, node_id: bytes) -> None:
        self.node_id = node_id
        self.life = Life.UNKNOWN
        self.record: SignedPeerRecord | None = None
        self.provider_record = b""
        self.default_seq = 0
        self.unix_offset = 0.0

    @property
    def seq(self) -> int:
        """The seq of our DHT record; 0 before we know it."""
        return self.record.seq if self.record is not None else 0

    @property
    def default_record(self) -> bytes:
        """What is published when nothing else is asked for: the provider record, or else the DHT record."""
        return self.provider_record or (self.record.encoded if self.record is not None else b"")

    def update(self, records: LocalRecords, cache: RecordCache) -> None:
        """Take our records from the wire. Raises DecodeError when one does not decode; nothing has changed then."""
        record = cache.decode(records.record) if records.record else None
        provider = cache.decode(records.provider_record, verified=True) if records.provider_record else record
        self.record = record
        self.provider_record = records.provider_record
        self.default_seq = provider.seq if provider is not None else 0
