"""An answer's body, unpacked bit by bit.  In: a streamed answer.  Out: pieces of bounded size.

A few kilobytes can unpack to gigabytes, and a second coding around them to a million times that.  The client's own
decoders give back whatever one piece from the network unpacks to; these stop after ``PIECE`` bytes, so that whoever
counts them can stop in time.  Codings: RFC 9110 8.4.1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import httpx

ACCEPTED: Final = "gzip, deflate"
PIECE: Final = 64 * 1024

_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's: 16 more for gzip's frame


def pieces(response: httpx.Response) -> Iterator[bytes]:
    """The body as it was before it was packed.  httpx.DecodingError for another coding, several, or a broken one."""
    if response.is_stream_consumed:  # by a transport that had it all at once
        yield response.content
        return
    named = response.headers.get("content-encoding", "").lower().split(",")
    codings = [name for one in named if (name := one.strip()) not in {"", "identity"}]
    if not codings:
        yield from response.iter_raw()
        return
    if len(codings) > 1 or codings[0] not in _WINDOWS:
        raise httpx.DecodingError(f"packed in a way that was not asked for; accepted: {ACCEPTED}")
    yield from _unpacked(response.iter_raw(), _WINDOWS[codings[0]])


def _unpacked(packed: Iterator[bytes], window: int) -> Iterator[bytes]:
    unpack = zlib.decompressobj(window)
    begun = False
    for chunk in packed:
        rest = chunk
        while rest and not unpack.eof:
            try:
                piece = unpack.decompress(rest, PIECE)
            except zlib.error:
                if begun or window != _WINDOWS["deflate"]:
                    raise httpx.DecodingError("not packed as it says") from None
                unpack = zlib.decompressobj(-window)  # some servers leave out zlib's frame
                begun = True
                continue
            begun = True
            rest = unpack.unconsumed_tail
            yield piece
    if begun and not unpack.eof:
        raise httpx.DecodingError("it ends in the middle")
