"""The wire actor's logic: packets, sessions, handshakes and calls over UDP (wire.md)."""

from codexdht.wire.crypto import Crypto, StandardCrypto
from codexdht.wire.local import LocalState, decode_state, encode_state, parse_listen
from codexdht.wire.machine import WireMachine
from codexdht.wire.settings import WireSettings
from codexdht.wire.talk import TalkHandler

__all__ = [
    "Crypto",
    "LocalState",
    "StandardCrypto",
    "TalkHandler",
    "WireMachine",
    "WireSettings",
    "decode_state",
    "encode_state",
    "parse_listen",
]
