"""The provider store: which peers have announced that they provide a key, and what this node keeps for itself.

Nothing is imported here: every actor reads the settings of all, and would load this actor's machine with them.
"""
