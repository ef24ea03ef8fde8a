"""The outer form of requests and replies: one MessagePack map each way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from codexdht.errors import ApiError, BadRequest

_EMPTY_MAP: Final = b"\x80"
_NIL: Final = b"\xc0"
_LONGEST_MESSAGE: Final = 400
_LARGEST_ENVELOPE: Final = 4096
"""An address takes 255 bytes at most, and 5 as ZeroMQ makes them, for each broker between."""


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """A request as it comes: `params` is a packed map, `timeout` in seconds, None for the default."""

    method: str
    params: msgspec.Raw = msgspec.Raw(_EMPTY_MAP)
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None


_decoder: Final = msgspec.msgpack.Decoder(Request)
_encode: Final = msgspec.msgpack.Encoder().encode
DECODING_ERRORS: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""What msgspec raises for bad bytes: also UnicodeDecodeError (a ValueError), and RecursionError for deep nesting."""


def envelope_size(envelope: Sequence[bytes]) -> int:
    """Return the bytes of the frames up to the delimiter. Raises BadRequest for more than a reply need carry."""
    size = sum(map(len, envelope))
    if size > _LARGEST_ENVELOPE:
        raise BadRequest(
            f"the frames up to the delimiter have {size} bytes; {_LARGEST_ENVELOPE} are the limit"
        )
    return size


def decode_request(frames: list[bytes], max_size: int) -> Request:
    """Return the request in the frames behind the delimiter. Raises BadRequest, saying what is wrong."""
    if len(frames) != 1:
        raise BadRequest(f"a request is one frame behind the delimiter, this one has {len(frames)}")
    data = frames[0]
    if len(data) > max_size:
        raise BadRequest(f"the request has {len(data)} bytes; {max_size} are the limit")
    try:
        request = _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise BadRequest(f'{error}; a request is {{"method": …, "params": {{…}}, "timeout": …}}') from None
    except DECODING_ERRORS as error:
        raise BadRequest(f"the request is not MessagePack: {error}") from None
    request.params = _map_of(request.params)
    return request


def _map_of(params: msgspec.Raw) -> msgspec.Raw:
    """Return the packed map in `params`; nil, as some languages send for nothing, is an empty one."""
    raw = bytes(params)
    if raw == _NIL:
        return msgspec.Raw(_EMPTY_MAP)
    if not (0x80 <= raw[0] <= 0x8F or raw[0] in (0xDE, 0xDF)):
        raise BadRequest("params is not a map")
    return params


def encode_result(result: Any) -> bytes:
    """Return the reply to a request that succeeded."""
    return _encode({"ok": True, "result": result})


def encode_error(error: ApiError) -> bytes:
    """Return the reply to a request that failed. The message may repeat what was sent, but not at any length."""
    return _encode({"ok": False, "error": {"code": error.code, "message": str(error)[:_LONGEST_MESSAGE]}})
