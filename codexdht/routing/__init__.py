"""The routing actor: routing table, liveness, address votes, and every iterative query."""
