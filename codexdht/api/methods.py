"""The methods of the API: typed parameters in, messages to actors out, their answers back into a result.

A plan function turns parameters into a `Plan`: what to ask whom, all at once, and how to make the result of the
answers. A plan that asks nobody is answered on the spot.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Flag, auto
from typing import Any, Final, NamedTuple

import msgspec

from codexdht.api import params
from codexdht.api.forms import Spr, read
from codexdht.api.lifecycle import Operation
from codexdht.api.pending import Answer, Finish, error_of
from codexdht.api.views import RecordViews, entry_view, ping_view
from codexdht.errors import InvalidParams, InvalidRecord, NotRunning, RequestTimeout
from codexdht.messages import internal
from codexdht.messages.discv5 import MAX_PROVIDER_RECORD
from codexdht.messages.internal import Actor, Done, Failed
from codexdht.records import decode_record


class Ask(NamedTuple):
    """A message to an actor, but for asker, number and deadline. If the first of a plan fails, the request fails."""

    to: Actor
    kind: Any
    fields: tuple[Any, ...] = ()


class Plan(NamedTuple):
    """How a request is served."""

    asks: list[Ask]
    finish: Finish


class Local:
    """What the API actor knows by itself, empty until the wire has said it: this node's records."""

    def __init__(self, views: RecordViews) -> None:
        self.views = views
        self.record = b""
        self.provider_record = b""

    def published(self) -> bytes:
        """Return the record to publish unless the user gives another. Raises NotRunning when there is none."""
        record = self.provider_record or self.record
        if not record:
            raise NotRunning("the node has no record yet: call open, or give a record as spr")
        return record

    def own_among(self, records: list[bytes]) -> list[bytes]:
        """Return those of the encoded records that are this node's own."""
        if not self.record:
            return []
        node_id = _node_id(self.record)
        return [encoded for encoded in records if _node_id(encoded) == node_id]


def _node_id(verified: bytes) -> bytes:
    """Return the node id of a record that another actor has verified."""
    return decode_record(verified, verified=True).node_id


class Need(Flag):
    """What must be so before a plan is made; the request waits until it is known."""

    NOTHING = 0
    LIFE = auto()
    """The life of the node is known."""
    RECORDS = auto()
    """The wire has told this node's records."""
    OPEN = auto()
    """The node is open; where it is known not to be, the request fails with `not_running`."""


class Method(NamedTuple):
    """A method that is planned."""

    decode: Callable[[msgspec.Raw], Any]
    plan: Callable[[Any, Local], Plan]
    needs: Need


def single(to: Actor, kind: Any, fields: tuple[Any, ...], convert: Callable[[Any], Any]) -> Plan:
    """Return the plan of asking one actor one thing."""
    return Plan([Ask(to, kind, fields)], lambda answers: convert(value_of(answers[0], to)))


def value_of(answer: Answer, actor: Actor) -> Any:
    """Return the value of an answer. Raises the ApiError that it is, or RequestTimeout when there is none."""
    if isinstance(answer, Failed):
        raise error_of(answer)
    if answer is None:
        raise RequestTimeout(f"the {actor.name.lower()} actor did not answer in time")
    return answer.value


def _same(value: Any) -> Any:
    return value


# Records ------------------------------------------------------------------------------------------------------


def _record(given: params.OfKind, local: Local) -> Plan:
    encoded = local.record if given.kind == "dht" else local.provider_record
    if given.kind == "dht" and not encoded:
        raise NotRunning("the node has no record yet: call open")
    return Plan([], lambda _: local.views.one(encoded))


def _update_record(given: params.UpdateRecord, local: Local) -> Plan:
    if (given.spr is None) == (given.addresses is None):
        raise InvalidParams("updateRecord takes either spr or addresses")
    record = given.spr.record.encoded if given.spr else b""
    addresses = [address.data for address in given.addresses or []]
    fields = (given.kind == "provider", record, addresses)
    return single(Actor.WIRE, internal.UpdateRecord, fields, local.views.one)


# Providers ----------------------------------------------------------------------------------------------------

_UNPUBLISHED: Final = frozenset({"not_running", "timeout", "busy"})
"""What keeps routing from publishing now, but not the store from keeping the record."""


def _add_provider(given: params.AddProvider, local: Local) -> Plan:
    return _publish([given.the_key()], given.spr, local, lambda nodes: {"nodes": sum(nodes)})


def _add_providers(given: params.AddProviders, local: Local) -> Plan:
    keys = [key.id for key in given.keys]
    return _publish(keys, given.spr, local, lambda nodes: {"nodes": sum(nodes), "perKey": nodes})


def _publish(
    keys: list[bytes], spr: Spr | None, local: Local, count: Callable[[list[int]], dict[str, Any]]
) -> Plan:
    record = spr.record.encoded if spr else local.published()
    if len(record) > MAX_PROVIDER_RECORD:
        raise InvalidRecord(
            f"the record has {len(record)} bytes, of which an announcement to peers holds {MAX_PROVIDER_RECORD}"
        )

    def finish(answers: list[Answer]) -> dict[str, Any]:
        stored, published = answers
        value_of(stored, Actor.STORE)
        if isinstance(published, Failed) and published.code not in _UNPUBLISHED:
            raise error_of(published)
        if not isinstance(published, Done):
            return count([0] * len(keys)) | {"complete": False}
        return count(published.value["nodes"]) | {"complete": published.value["complete"]}

    stored = Ask(Actor.STORE, internal.PutProvider, (keys, record))
    sent = Ask(Actor.ROUTING, internal.Publish, (keys, record if spr else b""))
    return Plan([stored, sent], finish)


def _get_providers(given: params.FindProviders, local: Local) -> Plan:
    """Routing leaves this node's own record out; who wants it, too, gets it from the store, where it may be behind any
    number of fresher ones. A store that does not say keeps nobody from what was found."""
    key, limit = given.the_key(), given.limit or 0
    asks = [Ask(Actor.ROUTING, internal.FindProviders, (key, limit))]
    if given.own:
        asks.append(Ask(Actor.STORE, internal.GetProviders, (key, 0)))

    def finish(answers: list[Answer]) -> dict[str, Any]:
        found = value_of(answers[0], Actor.ROUTING)
        all_said = all(isinstance(answer, Done) for answer in answers)
        own = local.own_among(value_of(answers[1], Actor.STORE)) if given.own and all_said else []
        providers = [*own, *found["providers"]][: given.limit]
        return {"providers": local.views.many(providers), "complete": found["complete"] and all_said}

    return Plan(asks, finish)


def _get_providers_local(given: params.GetProviders, local: Local) -> Plan:
    def convert(records: list[bytes]) -> dict[str, Any]:
        return {"providers": local.views.many(records), "complete": True}

    fields = (given.the_key(), given.limit or 0)
    return single(Actor.STORE, internal.GetProviders, fields, convert)


def _remove_providers_local(given: params.OfPeer, _local: Local) -> Plan:
    return single(Actor.STORE, internal.RemoveProviders, (given.peerId.public_key,), _same)


def _withdraw(given: params.OfKeys, _local: Local) -> Plan:
    return single(Actor.ROUTING, internal.Withdraw, ([key.id for key in given.keys],), _same)


# Nodes --------------------------------------------------------------------------------------------------------


def _resolve(given: params.Resolve, local: Local) -> Plan:
    return single(Actor.ROUTING, internal.Resolve, (given.node_id(),), local.views.one)


def _ping(given: params.OfNode, _local: Local) -> Plan:
    return single(Actor.ROUTING, internal.PingNode, given.node(), ping_view)


def _talk(given: params.Talk, _local: Local) -> Plan:
    fields = (*given.node(), given.protocol.data, given.request.data)
    return single(Actor.ROUTING, internal.Talk, fields, _same)


def _lookup(given: params.OfKey, local: Local) -> Plan:
    def convert(value: dict[str, Any]) -> dict[str, Any]:
        return {"nodes": local.views.many(value["nodes"]), "complete": value["complete"]}

    return single(Actor.ROUTING, internal.Lookup, (given.the_key(),), convert)


def _table(_given: params.Params, local: Local) -> Plan:
    def convert(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [entry_view(entry, local.views) for entry in entries]

    return single(Actor.ROUTING, internal.DumpTable, (), convert)


def _method(kind: Any, plan: Callable[[Any, Local], Plan], needs: Need = Need.NOTHING) -> Method:
    return Method(msgspec.msgpack.Decoder(kind, dec_hook=read).decode, plan, needs)


METHODS: Final[dict[str, Method]] = {
    "updateRecord": _method(params.UpdateRecord, _update_record),
    "record": _method(params.OfKind, _record, Need.RECORDS),
    "addProvider": _method(params.AddProvider, _add_provider, Need.OPEN | Need.RECORDS),
    "addProviders": _method(params.AddProviders, _add_providers, Need.OPEN | Need.RECORDS),
    "getProviders": _method(params.FindProviders, _get_providers, Need.OPEN),
    "getProvidersLocal": _method(params.GetProviders, _get_providers_local),
    "removeProvidersLocal": _method(params.OfPeer, _remove_providers_local),
    "withdraw": _method(params.OfKeys, _withdraw),
    "resolve": _method(params.Resolve, _resolve, Need.OPEN),
    "ping": _method(params.OfNode, _ping, Need.OPEN),
    "lookup": _method(params.OfKey, _lookup, Need.OPEN),
    "talk": _method(params.Talk, _talk, Need.OPEN),
    "table": _method(params.Params, _table),
}
OPERATIONS: Final = {operation.value: operation for operation in Operation}
decode_nothing: Final = msgspec.msgpack.Decoder(params.Params).decode
"""Reads the parameters of `stats` and of the operations: none."""
NAMES: Final = sorted([*METHODS, *OPERATIONS, "stats"])
