"""The processes' log."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import codexdht
from codexdht.actors.log import EventLog, set_level, set_up_logging
from codexdht.actors.process import read_level
from codexdht.messages.machine import LogEvent


@pytest.fixture(autouse=True)
def leave_logging_as_it_was() -> Iterator[None]:
    log = logging.getLogger("codexdht")
    before = log.handlers[:], log.propagate, log.level
    raises = logging.raiseExceptions
    yield
    for handler in log.handlers:
        with suppress(OSError):  # a full disk
            handler.close()
    log.handlers[:], log.propagate, log.level = before
    logging.raiseExceptions = raises


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


@pytest.mark.parametrize(
    "hostile", ["a\rb", "\x1b[31mred", "a\u2028b", "\x00", "\ud800", 'say "x"', "a=b", "\x85"]
)
def test_no_field_breaks_a_line_or_reaches_the_terminal(folder: Path, hostile: str) -> None:
    """Whatever would start another line, or do something to whoever looks at it, is escaped."""
    set_up_logging("wire", "info", "text", folder)
    EventLog().write(LogEvent("info", "seen", {"what": hostile}), 0.0)
    (line,) = lines(folder)
    _, _, field = line.partition(" what=")
    assert field.isprintable()
    assert json.loads(field) == hostile


def test_a_log_on_a_full_disk_says_nothing_elsewhere(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be written is left out."""
    (folder / "wire.log").symlink_to("/dev/full")
    set_up_logging("wire", "info", "text", folder)
    EventLog().write(LogEvent("info", "bound", {}), 0.0)
    assert capsys.readouterr().err == ""


def test_the_level_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP takes it from the file; a file that is wrong by then is said, and nothing else happens."""
    config = folder / "node.toml"
    monkeypatch.setenv("CODEXDHT_CONFIG", str(config))
    set_up_logging("wire", "info", "text", folder)
    network = '[network]\nbootstrap = []\nlisten = ["/ip4/0.0.0.0/udp/1"]\n'
    for text in (network + '[log]\nlevel = "debug"\n', network + '[log]\nlevel = "loud"\n', "[", ""):
        config.write_text(text)
        read_level()
        assert logging.getLogger("codexdht").level == logging.DEBUG
    config.unlink()
    read_level()
    assert [line.split()[3] for line in lines(folder)] == ["level_read"] + ["level_not_read"] * 4
    assert "found 'loud'" in lines(folder)[1]


def test_the_summary_of_errors_is_an_error(folder: Path) -> None:
    """It appears wherever what it sums up does; events of one name and two levels are counted apart."""
    set_up_logging("wire", "error", "text", folder)
    events = EventLog()
    for _ in range(12):
        events.write(LogEvent("error", "storage_full", {}), 0.0)
        events.write(LogEvent("warning", "storage_full", {}), 0.0)
    events.tick(60.0)
    assert "error   wire    repeated what=storage_full times=2" in lines(folder)[-1]
    assert len(lines(folder)) == 11


def test_what_the_process_says_has_fields_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With format json no line holds values inside of its event, and the level is the line's own."""
    monkeypatch.setenv("CODEXDHT_CONFIG", str(folder / "none.toml"))
    set_up_logging("wire", "info", "json", folder)
    read_level()
    config = folder / "none.toml"
    config.write_text('[network]\nbootstrap = []\nlisten = ["/ip4/0.0.0.0/udp/1"]\n')
    read_level()
    failed, read = map(json.loads, lines(folder))
    assert (failed["event"], read["event"], read["level"]) == ("level_not_read", "level_read", "info")
    assert "cannot be read" in failed["problem"]
    assert read["found"] == "info"


def test_no_logger_is_given_text_to_format() -> None:
    """Every event is a name that stays the same, as the summary and whoever searches need it."""
    calls = re.compile(r"\blog\.(?:debug|info|warning|error)\(\s*f?\"[^\"]*[%=]")
    files = Path(codexdht.__file__).parent.rglob("*.py")
    assert [file for file in files if calls.search(file.read_text())] == []
