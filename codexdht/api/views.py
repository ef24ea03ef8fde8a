"""What users see of records and routing entries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import msgspec

from codexdht.records import address_text, decode_record, multiaddress_of_endpoint, record_to_uri


class RecordViews:
    """The map that users get for a record, packed, by the record's bytes.

    Making one costs a signature check and three text forms, about 0.1 ms; a routing table of records would use up the
    time of many requests. The least recently used leave first.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._views: OrderedDict[bytes, msgspec.Raw] = OrderedDict()

    def __len__(self) -> int:
        return len(self._views)

    def one(self, encoded: bytes) -> msgspec.Raw | None:
        """Return the packed map of a record, None for no record."""
        if not encoded:
            return None
        view = self._views.get(encoded)
        if view is not None:
            self._views.move_to_end(encoded)
            return view
        view = self._views[encoded] = msgspec.Raw(msgspec.msgpack.encode(_record_map(encoded)))
        if len(self._views) > self._size:
            self._views.popitem(last=False)
        return view

    def many(self, records: Iterable[bytes]) -> list[msgspec.Raw | None]:
        """Return the packed maps of records, in their order."""
        return [self.one(encoded) for encoded in records]


def _record_map(encoded: bytes) -> dict[str, Any]:
    record = decode_record(encoded)
    return {
        "spr": encoded,
        "uri": record_to_uri(encoded),
        "peerId": record.peer_id,
        "nodeId": record.node_id,
        "seq": record.seq,
        "addresses": [address_text(address) for address in record.addresses],
    }


def entry_view(entry: dict[str, Any], views: RecordViews) -> dict[str, Any]:
    """Return a routing entry as users see it: its record as a map, and names in camelCase."""
    return {_camel(name): value for name, value in entry.items()} | {"record": views.one(entry["record"])}


def ping_view(pong: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a ping: `address` is our own, as a multiaddress, as that node sees it."""
    address = address_text(multiaddress_of_endpoint((pong["host"], pong["port"])))
    return {"seq": pong["seq"], "address": address, "rtt": pong["rtt"]}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
