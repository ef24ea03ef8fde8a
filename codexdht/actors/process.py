"""What every actor's process does before and around its reactor."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import zmq

from codexdht.actors.log import EventLog, fields, set_level, set_up_logging
from codexdht.actors.mailbox import Mailbox
from codexdht.actors.place import Place
from codexdht.actors.reactor import Reactor
from codexdht.actors.rundir import locked
from codexdht.actors.watchdog import Watchdog
from codexdht.config import Config, load_config
from codexdht.errors import EX_CONFIG, StartupError
from codexdht.messages.internal import Actor, process_name
from codexdht.messages.machine import Machine

log = logging.getLogger(__name__)

_CRASH_PAUSE = 1.0

Shell = Callable[[Config, Any, Place], tuple[Machine, Callable[[Reactor], None]]]
"""Makes an actor's machine, and the function that gives the reactor its ports."""


def run_actor(actor: Actor, shell: Shell, number: int = 0) -> int:
    """Run one actor until it is told to stop; `number` is that of its process, where several run. Returns the exit
    code: 0, or 78 when it cannot start as configured."""
    started = time.monotonic()
    name = process_name(actor, number)
    try:
        config = load_config(environ=os.environ, verify=actor is Actor.ROUTING)
        set_up_logging(name, config.log.level, config.log.format, config.log_dir)
        _log_crashes(started)
        with locked(config.run_dir, config.data_dir, name):
            _run(actor, config, shell, Place(number, config.wire.processes))
    except StartupError as error:
        sys.stderr.write(f"codexdht {name}: {error}\n")
        return EX_CONFIG
    return 0


def read_level() -> None:
    """Take the log level from the configuration again. One that is wrong by now is no reason to end."""
    try:
        level = load_config(environ=os.environ, verify=False).log.level
    except StartupError as error:
        log.error("level_not_read", extra=fields(problem=str(error)))
    else:
        set_level(level)
        log.info("level_read", extra=fields(found=level))


def _log_crashes(started: float) -> None:
    """Log what nobody caught. A process that crashes at its start pauses: supervisord restarts it at once, and would
    do so without end."""

    def on_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.error("crashed", exc_info=(kind, error, trace))
        if time.monotonic() - started < _CRASH_PAUSE:
            time.sleep(_CRASH_PAUSE)

    sys.excepthook = on_crash


def _run(actor: Actor, config: Config, shell: Shell, place: Place) -> None:
    context: zmq.Context[Any] = zmq.Context()
    machine, attach = shell(config, context, place)
    mailbox = Mailbox(context, config.run_dir, actor, place)
    reactor = Reactor(machine, mailbox, EventLog())
    attach(reactor)
    gc.collect()
    gc.freeze()
    log.info("started", extra=fields(pid=os.getpid()))
    with Watchdog() as watchdog:
        reactor.watch(watchdog.feed)
        reactor.run(on_hangup=read_level)
    context.term()
    log.info("stopped")
