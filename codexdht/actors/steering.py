"""Telling the kernel which of several wire processes gets a datagram.

The processes bind one UDP port with SO_REUSEPORT. A classic BPF program, run by the kernel for every datagram, names
the socket that gets it. It is `place.owner` once more: both must give the same number for every address.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import Final

from codexdht.actors.place import MULTIPLIER, SHIFT
from codexdht.errors import StartupError

_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_NETWORK: Final = 0xFFF00000  # SKF_NET_OFF: offsets count from the IP header

# Instructions of classic BPF (linux/bpf_common.h).
_LD_WORD, _LD_HALF, _LD_MEM, _STORE = 0x20, 0x28, 0x60, 0x02
_XOR_X, _OR_X, _MUL, _RSH, _MOD, _TAX = 0xAC, 0x4C, 0x24, 0x74, 0x94, 0x07
_JUMP, _JUMP_EQUAL, _RETURN_A = 0x05, 0x15, 0x16

_Instruction = tuple[int, int, int, int]
"""Code, instructions to skip if a comparison holds, and if not, operand."""


def _hash(processes: int) -> list[_Instruction]:
    """From the value in A to the number of a socket."""
    return [(_MUL, 0, 0, MULTIPLIER), (_RSH, 0, 0, SHIFT), (_MOD, 0, 0, processes), (_RETURN_A, 0, 0, 0)]


def _ipv4(processes: int) -> list[_Instruction]:
    source, port = _NETWORK + 12, _NETWORK + 20
    return [
        (_LD_WORD, 0, 0, source),
        (_RSH, 0, 0, 24),
        (_JUMP_EQUAL, 0, 5, 127),
        (_LD_HALF, 0, 0, port),
        (_TAX, 0, 0, 0),
        (_LD_WORD, 0, 0, source),
        (_XOR_X, 0, 0, 0),
        (_JUMP, 0, 0, 1),
        (_LD_WORD, 0, 0, source),
        *_hash(processes),
    ]


def _ipv6(processes: int) -> list[_Instruction]:
    words, port = [_NETWORK + 8 + 4 * i for i in range(4)], _NETWORK + 40
    return [
        (_LD_WORD, 0, 0, words[0]),
        (_TAX, 0, 0, 0),
        (_LD_WORD, 0, 0, words[1]),
        (_XOR_X, 0, 0, 0),
        (_STORE, 0, 0, 0),
        (_LD_WORD, 0, 0, words[1]),  # loopback: the first three words are 0 and the last is 1
        (_OR_X, 0, 0, 0),
        (_TAX, 0, 0, 0),
        (_LD_WORD, 0, 0, words[2]),
        (_OR_X, 0, 0, 0),
        (_JUMP_EQUAL, 0, 4, 0),
        (_LD_WORD, 0, 0, words[3]),
        (_JUMP_EQUAL, 0, 2, 1),
        (_LD_HALF, 0, 0, port),
        (_JUMP, 0, 0, 1),
        (_LD_MEM, 0, 0, 0),
        *_hash(processes),
    ]


def program_for(family: int, processes: int) -> list[_Instruction]:
    """Return the program for sockets of a family: AF_INET or AF_INET6."""
    return (_ipv6 if family == socket.AF_INET6 else _ipv4)(processes)


def steer(sock: socket.socket, processes: int) -> None:
    """Have the kernel give every datagram of this socket's SO_REUSEPORT group to the socket of its `owner`; sockets
    count in the order in which they were bound. Raises StartupError where the system cannot."""
    program = program_for(sock.family, processes)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    try:
        if not sys.platform.startswith("linux"):
            raise OSError("it takes Linux")
        option = struct.pack("HL", len(program), ctypes.addressof(code))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)
    except OSError as error:
        raise StartupError(
            f"several wire processes cannot share a port here ({error}); set wire.processes to 1"
        ) from None
