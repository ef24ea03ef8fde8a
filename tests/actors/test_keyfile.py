"""The identity key on disk."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codexdht.actors.keyfile import create_key, load_or_create_key
from codexdht.entropy import SystemEntropy, seeded
from codexdht.errors import StartupError


def test_a_key_is_made_once_and_for_its_owner_only(folder: Path) -> None:
    """The first run makes a key with mode 0600; the next one reads the same."""
    path = folder / "node" / "key"
    made = load_or_create_key(path, seeded(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path, seeded(2)).secret == made.secret


def test_actors_that_start_at_once_agree_on_one_key(folder: Path) -> None:
    """Whoever is first makes the key; nobody replaces it, and nothing else is left behind."""
    path = folder / "key"
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: create_key(path, SystemEntropy()).secret, range(8)))
    assert load_or_create_key(path, SystemEntropy()).secret in keys
    assert [p.name for p in folder.iterdir()] == ["key"]


@pytest.mark.parametrize("content", ["", "zz" * 32, "00" * 32, "ab" * 31, "\xff"])
def test_a_file_without_a_key_is_refused_in_one_line(folder: Path, content: str) -> None:
    """The message names the file and what it should hold."""
    path = folder / "key"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(StartupError, match=r"key: expected a private key of 64 hexadecimal digits") as error:
        load_or_create_key(path, seeded(1))
    assert "\n" not in str(error.value)


def test_a_key_that_cannot_be_read_is_refused_in_one_line(folder: Path) -> None:
    """A directory in place of the key stands for whatever the operating system refuses."""
    (folder / "key").mkdir()
    with pytest.raises(StartupError, match="key cannot be read"):
        load_or_create_key(folder / "key", seeded(1))
