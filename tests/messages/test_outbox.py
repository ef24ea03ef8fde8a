"""What a machine has to say, until its shell takes it."""

from __future__ import annotations

import pytest

from codexdht.messages.internal import Actor, ClockSet, Hello
from codexdht.messages.machine import Outbox, earlier


def test_broadcast_goes_to_all_others() -> None:
    """An actor hears nothing of itself; each of the others hears each message, in order, and once."""
    outbox = Outbox()
    messages = [Hello(Actor.STORE), ClockSet(1.0)]
    for message in messages:
        outbox.broadcast(Actor.STORE, message)
    assert outbox.take() == [(actor, messages) for actor in sorted(Actor) if actor is not Actor.STORE]
    assert outbox.take() == []


@pytest.mark.parametrize(
    ("one", "other", "first"), [(1.0, 2.0, 1.0), (2.0, 1.0, 1.0), (None, 0.0, 0.0), (0.0, None, 0.0)]
)
def test_the_earlier_of_two_times(one: float | None, other: float | None, first: float) -> None:
    """None is never; at zero something is due."""
    assert earlier(one, other) == first
    assert earlier(None, None) is None
