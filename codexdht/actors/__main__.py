"""`python -m codexdht.actors wire|routing|store|api`: one actor's process; `wire 1` is the second of several."""

from __future__ import annotations

import sys

from codexdht.actors.process import run_actor
from codexdht.messages.internal import Actor


def main(arguments: list[str]) -> int:
    """Run the actor named by the only argument; only its own modules are imported."""
    match arguments:
        case ["wire"] | ["wire", "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7"]:
            from codexdht.actors.wire import shell
        case ["routing"]:
            from codexdht.actors.routing import shell
        case ["store"]:
            from codexdht.actors.store import shell
        case ["api"]:
            from codexdht.actors.api import shell
        case _:
            sys.stderr.write("usage: python -m codexdht.actors wire [number]|routing|store|api\n")
            return 2
    return run_actor(Actor[arguments[0].upper()], shell, *map(int, arguments[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
