"""The processes' log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from codexdht.actors.log import EventLog, set_level, set_up_logging
from codexdht.messages.machine import LogEvent


@pytest.fixture(autouse=True)
def leave_logging_as_it_was() -> Iterator[None]:
    log = logging.getLogger("codexdht")
    before = log.handlers[:], log.propagate, log.level
    yield
    for handler in log.handlers:
        handler.close()
    log.handlers[:], log.propagate, log.level = before


def lines(folder: Path) -> list[str]:
    return (folder / "wire.log").read_text().splitlines()


def test_text_lines_are_key_value_and_quoted_where_needed(folder: Path) -> None:
    """One event is one line, whatever its fields hold."""
    set_up_logging("wire", "info", "text", folder)
    EventLog().write(LogEvent("info", "bound", {"port": 8090, "why": "two\nlines", "id": b"\x01\xff"}), 0.0)
    (line,) = lines(folder)
    assert line.endswith('info    wire    bound port=8090 why="two\\nlines" id=01ff')


def test_json_lines_hold_the_same(folder: Path) -> None:
    """With format json each line is one JSON object."""
    set_up_logging("wire", "info", "json", folder)
    EventLog().write(LogEvent("warning", "dropped", {"count": 3}), 0.0)
    (line,) = lines(folder)
    assert {"level": "warning", "actor": "wire", "event": "dropped", "count": 3}.items() <= json.loads(
        line
    ).items()


def test_repeated_events_are_summarised_once_a_minute(folder: Path) -> None:
    """A peer cannot fill the log: ten lines a minute, and one that counts the rest."""
    set_up_logging("wire", "info", "text", folder)
    events = EventLog()
    for _ in range(1000):
        events.write(LogEvent("info", "flood", {}), 10.0)
    events.tick(69.9)
    assert len(lines(folder)) == 10
    events.tick(70.0)
    assert lines(folder)[10:] == [lines(folder)[10]]
    assert "repeated what=flood times=990 seconds=60" in lines(folder)[10]


def test_the_level_can_be_changed_while_running(folder: Path) -> None:
    """Debug lines appear as soon as the level allows them."""
    set_up_logging("wire", "info", "text", folder)
    events = EventLog()
    events.write(LogEvent("debug", "before", {}), 0.0)
    set_level("debug")
    events.write(LogEvent("debug", "after", {}), 0.0)
    assert [line.split()[-1] for line in lines(folder)] == ["after"]
