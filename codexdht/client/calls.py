"""A function for each method of the API, from Python's arguments to a `Call` that a client can send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from codexdht.client.protocol import (
    Added,
    AddedMany,
    Call,
    Key,
    KeyLike,
    Kind,
    NamedKey,
    Nodes,
    NodeStats,
    Pong,
    Providers,
    Record,
    RecordLike,
    Removed,
    TableEntry,
    as_key,
)
from codexdht.errors import InvalidParams

T = TypeVar("T")


def open_node() -> Call[None]:
    return Call("open", {}, None)


def start() -> Call[None]:
    return Call("start", {}, None)


def close_wait() -> Call[None]:
    return Call("closeWait", {}, None)


def update_record(record: RecordLike | None, addresses: Iterable[str] | None, kind: Kind) -> Call[Record]:
    params: dict[str, Any] = {"kind": kind} | _spr(record)
    if addresses is not None:
        params["addresses"] = _listed("addresses", addresses)
    return Call("updateRecord", params, Record)


def record(kind: Kind) -> Call[Record]:
    return Call("record", {"kind": kind}, Record)


def add_provider(key: KeyLike | None, named: NamedKey, record: RecordLike | None) -> Call[Added]:
    return Call("addProvider", {"key": as_key(key, named)} | _spr(record), Added)


def add_providers(keys: Iterable[KeyLike], record: RecordLike | None) -> Call[AddedMany]:
    return Call("addProviders", {"keys": _wires(keys)} | _spr(record), AddedMany)


def get_providers(
    key: KeyLike | None, named: NamedKey, limit: int | None, *, local: bool = False, own: bool = False
) -> Call[Providers]:
    params = (
        {"key": as_key(key, named)}
        | ({} if limit is None else {"limit": limit})
        | ({"own": True} if own else {})
    )
    return Call("getProvidersLocal" if local else "getProviders", params, Providers)


def remove_providers_local(peer_id: str | bytes) -> Call[Removed]:
    return Call("removeProvidersLocal", {"peerId": peer_id}, Removed)


def withdraw(keys: Iterable[KeyLike]) -> Call[None]:
    return Call("withdraw", {"keys": _wires(keys)}, None)


def resolve(key: KeyLike | None, named: NamedKey, peer_id: str | bytes | None) -> Call[Record]:
    params = {"key": as_key(key, named)} if peer_id is None else {"peerId": peer_id}
    if peer_id is not None and (key is not None or named):
        raise InvalidParams("give either a key or peer_id")
    return Call("resolve", params, Record)


def ping(node: Record | KeyLike) -> Call[Pong]:
    return Call("ping", _node(node), Pong)


def lookup(key: KeyLike | None, named: NamedKey) -> Call[Nodes]:
    return Call("lookup", {"key": as_key(key, named)}, Nodes)


def talk(node: Record | KeyLike, protocol: bytes, request: bytes) -> Call[bytes]:
    params = _node(node) | {"protocol": protocol, "request": request}
    return Call("talk", params, bytes, repeatable=False)


def table() -> Call[list[TableEntry]]:
    return Call("table", {}, list[TableEntry])


def stats() -> Call[NodeStats]:
    return Call("stats", {}, NodeStats)


def _spr(record: RecordLike | None) -> dict[str, Any]:
    if record is None:
        return {}
    return {"spr": record.spr if isinstance(record, Record) else record}


def _node(node: Record | KeyLike) -> dict[str, Any]:
    """A node is named by a `Record`, by spr:… text, or by a key."""
    if isinstance(node, Record):
        return {"record": node.spr}
    if isinstance(node, str) and node.startswith("spr:"):
        return {"record": node}
    return {"key": Key.of(node).wire}


def _wires(keys: Iterable[KeyLike]) -> list[dict[str, bytes | str]]:
    return [Key.of(key).resolved().wire for key in _listed("keys", keys)]


def _listed(name: str, items: Iterable[T]) -> list[T]:
    """Text is iterable, too, but its letters are not what is meant."""
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise InvalidParams(f"{name} is a list, not {type(items).__name__}")
    return list(items)
