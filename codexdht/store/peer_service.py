"""ADD_PROVIDER and GET_PROVIDERS of peers."""

from __future__ import annotations

from collections import Counter

from codexdht.entropy import Entropy
from codexdht.errors import DecodeError
from codexdht.messages import discv5
from codexdht.messages.internal import PeerRequest
from codexdht.records import RecordCache
from codexdht.store.answers import Answer, AnswerCache, choose
from codexdht.store.providers import Announcement, Providers
from codexdht.store.settings import StoreSettings
from codexdht.store.sources import Sources

_VERIFIED = 256
"""Records of others that are kept as verified; those stored already need no check anyway."""


class PeerService:
    """Checks and counts what peers send; `Providers` decides."""

    def __init__(
        self,
        providers: Providers,
        answers: AnswerCache,
        settings: StoreSettings,
        entropy: Entropy,
        counters: Counter[str],
    ) -> None:
        self._providers = providers
        self._answers = answers
        self._settings = settings
        self._entropy = entropy
        self._counters = counters
        self._sources = Sources(settings.ip_limits)
        self._verified = RecordCache(_VERIFIED)

    @property
    def checks(self) -> int:
        """How many signatures were checked."""
        return self._verified.checks

    def add(self, request: PeerRequest, time: int, unix: float) -> int:
        """Serve an ADD_PROVIDER; return how much was written, 0 for nothing. Raises StorageFull."""
        try:
            key, encoded = discv5.decode_add_provider(request.body)
            known = self._identify(request.node_id, encoded)
        except DecodeError as error:
            self._counters["refused_" + str(error).replace(" ", "_")] += 1
            return 0
        node_id, seq = known
        source = self._sources.of(request.host)
        new = Announcement(key, node_id, seq, encoded, time + self._settings.lifetime, source, False)
        writes = self._providers.writes
        outcome = self._providers.announce(new, time, int(unix) + self._settings.max_seq_ahead)
        self._counters[outcome.value] += 1
        return self._providers.writes - writes

    def _identify(self, sender: bytes, encoded: bytes) -> tuple[bytes, int]:
        """Return node id and seq of an announced record. Raises DecodeError, naming a counter.

        The record of the sender that is in the store already was verified when it came in: its bytes are enough.
        """
        if len(encoded) > self._settings.max_record_size:
            raise DecodeError("record size")
        seq = self._providers.seq_if_held(sender, encoded)
        if seq is not None:
            return sender, seq
        record = self._verified.decode(encoded)
        if record.node_id != sender and self._settings.provider_policy == "own":
            raise DecodeError("record of another")
        return record.node_id, record.seq

    def get(self, request: PeerRequest, now: float, time: int) -> list[bytes]:
        """Return the bodies that answer a GET_PROVIDERS. Raises DecodeError."""
        key = discv5.decode_get_providers(request.body)
        bodies = self._answers.get(key, now, time)
        if bodies is None:
            bodies = self._compose(key, now, time)
        else:
            self._counters["answers_from_cache"] += 1
        return bodies

    def _compose(self, key: bytes, now: float, time: int) -> list[bytes]:
        settings, providers = self._settings, self._providers
        live = providers.live(key, time)
        packets = settings.max_answer_packets
        fresh_after = time + settings.lifetime // 2
        numbers = [number for _, number in choose(live, fresh_after, packets, self._entropy)]
        bodies = discv5.split_records([providers.record(number) for number in numbers], packets)
        until_time = live[-1][0] if live else time + settings.lifetime
        until = now + settings.answer_cache_time
        self._answers.put(key, Answer(bodies, frozenset(numbers), until, until_time))
        return bodies
