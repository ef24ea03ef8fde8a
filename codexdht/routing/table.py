"""The routing table: k-buckets that split (Maymounkov and Mazières, *Kademlia*, 2002, sections 2.4 and 4.2).

Invariant: every entry is in `_entries` and in the one bucket that its id belongs to, never in a bucket's spares as
well; no bucket holds more than k entries or more than its spares; `_networks` counts entries and spares by network and
no count is above its limit; every record has an endpoint; our own id is in no bucket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from codexdht.records import SignedPeerRecord
from codexdht.records.networks import network_of
from codexdht.routing.bucket import Branch, Bucket
from codexdht.routing.entry import Entry
from codexdht.routing.settings import RoutingSettings


class RoutingTable:
    """Nodes by id. `peak` is the highest number of entries so far."""

    __slots__ = ("_counters", "_entries", "_networks", "_own", "_root", "_settings", "buckets", "peak")

    def __init__(self, own_id: bytes, settings: RoutingSettings, counters: Counter[str]) -> None:
        self._own = int.from_bytes(own_id, "big")
        self._settings = settings
        self._counters = counters
        self._entries: dict[int, Entry] = {}
        self._networks: dict[str, int] = {}
        bucket = Bucket(0, 0)
        self._root: Bucket | Branch = bucket
        self.buckets = [bucket]
        self.peak = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, node_id: bytes) -> Entry | None:
        """Return the entry of a node."""
        return self._entries.get(int.from_bytes(node_id, "big"))

    def bucket_of(self, node_id: bytes) -> Bucket:
        """Return the bucket that an id belongs to."""
        return self._bucket(int.from_bytes(node_id, "big"))

    # Asking -------------------------------------------------------------------------------------------------------

    def closest(self, target: bytes, count: int) -> list[Entry]:
        """Return the entries nearest to target, nearest first, of nodes that have answered and are not failing.

        Every FIND_NODE_FAST comes here, so it is written flat: a walk down the tree that turns towards the target
        first meets the buckets in the order of their distance, and mostly ends in the first one.
        """
        wanted = int.from_bytes(target, "big")
        entries = self._entries
        found: list[Entry] = []
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            while isinstance(node, Branch):
                bit = wanted >> node.shift & 1
                waiting.append(node.children[1 - bit])
                node = node.children[bit]
            distances = [number ^ wanted for number in node.relayed()]
            distances.sort()
            found += [entries[distance ^ wanted] for distance in distances[: count - len(found)]]
            if len(found) == count:
                break
        return found

    def nearest(self, target: bytes, count: int) -> list[Entry]:
        """Return the entries nearest to target, nearest first, whatever their standing: where a query starts."""
        wanted = int.from_bytes(target, "big")
        found: list[Entry] = []
        waiting = [self._root]
        while waiting and len(found) < count:
            node = waiting.pop()
            while isinstance(node, Branch):
                bit = wanted >> node.shift & 1
                waiting.append(node.children[1 - bit])
                node = node.children[bit]
            found += sorted(node.entries, key=lambda entry: entry.number ^ wanted)
        return found[:count]

    def at_distances(self, distances: Collection[int]) -> dict[int, list[Entry]]:
        """Return the entries at each of these log-distances from us, of nodes that have answered and are not failing.

        One pass over the table, however many distances a peer asks for.
        """
        own = self._own
        found: dict[int, list[Entry]] = {distance: [] for distance in distances}
        for entry in self._entries.values():
            there = found.get((entry.number ^ own).bit_length())
            if there is not None and entry.answers and not entry.failures:
                there.append(entry)
        return found

    # Learning -----------------------------------------------------------------------------------------------------

    def add(self, record: SignedPeerRecord, now: float) -> Entry | None:
        """Learn of a node, from itself or from others; return its entry if it is in the table now.

        A newer record replaces an older one. A node whose endpoint has changed is not relayed until it answers there.
        """
        number = record.number
        entry = self._entries.get(number)
        if entry is not None:
            self._take_newer(entry, record)
            return entry
        spare = self._bucket(number).spare(number)
        if spare is not None:
            self._take_newer(spare, record)
            return None
        newcomer = self._newcomer(record, now)
        if newcomer is not None:
            self._place(newcomer)
        return self._entries.get(number)

    def answered(self, record: SignedPeerRecord, rtt: float, now: float) -> Entry | None:
        """Count an answer of a node, which earns it a place before nodes that never answered. One from an address that
        its newest record does not name any more says nothing of the address that is handed on."""
        number = record.number
        if number not in self._entries:
            return self._answered_outside(record, rtt, now)
        entry = self._entries[number]
        self._take_newer(entry, record)
        if entry.record.endpoint != record.endpoint:
            return entry
        standing = entry.answers and not entry.failures
        entry.answered(rtt, now)
        if not standing:
            self._bucket(number).changed()
        return entry

    def failed(self, node_id: bytes) -> Entry | None:
        """Count a request that a node did not answer, and let the node go where it must; return it if it stays."""
        entry = self.get(node_id)
        if entry is None:
            return None
        bucket = self._bucket(entry.number)
        entry.failed()
        bucket.changed()
        if self._must_go(entry, bucket):
            self._remove(entry, bucket)
            self._counters["table_dropped"] += 1
            return None
        return entry

    def restore(self, entry: Entry) -> bool:
        """Put a saved entry back, also in place of the same node's that was learnt of before and has not been asked
        since; tell whether it found a place."""
        number = entry.number
        known = self._entries.get(number) or self._bucket(number).spare(number)
        if number == self._own:
            return False
        if known is not None:
            if known.answers or known.failures or not entry.answers:
                return False
            self.remove(known.node_id)
        self._place(entry)
        if known is not None:
            self.add(known.record, known.first_seen)
        return self._entries.get(number) is entry

    def remove(self, node_id: bytes) -> bool:
        """Forget a node altogether; tell whether it was known."""
        number = int.from_bytes(node_id, "big")
        bucket = self._bucket(number)
        entry = self._entries.get(number)
        if entry is not None:
            self._remove(entry, bucket)
            return True
        spare = bucket.spare(number)
        if spare is not None:
            bucket.spares.remove(spare)
            self._release(spare)
        return spare is not None

    # Inside -------------------------------------------------------------------------------------------------------

    def _bucket(self, number: int) -> Bucket:
        node = self._root
        while isinstance(node, Branch):
            node = node.children[number >> node.shift & 1]
        return node

    def _newcomer(self, record: SignedPeerRecord, now: float) -> Entry | None:
        if record.endpoint is None or record.number == self._own:
            return None
        return Entry(record, record.number, network_of(record.endpoint[0], self._settings.ip_limits), now)

    def _answered_outside(self, record: SignedPeerRecord, rtt: float, now: float) -> Entry | None:
        """Count an answer of a node that is no entry, and give it the place that this earns it."""
        bucket = self._bucket(record.number)
        node = bucket.spare(record.number)
        if node is None:
            node = self._newcomer(record, now)
            if node is None:
                return None
        else:
            self._take_newer(node, record)
            if node.record.endpoint != record.endpoint:
                return None
            bucket.spares.remove(node)
            self._release(node)
        node.answered(rtt, now)
        self._place(node)
        return self._entries.get(record.number)

    def _take_newer(self, entry: Entry, record: SignedPeerRecord) -> None:
        if record.seq <= entry.record.seq:
            return
        if record.endpoint is None:
            self._counters["table_refused_no_endpoint"] += 1
            return
        if record.endpoint != entry.record.endpoint and not self._move(entry, record.endpoint[0]):
            return
        entry.record = record

    def _move(self, entry: Entry, host: str) -> bool:
        bucket = self._bucket(entry.number)
        network = network_of(host, self._settings.ip_limits)
        if network != entry.network:
            if not self._has_room(network, bucket):
                return False
            self._release(entry)
            entry.network = network
            self._charge(entry)
        entry.failures = max(entry.failures, 1)
        bucket.changed()
        return True

    def _place(self, entry: Entry) -> None:
        bucket = self._bucket(entry.number)
        if entry.answers:
            self._drop_unseen(entry.network, bucket)
        if not self._has_room(entry.network, bucket):
            return
        while len(bucket.entries) >= self._settings.bucket_size:
            if not self._may_split(bucket):
                self._place_in_full(entry, bucket)
                return
            self._split(bucket)
            bucket = self._bucket(entry.number)
        if len(self._entries) >= self._settings.max_entries and not self._make_room(entry):
            self._add_spare(entry, bucket)
            return
        self._put(entry, bucket)

    def _put(self, entry: Entry, bucket: Bucket) -> None:
        bucket.entries.append(entry)
        bucket.changed()
        self._entries[entry.number] = entry
        self._charge(entry)
        self.peak = max(self.peak, len(self._entries))

    def _place_in_full(self, entry: Entry, bucket: Bucket) -> None:
        worst = min(bucket.entries, key=Entry.relevance)
        if entry.answers and not worst.answers:
            self._take_out(worst, bucket)
            self._put(entry, bucket)
            entry = worst
        self._add_spare(entry, bucket)

    def _add_spare(self, entry: Entry, bucket: Bucket) -> None:
        if len(bucket.spares) >= self._settings.replacements:
            leaving = next((e for e in bucket.spares if not e.answers), None)
            if leaving is None and entry.answers and bucket.spares:
                leaving = bucket.spares[0]
            if leaving is None:
                self._counters["table_refused_full"] += 1
                return
            bucket.spares.remove(leaving)
            self._release(leaving)
        bucket.spares.append(entry)
        self._charge(entry)

    def _must_go(self, entry: Entry, bucket: Bucket) -> bool:
        if entry.reliability is not None and entry.reliability < self._settings.min_reliability:
            return True
        if entry.failures < self._settings.replace_after:
            return False
        return bool(bucket.spares) or not entry.answers

    def _remove(self, entry: Entry, bucket: Bucket) -> None:
        self._take_out(entry, bucket)
        if bucket.spares:
            spare = max(reversed(bucket.spares), key=Entry.relevance)
            bucket.spares.remove(spare)
            self._release(spare)
            self._put(spare, bucket)

    def _take_out(self, entry: Entry, bucket: Bucket) -> None:
        bucket.entries.remove(entry)
        bucket.changed()
        del self._entries[entry.number]
        self._release(entry)

    def _may_split(self, bucket: Bucket) -> bool:
        depth = bucket.depth
        if depth >= 255:
            return False
        return depth % self._settings.split_bits != 0 or (bucket.prefix ^ self._own) >> (256 - depth) == 0

    def _split(self, bucket: Bucket) -> None:
        branch = bucket.split()
        self._root = _replaced(self._root, bucket, branch)
        at = self.buckets.index(bucket)
        self.buckets[at : at + 1] = [b for b in branch.children if isinstance(b, Bucket)]

    def _make_room(self, newcomer: Entry) -> bool:
        """Let the least relevant entry go that is not among our k closest, if the newcomer is more relevant, or will be
        among them."""
        if not newcomer.answers:
            return False
        near = set(self._closest_to_us())
        worst = min((e for e in self if e.number not in near), key=Entry.relevance, default=None)
        if worst is None:
            return False
        if worst.relevance() >= newcomer.relevance() and not self._is_nearer(newcomer, near):
            return False
        self._take_out(worst, self._bucket(worst.number))
        self._counters["table_too_many"] += 1
        return True

    def _closest_to_us(self) -> Iterable[int]:
        own = self._own.to_bytes(32, "big")
        return (e.number for e in self.nearest(own, self._settings.bucket_size))

    def _is_nearer(self, newcomer: Entry, near: set[int]) -> bool:
        return newcomer.number ^ self._own < max(number ^ self._own for number in near)

    def _has_room(self, network: str | None, bucket: Bucket) -> bool:
        room = not (self._is_share_full(network, bucket) or self._is_share_full(network))
        if not room:
            self._counters["table_refused_network"] += 1
        return room

    def _is_share_full(self, network: str | None, bucket: Bucket | None = None) -> bool:
        """Tell whether a bucket, or else the table, has as many nodes of a network as it may have."""
        if network is None:
            return False
        if bucket is None:
            return self._networks.get(network, 0) >= self._settings.table_ip_limit
        return sum(e.network == network for e in bucket.members()) >= self._settings.bucket_ip_limit

    def _drop_unseen(self, network: str | None, bucket: Bucket) -> None:
        """Where a network has its share, let one of its nodes go that has never answered: such records cost nothing to
        make up."""
        if self._is_share_full(network, bucket):
            buckets = [bucket]
        elif self._is_share_full(network):
            buckets = self.buckets
        else:
            return
        members = (e for bucket in buckets for e in bucket.members() if e.network == network)
        unseen = next((e for e in members if not e.answers), None)
        if unseen is not None:
            self.remove(unseen.node_id)
            self._counters["table_unseen_dropped"] += 1

    def _charge(self, entry: Entry) -> None:
        if entry.network is not None:
            self._networks[entry.network] = self._networks.get(entry.network, 0) + 1

    def _release(self, entry: Entry) -> None:
        if entry.network is not None:
            left = self._networks[entry.network] - 1
            if left:
                self._networks[entry.network] = left
            else:
                del self._networks[entry.network]


def _replaced(root: Bucket | Branch, bucket: Bucket, branch: Branch) -> Bucket | Branch:
    """Return the tree with a branch in the place of a bucket."""
    if root is bucket:
        return branch
    node = root
    while isinstance(node, Branch):
        side = bucket.prefix >> node.shift & 1
        if node.children[side] is bucket:
            node.children[side] = branch
            break
        node = node.children[side]
    return root
