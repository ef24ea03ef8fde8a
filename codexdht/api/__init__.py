"""The user API (`api.md`): what users' requests mean, and who in the node answers them.

Nothing is imported here: every actor reads the settings of all, and would load this actor's machine with them.
"""
