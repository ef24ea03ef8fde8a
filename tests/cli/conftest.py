"""Commands run against a scripted node."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from codexdht.cli import main
from codexdht.testing.scripted_node import ScriptedNode


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the command line in this process."""

    def run(*arguments: object) -> Ran:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., str]]:
    """Starts a scripted node on the data directory `folder`; returns the options that lead to it."""
    (folder / "run").mkdir()
    with ExitStack() as stack:

        def start(**options: Any) -> str:
            stack.enter_context(ScriptedNode(f"ipc://{folder}/run/api.sock", **options))
            return f"--data-dir={folder}"

        yield start


@pytest.fixture
def node(serve: Callable[..., str]) -> str:
    """The option that leads to a scripted node."""
    return serve()
