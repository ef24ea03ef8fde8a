"""An API machine with scripted actors behind it, under a clock that the test holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from codexdht.api.machine import ApiMachine
from codexdht.api.settings import ApiSettings
from codexdht.entropy import seeded
from codexdht.messages.internal import Life
from codexdht.testing.scripted_node import Script, ScriptedActors

ENVELOPE = (b"\0", b"client", b"")


class Bench:
    """The machine, its actors, and the time. `ask` returns the reply, or None when there is none yet."""

    def __init__(
        self,
        script: Script | None = None,
        life: Life = Life.STARTED,
        settings: ApiSettings | None = None,
        autostart: bool = False,
        boot: bool = True,
    ) -> None:
        self.machine = ApiMachine(
            settings or ApiSettings(), autostart=autostart, entropy=seeded(7), info={"version": "test"}
        )
        self.actors = ScriptedActors(self.machine, life, script)
        self.now = 100.0
        if boot:
            self.machine.boot(self.now)
            self.actors.settle(self.now)

    def send(self, method: Any, timeout: float | None = None, **params: Any) -> None:
        request = {"method": method, "params": params} | ({} if timeout is None else {"timeout": timeout})
        self.send_raw(msgspec.msgpack.encode(request))

    def send_raw(self, *frames: bytes) -> None:
        self.machine.receive_request(ENVELOPE, list(frames), self.now)
        self.actors.settle(self.now)

    def ask(self, method: Any, timeout: float | None = None, **params: Any) -> Any:
        self.send(method, timeout, **params)
        replies = self.take()
        assert len(replies) <= 1
        return replies[0] if replies else None

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.machine.tick(self.now)
        self.actors.settle(self.now)

    def take(self) -> list[Any]:
        replies = [msgspec.msgpack.decode(reply) for envelope, reply in self.machine.replies]
        assert all(envelope == ENVELOPE for envelope, _ in self.machine.replies)
        self.machine.replies.clear()
        return replies

    def codes(self) -> list[str]:
        return [reply["error"]["code"] if not reply["ok"] else "ok" for reply in self.take()]


@pytest.fixture
def bench() -> Callable[..., Bench]:
    """Makes benches."""
    return Bench
