"""Answers decompressed no further than they may be long.

A thousandth of an answer is enough to make one that fills the memory, and a millionth when it
was compressed twice: so gzip is asked for, gzip once is taken, and what comes out is bounded at
each step.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

_PLAIN = ("", "identity")
_GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 31
ACCEPTED = "gzip"
"""What requests say in `Accept-Encoding`."""


class WrongEncoding(Exception):
    """An answer is compressed in another way than was asked for, or is damaged."""


async def read_bounded(parts: AsyncIterator[bytes], *, encoding: str, most: int) -> bytes:
    """Returns the beginning of an answer: all of it, or one byte more than `most`.

    Args:
        parts: as they come.
        encoding: `Content-Encoding` of the answer.
        most: how many bytes the answer may have when it is decompressed.

    Raises:
        WrongEncoding: it cannot be decompressed.
    """
    name = encoding.strip().lower()
    if name not in (*_PLAIN, *_GZIP):
        raise WrongEncoding(f"the encoding {name[:40]!r}, which nobody asked for")
    inflate = zlib.decompressobj(_GZIP_WINDOW) if name in _GZIP else None
    body = bytearray()
    async for part in parts:
        room = most + 1 - len(body)
        try:
            body += inflate.decompress(part, room) if inflate else part[:room]
        except zlib.error as error:
            raise WrongEncoding("what is no gzip, although it says so") from error
        if len(body) > most:
            break
    return bytes(body)
