"""Logging of the processes: one line an event, key=value or JSON, to stderr or to rotated files.

A peer can cause events as fast as it can send, so each kind of event is written a few times a minute at most; how
often it came beyond that is said in one line when the minute is over.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

from codexdht.actors.lean import lean_imports
from codexdht.errors import ConfigError
from codexdht.messages.machine import LogEvent

_PERIOD = 60.0
_AT_MOST = 10
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_log = logging.getLogger("codexdht")


def fields(**values: object) -> dict[str, object]:
    """Return what a call of a logger takes as `extra` for a line with these fields, none of which the line has anyway:
    time, level, actor, event, error."""
    return {"fields": values}


class EventLog:
    """Writes the events of a machine and summarises repeated ones."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[int, str]] = Counter()
        self._period_end = 0.0

    def write(self, event: LogEvent, now: float) -> None:
        """Write an event, unless its kind was written too often in this period."""
        level = _LEVELS[event.level]
        if not _log.isEnabledFor(level):
            return
        if not self._seen:
            self._period_end = now + _PERIOD
        kind = level, event.event
        self._seen[kind] += 1
        if self._seen[kind] <= _AT_MOST:
            _log.log(level, event.event, extra=fields(**event.fields))

    def tick(self, now: float) -> None:
        """At the end of a period, say how often what was left out has come; at its own level, or it would be left out
        itself."""
        if not self._seen or now < self._period_end:
            return
        for (level, event), times in self._seen.items():
            if times > _AT_MOST:
                left_out = fields(what=event, times=times - _AT_MOST, seconds=int(_PERIOD))
                _log.log(level, "repeated", extra=left_out)
        self._seen.clear()


class _Formatter(logging.Formatter):
    def __init__(self, actor: str, as_json: bool) -> None:
        super().__init__()
        self._actor = actor
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self._time(record),
            "level": record.levelname.lower(),
            "actor": self._actor,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if self._as_json:
            return json.dumps(line, default=str)
        head = f"{line.pop('time')} {line.pop('level'):7} {line.pop('actor'):7} {line.pop('event')}"
        return " ".join([head, *(f"{key}={_quoted(value)}" for key, value in line.items())])

    @staticmethod
    def _time(record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"


def _quoted(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if text.isprintable() and not any(c in text for c in ' "=') else json.dumps(text)


def set_up_logging(actor: str, level: str, log_format: str, directory: Path | None) -> None:
    """Send the package's log to stderr, or to `actor`.log in a directory, rotated at 10 MB, 5 old files kept. Raises
    ConfigError when that cannot be written."""
    try:
        handler = logging.StreamHandler() if directory is None else _file_handler(directory / f"{actor}.log")
    except OSError as error:
        raise ConfigError(f"log.directory: cannot write in {directory}: {error.strerror}") from None
    handler.setFormatter(_Formatter(actor, log_format == "json"))
    _log.handlers[:] = [handler]
    _log.propagate = False
    logging.raiseExceptions = False  # a line that a full disk refuses is not worth a traceback elsewhere
    set_level(level)


def _file_handler(path: Path) -> logging.Handler:
    with lean_imports():  # it takes pickle along
        from logging.handlers import RotatingFileHandler

    path.parent.mkdir(parents=True, exist_ok=True)
    return RotatingFileHandler(path, maxBytes=10_000_000, backupCount=5, encoding="utf-8")


def set_level(level: str) -> None:
    """Change the level: debug, info, warning or error."""
    _log.setLevel(_LEVELS[level])
