"""Gives each test the entries of one section of the vectors, found by the name of the test's argument.

The folder is $CODEXDHT_VECTORS, or ../shared/vectors, or this one, which holds a copy. Nothing here knows what is in
the files beyond their format.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SECTIONS = {
    "key": "keys",
    "message": "messages",
    "decode_outcome": "decodeOutcomes",
    "spr_outcome": "sprOutcomes",
    "uri_outcome": "uriOutcomes",
    "exchange": "handshakes",
    "cid": "cids",
    "eth_address": "ethAddresses",
    "distance_vector": "distances",
    "id_at_distance_vector": "idAtDistance",
    "gcm": "gcm",
    "derivation": "derive",
}


@cache
def folder() -> Path:
    """Return where the vectors are."""
    given = os.environ.get("CODEXDHT_VECTORS")
    if given:
        return Path(given)
    shared = HERE.parents[2] / "shared" / "vectors"
    return shared if shared.is_dir() else HERE


@cache
def sections() -> dict[str, list[Any]]:
    """Return the sections of all JSON files together."""
    merged: dict[str, list[Any]] = {name: [] for name in SECTIONS.values()}
    for path in sorted(folder().glob("*.json")):
        content = json.loads(path.read_text())
        for name, entries in merged.items():
            entries.extend(content.get(name, []))
    return merged


@cache
def network_sprs() -> list[str]:
    """Return the records seen on public networks."""
    path = folder() / "network-sprs.txt"
    lines = (path if path.exists() else HERE / path.name).read_text().splitlines()
    return [line for line in lines if line.startswith("spr:")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument, section in SECTIONS.items():
        if argument in metafunc.fixturenames:
            entries = sections()[section]
            ids = [str(entry.get("name", number)) for number, entry in enumerate(entries)]
            metafunc.parametrize(argument, entries, ids=ids)
    if "network_spr" in metafunc.fixturenames:
        metafunc.parametrize("network_spr", network_sprs(), ids=range(len(network_sprs())))
    if "damage" in metafunc.fixturenames:
        pairs = [(x, damage) for x in sections()["handshakes"] for damage in x["damaged"]]
        metafunc.parametrize(("damaged_exchange", "damage"), pairs, ids=[d["what"] for _, d in pairs])
