"""The wire actor's logic: packets, sessions, handshakes and calls over UDP (wire.md).

Nothing is imported here: every actor reads the settings of all, and would load this actor's cryptography with them.
"""
