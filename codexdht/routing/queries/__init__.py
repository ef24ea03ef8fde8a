"""Iterative queries as pure state machines, and the runner that joins them with calls to peers."""
