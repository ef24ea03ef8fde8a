"""The store's own clock, in which lifetimes are measured.

It runs with Unix time and never goes back, over restarts included: when the system clock is set back, the store's
clock keeps on from where it is and stays ahead by that much (`lead`), so nothing dead comes back to life and nothing
alive lives longer. When the system clock is set ahead, that first uses up the lead; what is left is taken for time
that has passed (a machine that slept, say). The lead and the latest time are saved with every commit.
"""

from __future__ import annotations

import struct
from typing import Final

from codexdht.store.backend import damaged

_SAVED: Final = struct.Struct(">dd")


class StoreClock:
    """Unix time is `now` + `offset`; the store's time is Unix time + `lead`, and lead is not negative."""

    def __init__(self, saved: bytes | None = None) -> None:
        """Take up what `saved` returned when the store was last written. Raises StoreError when it is damaged."""
        self.offset = 0.0
        self.lead = 0.0
        self._latest = 0.0
        self._is_set = False
        if saved is not None:
            if len(saved) != _SAVED.size:
                raise damaged("its clock is unreadable")
            self._latest, self.lead = _SAVED.unpack(saved)

    def set(self, offset: float, now: float) -> float:
        """Take a new offset; return by how many seconds the system clock was stepped, as far as that is known."""
        step = offset - self.offset if self._is_set else min(0.0, now + offset + self.lead - self._latest)
        self._is_set = True
        self.offset = offset
        self.lead = max(0.0, self.lead - step)
        return step

    def unix(self, now: float) -> float:
        """Return Unix time."""
        return now + self.offset

    def time(self, now: float) -> int:
        """Return the store's time in whole seconds."""
        return int(now + self.offset + self.lead)

    def when(self, time: int) -> float:
        """Return the moment at which the store's time will be this."""
        return time - self.offset - self.lead

    def saved(self, now: float) -> bytes:
        """Return what a later clock needs to go on from here."""
        return _SAVED.pack(now + self.offset + self.lead, self.lead)
