"""The text forms of records that the API keeps."""

from __future__ import annotations

import msgspec

from codexdht.api.views import RecordViews
from codexdht.testing.scripted_node import PEERS


def test_the_least_recently_used_form_leaves() -> None:
    """No more forms are kept than the setting says, and those that are asked for again and again stay."""
    views = RecordViews(2)
    first, second, third = (peer.encoded for peer in PEERS[:3])
    kept = views.one(first)
    views.one(second)
    assert views.one(first) is kept
    views.one(third)
    assert len(views) == 2
    assert views.one(first) is kept
    assert msgspec.msgpack.decode(kept)["peerId"] == PEERS[0].peer_id


def test_no_record_has_no_form() -> None:
    """Where there is no record, users see nil, and nothing is kept."""
    views = RecordViews(2)
    assert views.one(b"") is None
    assert len(views) == 0
