"""Commands that reach a node on another machine: CURVE keys in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth

from codexdht.testing.scripted_node import OWN, ScriptedNode

Command = Callable[..., Any]


@pytest.fixture
def keys(folder: Path) -> Path:
    """A folder with key files: of the node, and of a client."""
    for name in ("node", "client"):
        zmq.auth.create_certificates(folder, name)
    return folder


@pytest.fixture
def endpoint(keys: Path) -> Iterator[str]:
    """Where a scripted node speaks CURVE."""

    def configure(router: zmq.Socket[bytes]) -> None:
        router.set(zmq.CURVE_SERVER, 1)
        router.set(zmq.CURVE_SECRETKEY, zmq.auth.load_certificate(keys / "node.key_secret")[1])

    with ScriptedNode("tcp://127.0.0.1:*", configure=configure) as node:
        yield node.endpoint


def test_keys_open_the_door(command: Command, keys: Path, endpoint: str) -> None:
    """With the node's public key and a secret one of its own a command is answered."""
    ran = command("record", "--uri", "-e", endpoint, "--curve", keys / "node.key", keys / "client.key_secret")
    assert ran == (0, OWN.uri + "\n", "")


def test_the_key_of_another_node(command: Command, keys: Path, endpoint: str) -> None:
    """A node that is not the one that the key is of is not spoken with, and one line says that it may be that."""
    ran = command(
        "record", "-t", 0.2, "-e", endpoint, "--curve", keys / "client.key", keys / "client.key_secret"
    )
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        f"codexdht: no node answers at {endpoint}, or it is another one, or it does not know this client's key\n"
    )


def no_secret(keys: Path) -> list[object]:
    return ["-e", "tcp://127.0.0.1:9", "--curve", keys / "node.key", keys / "client.key"]


def no_file(keys: Path) -> list[object]:
    return ["-e", "tcp://127.0.0.1:9", "--curve", keys / "none.key", keys / "client.key_secret"]


def no_key_file(keys: Path) -> list[object]:
    (keys / "other").write_text("something else\n")
    return ["-e", "tcp://127.0.0.1:9", "--curve", keys / "other", keys / "client.key_secret"]


def short_key(keys: Path) -> list[object]:
    (keys / "short").write_text('curve\n    public-key = "abc"\n')
    return ["-e", "tcp://127.0.0.1:9", "--curve", keys / "short", keys / "client.key_secret"]


def no_tcp(keys: Path) -> list[object]:
    return ["-d", keys, "--curve", keys / "node.key", keys / "client.key_secret"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (no_secret, "client.key holds no secret key; it is in the file that ends with .key_secret"),
        (no_file, "none.key is not a CURVE key file that can be read"),
        (no_key_file, "other is not a CURVE key file that can be read"),
        (short_key, "a CURVE key has 40 Z85 characters"),
        (no_tcp, "--curve is for --endpoint tcp://…"),
    ],
)
def test_bad_keys(command: Command, keys: Path, arguments: Callable[[Path], list[object]], said: str) -> None:
    """What is wrong with the keys is told in one line, with the code of wrong input, before a node is asked."""
    ran = command("record", *arguments(keys))
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
