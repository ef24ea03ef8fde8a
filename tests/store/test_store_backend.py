"""The tables: both backends do what one sorted dict does."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codexdht.store.backend import PAIRS, PREFIX, Backend, Table

TABLES = [Table.ENTRIES, Table.BY_PEER, Table.BY_EXPIRY]
END = b"\xff" * 80


def expand(table: Table, seed: int) -> bytes:
    """Return one of a few keys of the table's size; many share a prefix."""
    prefix = (seed % 4).to_bytes(PREFIX, "big")
    size = PAIRS.get(table, 5)
    return prefix + bytes([seed // 4]) * size


tables = st.sampled_from(TABLES)
seeds = st.integers(0, 31)
changes = st.one_of(
    st.tuples(st.just("put"), tables, seeds),
    st.tuples(st.just("delete"), tables, seeds),
    st.tuples(st.sampled_from(["commit", "rollback", "release"]), st.none(), st.none()),
)


def apply(
    backend: Backend, rows: dict[Any, bytes], change: tuple[str, Any, Any], committed: dict[Any, bytes]
) -> None:
    what, table, seed = change
    if what == "put":
        value = b"" if table in PAIRS else bytes([seed])
        backend.put(table, expand(table, seed), value)
        rows[table, expand(table, seed)] = value
    elif what == "delete":
        backend.delete(table, expand(table, seed))
        rows.pop((table, expand(table, seed)), None)
    elif what == "commit":
        backend.commit()
        committed.clear()
        committed.update(rows)
    elif what == "rollback":
        backend.rollback()
        rows.clear()
        rows.update(committed)
    else:
        backend.release()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(script=st.lists(changes, max_size=40), low=seeds, high=seeds, limit=st.integers(1, 9))
def test_tables_are_sorted_dicts(make_store: Any, script: list[Any], low: int, high: int, limit: int) -> None:
    """Rows are found by key and by range, in order, committed or not; a rollback undoes what was not committed."""
    store = make_store()
    backend = store.backend
    rows: dict[Any, bytes] = {}
    committed: dict[Any, bytes] = {}
    for change in script:
        apply(backend, rows, change, committed)
    for table in TABLES:
        expected = sorted((key, value) for (t, key), value in rows.items() if t is table)
        assert backend.count(table) == len(expected)
        assert backend.range(table, b"", END, 1000) == expected
        start, end = sorted((expand(table, low), expand(table, high)))
        assert backend.range(table, start, end, limit) == [r for r in expected if start <= r[0] < end][:limit]
        after = start + b"\0"
        assert backend.range(table, after, END, limit) == [r for r in expected if after <= r[0]][:limit]
        prefix = start[:PREFIX]
        assert backend.range(table, prefix, END, limit) == [r for r in expected if prefix <= r[0]][:limit]
        for seed in range(32):
            key = expand(table, seed)
            assert backend.get(table, key) == rows.get((table, key))
    backend.close()


def test_used_bytes_grow_and_shrink(make_store: Any) -> None:
    """What is deleted no longer counts as used."""
    backend = make_store().backend
    empty = backend.used_bytes()
    for table in TABLES:
        for seed in range(2000):
            backend.put(table, seed.to_bytes(PREFIX, "big") + bytes(PAIRS.get(table, 5)), b"")
    backend.commit()
    assert backend.used_bytes() > empty + 100_000
    for table in TABLES:
        for row, _ in backend.range(table, b"", END, 10_000):
            backend.delete(table, row)
    backend.commit()
    assert backend.used_bytes() <= empty + 20_000
