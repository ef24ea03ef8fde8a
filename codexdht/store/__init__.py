"""The provider store: which peers have announced that they provide a key, and what this node keeps for itself.

The LMDB module is imported by whoever opens a store on disk (`codexdht.store.lmdb_backend.open_lmdb`), so that a
simulation does without it.
"""

from codexdht.store.backend import Backend
from codexdht.store.machine import StoreMachine
from codexdht.store.memory_backend import MemoryBackend
from codexdht.store.settings import StoreSettings

__all__ = ["Backend", "MemoryBackend", "StoreMachine", "StoreSettings"]
