"""`python -m codexdht.actors wire|routing|store|api`: one actor's process; `wire 1` is the second of several."""

from __future__ import annotations

import sys

from codexdht.actors.lean import lean_imports

with lean_imports():
    from codexdht.actors.process import Shell, run_actor
    from codexdht.messages.internal import Actor


def main(arguments: list[str]) -> int:
    """Run the actor named by the first argument."""
    shell = _shell(arguments)
    if shell is None:
        sys.stderr.write("usage: python -m codexdht.actors wire [number]|routing|store|api\n")
        return 2
    return run_actor(Actor[arguments[0].upper()], shell, *map(int, arguments[1:]))


@lean_imports()
def _shell(arguments: list[str]) -> Shell | None:
    """Import an actor's own modules, and no other's."""
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
            return None
    return shell


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
