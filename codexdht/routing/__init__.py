"""The routing actor's logic: routing table, liveness, address votes, and every iterative query.

Nothing is imported here: every actor reads the settings of all, and would load this actor's machine with them.
"""
