"""The processes: each actor's shell, and what the shells share."""
