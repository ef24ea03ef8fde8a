"""The user API (shared specification `api.md`): what users' requests mean, and who in the node answers them."""

from codexdht.api.machine import ApiMachine
from codexdht.api.settings import ApiSettings

__all__ = ["ApiMachine", "ApiSettings"]
