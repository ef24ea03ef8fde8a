"""No room: writes are refused and say so, reads go on, and service returns when there is room."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from codexdht.errors import StoreError
from codexdht.messages.internal import Done, Failed, PutProvided, PutProvider, SaveTable
from codexdht.records import multiaddress_of_endpoint, sign_record
from codexdht.store.lmdb_backend import LmdbBackend, open_lmdb
from codexdht.store.machine import StoreMachine
from codexdht.store.migrations import prepare
from codexdht.store.settings import StoreSettings
from codexdht.store.tools import compact, verify

SMALL = 256 * 1024


def fill(store: Any, counter: str = "refused_disk_full", limit: int = 20_000) -> int:
    """Announce until a record is refused; return how many keys were tried."""
    for key in range(limit):
        store.add(key, peer=key % 5, settle=False, host="127.0.0.1")
        if key % 20 == 19:
            store.wait(0.06)
        if store.count(counter):
            return key + 1
    raise AssertionError("never full")


def test_limit_on_disk(make_store: Any) -> None:
    """At the limit newcomers are refused and users told, once in the log; refreshes and reads go on; when records have
    expired there is room again."""
    store = make_store(max_bytes=SMALL, lifetime=10_000)
    tried = fill(store)
    assert tried > 500
    store.wait(1)
    assert store.events() == ["storage_full"]
    assert store.gauge("full") == 1
    answer = store.put([tried + 1], peer=6)
    assert isinstance(answer, Failed)
    assert answer.code == "storage_full"
    assert isinstance(store.ask(PutProvided(0, 0, 0, [[bytes(32), 0.0]], b"")), Failed)
    assert store.get(0) == [(0, 1)]
    store.wait(5000)
    store.add(0, peer=0, host="127.0.0.1")
    store.wait(9000)
    assert store.get(0) == [(0, 1)]
    assert store.events() == ["storage_available"]
    assert isinstance(store.put([tried + 1], peer=6), Done)
    assert store.local(tried + 1) == [(6, 1)]


def test_larger_records_of_known_peers_find_no_room_either(make_store: Any) -> None:
    """At the limit, thousands of peers that change their records for ones of 4 kB would use up the reserve, and then
    nobody's announcements could be written; records of the usual size are taken as before."""
    store = make_store(max_bytes=SMALL)
    fill(store)
    store.wait(1)
    small = store.record(0)
    address = multiaddress_of_endpoint(("1.2.3.4", 9000))
    large = sign_record(store.keys[0], 3, [address] * 40)
    refused = store.count("refused_disk_full")
    store.add_record(store.key(0), large.encoded, small.node_id, "127.0.0.1")
    assert store.get(0) == [(0, 1)]
    assert store.count("refused_disk_full") == refused + 1
    store.add(0, peer=0, seq=2, host="127.0.0.1")
    assert store.get(0) == [(0, 2)]


def test_removal_makes_room_at_the_limit(make_store: Any) -> None:
    """A full store can be emptied by hand, too."""
    store = make_store(max_bytes=SMALL)
    fill(store)
    store.wait(1)
    for peer in range(5):
        assert store.remove(peer) > 50
    store.settle()
    store.wait(1)
    assert isinstance(store.put([1], peer=6), Done)


def test_full_survives_a_restart(make_store: Any) -> None:
    """A store that was full when it stopped knows so when it starts."""
    store = make_store(max_bytes=SMALL)
    fill(store)
    store.stop()
    store.start()
    store.add(50_000, peer=7)
    assert store.count("refused_disk_full") == 1


def test_full_map(store_dir: Path, make_disk_store: Any) -> None:
    """Should the reserve be used up as well: what was not committed is refused, what was is there, and reads go on."""
    store = make_disk_store(max_bytes=2**30)
    store.stop()
    store.backend = LmdbBackend(store.path, 600_000)
    store.machine = StoreMachine(store.backend, store.settings, random.Random(1))
    keys = [n.to_bytes(32, "big") for n in range(20_000)]
    answer = store.ask(PutProvider(0, 0, 0, keys, store.record(0).encoded))
    assert isinstance(answer, Failed)
    assert answer.code == "storage_full"
    assert "storage_full" in store.events()
    store.add(1, peer=1)
    assert store.count("refused_disk_full") == 1
    store.get(1)
    store.now += 2
    store.settle()
    store.backend.close()
    assert verify(store.path).problems == []
    store.start()
    assert isinstance(store.put([1], peer=0), Done)
    assert store.get(1) == [(0, 1)]


@pytest.mark.parametrize("size", [100, 10_000, 20_000, 30_000])
def test_new_store_on_a_full_disk(store_dir: Path, file_size_limit: Any, size: int) -> None:
    """It does not start, says what it wants, and starts when it has it."""

    def start() -> None:
        with contextlib.closing(open_lmdb(store_dir, StoreSettings())) as backend:
            prepare(backend)

    file_size_limit(size)
    with pytest.raises(StoreError, match="make room on its disk"):
        start()
    file_size_limit(None)
    start()


ON_A_FULL_DISK = """
mount -t tmpfs -o size=256k none "$1" || exit 77
"$2" -c "$3" "$1" && rm "$1/lock.mdb"
head -c 1M /dev/zero > "$1/rest" 2> /dev/null
"$2" -c "$3" "$1"
"""
OPENING = """
import sys
from codexdht.errors import StoreError
from codexdht.store.lmdb_backend import open_lmdb
from codexdht.store.settings import StoreSettings

try:
    open_lmdb(sys.argv[1], StoreSettings()).close()
except StoreError as error:
    print(error)
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
def test_a_full_disk_kills_nobody(store_dir: Path) -> None:
    """LMDB maps the file of its locks. Where the disk has no room for that, opening the store is an error, and not the
    end of the process by SIGBUS."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_A_FULL_DISK, "sh"]
    found = subprocess.run(
        [*command, str(store_dir), sys.executable, OPENING], capture_output=True, text=True, check=False
    )
    if "unshare" in found.stderr or found.returncode == 77:
        pytest.skip("no file system of one's own")
    assert found.returncode == 0
    assert "lock.mdb: No space left on device; make room on its disk" in found.stdout


def test_the_locks_have_their_place_on_the_disk(store_dir: Path) -> None:
    """All of it, from the beginning: a disk that becomes full later leaves none for further readers."""
    with contextlib.closing(open_lmdb(store_dir, StoreSettings())):
        locks = (store_dir / "lock.mdb").stat()
        assert locks.st_blocks * 512 >= locks.st_size > 0


def test_full_disk(make_disk_store: Any, file_size_limit: Any) -> None:
    """Users are told, what was acknowledged is there, the log has one line; after a while writes are tried again."""
    store = make_disk_store(full_retry=1.0)
    store.put(list(range(100)), peer=0)
    file_size_limit(store.backend.file_bytes() + 100_000)
    acknowledged = 100
    while isinstance(answer := store.put([acknowledged], peer=1 + acknowledged % 3), Done):
        acknowledged += 1
    assert answer.code == "storage_full"
    assert store.events() == ["storage_full"]
    assert all(store.get(key) for key in range(acknowledged))
    store.add(90_000, peer=5)
    assert store.get(90_000) == []
    assert isinstance(store.ask(SaveTable(0, 0, 0, [1])), Failed)
    store.now += 2
    assert isinstance(store.put(list(range(90_000, 90_500)), peer=5), Failed)
    assert store.events() == []
    file_size_limit(None)
    store.now += 2
    assert isinstance(store.put([90_000], peer=5), Done)
    assert isinstance(store.put([90_000], peer=5), Done)
    assert store.events() == ["storage_available"]
    assert store.count("changes_lost") > 0
    store.crash()
    store.start()
    assert all(store.get(key) for key in [*range(acknowledged), 90_000])
    store.stop()
    assert verify(store.path).problems == []
    store.start()


def test_expiry_waits_while_the_disk_is_full(make_disk_store: Any, file_size_limit: Any) -> None:
    """Housekeeping that finds no room neither stops the machine nor shows the dead, nor does it count what it could not
    delete."""
    store = make_disk_store(lifetime=100)
    store.put(list(range(300)), peer=0)
    file_size_limit(4096)
    store.now += 100
    for _ in range(5):
        store.settle()
        assert store.get(7) == []
        store.now = store.machine.deadline()
    assert store.count("providers_expired") == 0
    file_size_limit(None)
    store.now += 2
    store.settle()
    assert store.gauge("records") == 0
    store.wait(1)
    assert store.count("providers_expired") == 300


def test_space_is_used_again(make_disk_store: Any) -> None:
    """A store that turns over all its records ten times does not grow past twice its full size."""
    store = make_disk_store(lifetime=1000, answer_cache_time=0.0)
    rng = random.Random(3)
    encoded = [store.record(peer).encoded for peer in range(20)]
    sizes = []
    for _ in range(11):
        for start in range(0, 4000, 100):
            keys = [rng.randbytes(32) for _ in range(100)]
            store.done(PutProvider(0, 0, 0, keys, encoded[start // 100 % 20]))
            store.wait(25)
        sizes.append(store.backend.file_bytes())
    assert max(sizes) <= 2 * sizes[1]


def test_limit_below_what_is_there(make_disk_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store whose limit was lowered takes no newcomers, but deletes, though its file has not one free page."""
    monkeypatch.setattr("codexdht.store.lmdb_backend._MIN_RESERVE", 2**20)
    store = make_disk_store()
    store.put(list(range(12_000)), peer=0)
    store.add(0, peer=1)
    store.stop()
    compact(store.path)
    store.start(max_bytes=SMALL, max_batch=50)
    assert store.backend.file_bytes() > SMALL + 2**20
    assert isinstance(store.put([1], peer=2), Failed)
    assert store.remove(0) == 12_000
    store.wait(90_000)
    assert store.gauge("records") == 0
    assert isinstance(store.put([1], peer=2), Done)


def test_default_settings_leave_a_reserve(store_dir: Path) -> None:
    """The map is larger than the limit, because deleting takes new pages first."""
    settings = StoreSettings()
    backend = open_lmdb(store_dir / "s", settings)
    assert backend.map_size > settings.max_bytes
    backend.close()
