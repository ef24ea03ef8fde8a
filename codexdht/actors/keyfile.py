"""The node's identity key on disk: 64 hexadecimal digits, file mode 0600, made on the first run."""

from __future__ import annotations

import os
from pathlib import Path

from codexdht.entropy import Entropy
from codexdht.errors import StartupError
from codexdht.identity import PrivateKey


def load_or_create_key(path: Path, entropy: Entropy) -> PrivateKey:
    """Return the key in a file, or make one there. Actors may call this at once: all get the same key.

    Raises StartupError when the file cannot be read, or holds no key.
    """
    try:
        if not path.exists():
            create_key(path, entropy)
        return read_key(path)
    except OSError as error:
        raise _unusable(path, error) from None


def keep_key(path: Path, key: PrivateKey) -> None:
    """Have a file hold a given key. Raises StartupError when it holds another one, or cannot be read or made."""
    try:
        found = read_key(path) if path.exists() else _write(path, key)
    except OSError as error:
        raise _unusable(path, error) from None
    if found.public_key != key.public_key:
        raise StartupError(f"{path} holds another key already; remove it, or use another data directory")


def _unusable(path: Path, error: OSError) -> StartupError:
    return StartupError(f"{path}: key cannot be read or made: {error.strerror}; set node.key_file")


def read_key(path: Path) -> PrivateKey:
    """Return the key in a file. Raises OSError, or StartupError when it holds none."""
    text = path.read_bytes().strip()
    try:
        return PrivateKey(bytes.fromhex(text.decode("ascii")))
    except ValueError:
        raise StartupError(
            f"{path}: expected a private key of 64 hexadecimal digits; restore it, or remove it"
        ) from None


def create_key(path: Path, entropy: Entropy) -> PrivateKey:
    """Write a new key to a file that must not exist, or leave alone one made meanwhile. Raises OSError."""
    return _write(path, PrivateKey.generate(entropy))


def _write(path: Path, key: PrivateKey) -> PrivateKey:
    """Write a key as a whole, unless the file has been made meanwhile; return the one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{key.public_key.hex()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key.secret.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)  # fails when another actor was first; a rename would replace its key
    except FileExistsError:
        return read_key(path)
    finally:
        partial.unlink()
    return key
