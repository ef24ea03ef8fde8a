"""What the node's own actors ask of the store.

Writes are generators that do a small step between two yields and return the value of their answer; an ApiError raised
in one is the answer instead.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from codexdht.errors import DecodeError, InvalidParams, InvalidRecord, StorageFull
from codexdht.identity import node_id_of_public_key
from codexdht.messages.internal import (
    DropProvided,
    GetProviders,
    ListProvided,
    PutProvided,
    PutProvider,
    RemoveProviders,
    SaveTable,
)
from codexdht.records import SignedPeerRecord, decode_record
from codexdht.store import notes
from codexdht.store.backend import Backend
from codexdht.store.layout import KEY_SIZE
from codexdht.store.providers import Announcement, Providers
from codexdht.store.rules import Outcome
from codexdht.store.settings import StoreSettings
from codexdht.store.sources import NO_SOURCE

STEP: Final = 128
"""Rows written in one step: about 2 ms."""
_COUNT_STEP: Final = 4096
"""Rows counted in one step."""
_FULL: Final = frozenset({Outcome.RECORDS_FULL, Outcome.DISK_FULL})

Steps = Generator[None, None, Any]


class LocalService:
    """See the module. `time` is the store's, `latest_seq` what `compare_seq` needs."""

    def __init__(self, backend: Backend, providers: Providers, settings: StoreSettings) -> None:
        self._backend = backend
        self._providers = providers
        self._settings = settings

    def put_provider(self, message: PutProvider, time: int, latest_seq: int) -> Steps:
        """Keep a record under every key."""
        _check_keys(message.keys)
        record = self._decode(message.record)
        expiry = time + self._settings.lifetime
        for count, key in enumerate(message.keys, 1):
            new = Announcement(key, record.node_id, record.seq, record.encoded, expiry, NO_SOURCE, True)
            outcome = self._providers.announce(new, time, latest_seq)
            if outcome in _FULL:
                raise StorageFull(
                    f"the provider store is at its limit: {count - 1} of {len(message.keys)} keys kept"
                )
            if count % STEP == 0:
                yield

    def remove_providers(self, message: RemoveProviders, _time: int, _latest_seq: int) -> Steps:
        """Forget a peer. Its entries are out of sight at once, and counted; deleting them is left to housekeeping."""
        number = self._providers.doom(node_id_of_public_key(message.public_key))
        removed, start = 0, b""
        while number is not None:
            keys = self._providers.keys_of(number, start, _COUNT_STEP)
            removed += len(keys)
            if len(keys) < _COUNT_STEP:
                break
            start = keys[-1] + b"\0"
            yield
        return {"removed": removed}

    def save_table(self, message: SaveTable, _time: int, _latest_seq: int) -> Steps:
        """Keep a snapshot of the routing table."""
        notes.save_table(self._backend, message.entries)
        return
        yield

    def put_provided(self, message: PutProvided, _time: int, _latest_seq: int) -> Steps:
        """Remember keys that this node provides."""
        _check_keys([key for key, _ in message.items])
        limit = self._settings.max_provided
        if self._providers.is_full:
            raise StorageFull("the provider store is at its limit")
        for start in range(0, len(message.items), STEP):
            notes.put_provided(self._backend, message.items[start : start + STEP], message.record, limit)
            yield

    def drop_provided(self, message: DropProvided, _time: int, _latest_seq: int) -> Steps:
        """Forget keys that this node provided."""
        _check_keys(message.keys)
        for start in range(0, len(message.keys), STEP):
            notes.drop_provided(self._backend, message.keys[start : start + STEP])
            yield

    def get_providers(self, message: GetProviders, time: int) -> list[bytes]:
        """Return the live providers of a key, freshest first."""
        _check_keys([message.key])
        live = self._providers.live(message.key, time)
        chosen = live[: message.limit] if message.limit else live
        return [self._providers.record(number) for _, number in chosen]

    def list_provided(self, message: ListProvided) -> list[list[Any]]:
        """Return a page of what this node provides."""
        return notes.list_provided(self._backend, message.start, message.limit)

    def _decode(self, encoded: bytes) -> SignedPeerRecord:
        limit = self._settings.max_record_size
        if len(encoded) > limit:
            raise InvalidRecord(f"the record has {len(encoded)} bytes; {limit} are the limit")
        try:
            return decode_record(encoded)
        except DecodeError as error:
            raise InvalidRecord(f"the record does not hold: {error}") from None


def _check_keys(keys: list[bytes]) -> None:
    if any(len(key) != KEY_SIZE for key in keys):
        raise InvalidParams(f"a key has {KEY_SIZE} bytes")
