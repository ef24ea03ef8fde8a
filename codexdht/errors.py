"""Every exception of the package, in two families.

*Ours*: a caller's mistake or a broken configuration. Each says what is wrong, where, and how to mend it. The
subclasses of `ApiError` correspond one to one to the error codes of the user API; the subclasses of
`StartupError` end a process with exit code 78, on which supervisord does not restart it.

*Theirs*: bytes of a peer that do not decode. `DecodeError` is the only exception that a decoder raises; the
machine that called the decoder counts it and drops the message.
"""

from __future__ import annotations

EX_CONFIG = 78


class CodexDhtError(Exception):
    """Base of all exceptions of this package."""


class DecodeError(CodexDhtError):
    """Bytes from outside are not what they should be. The text is short and fixed: it names a counter."""


class StartupError(CodexDhtError):
    """A process cannot start until somebody changes something; one line says what."""


class ConfigError(StartupError):
    """The configuration is wrong: the text names file, key, what was found and what is expected."""


class StoreError(StartupError):
    """The provider store cannot be opened: damaged, in use, or written by a newer version."""


class ApiError(CodexDhtError):
    """A user's request failed. `code` is the code on the wire."""

    code = "internal"


class BadRequest(ApiError):
    """The request is not a MessagePack map with the fields of a request."""

    code = "bad_request"


class UnknownMethod(ApiError):
    """There is no such method."""

    code = "unknown_method"


class InvalidParams(ApiError):
    """A parameter is missing, unknown, or of the wrong type or size."""

    code = "invalid_params"


class InvalidRecord(ApiError):
    """The record does not decode, or its signature does not hold."""

    code = "invalid_record"


class NotRunning(ApiError):
    """The node is not open, or not started."""

    code = "not_running"


class RequestTimeout(ApiError):
    """The time given to the request is over."""

    code = "timeout"


class Busy(ApiError):
    """Too many requests are waiting already."""

    code = "busy"


class StorageFull(ApiError):
    """The provider store is at its limit, or the disk is full."""

    code = "storage_full"


class InternalError(ApiError):
    """A fault of this node."""

    code = "internal"


API_ERRORS: dict[str, type[ApiError]] = {
    error.code: error
    for error in (
        BadRequest,
        UnknownMethod,
        InvalidParams,
        InvalidRecord,
        NotRunning,
        RequestTimeout,
        Busy,
        StorageFull,
        InternalError,
    )
}
