"""What the functions of the store need of a connection, and how a new one is made and prepared.

asyncpg has two kinds of connection (its own and the pool's proxy) and our functions take either;
the protocol here is the part of both that they use.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import asyncpg
import msgspec

from metricwatch.store.location import DatabaseLocation

Row = Mapping[str, Any]
"""One record of an answer, by column name."""

# An escaped NUL, which is legal JSON and legal in a label, and which jsonb refuses. The
# look-behind keeps an escaped backslash followed by `u0000`, which is no NUL.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_JSONB_VERSION = b"\x01"


# asyncpg's own signatures: `timeout` is theirs.
# ruff: noqa: ASYNC109


class Connection(Protocol):
    """A connection to PostgreSQL, from the pool or of its own."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run a statement; the answer is its command tag."""

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Row]:
        """All rows."""

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Row | None:
        """The first row, if there is one."""

    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        """The first value of the first row."""

    async def copy_to_table(
        self,
        table_name: str,
        *,
        source: Any,
        columns: Sequence[str],
        format: str,  # noqa: A002
    ) -> str:
        """COPY from a file-like object."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction, or a savepoint within one."""


def encode_jsonb(value: Any) -> bytes:
    r"""A value in PostgreSQL's binary jsonb format; NaN becomes null, NUL the character U+FFFD.

    >>> encode_jsonb({"a": float("nan")})
    b'\x01{"a":null}'
    """
    text = msgspec.json.encode(value)
    if b"\\u0000" in text:
        text = _NUL.sub(rb"\1\\ufffd", text)
    return _JSONB_VERSION + text


def decode_jsonb(content: bytes) -> Any:
    """The opposite of `encode_jsonb`."""
    return msgspec.json.decode(content[len(_JSONB_VERSION) :])


async def connect(location: DatabaseLocation, **arguments: Any) -> asyncpg.Connection:
    """A new connection, with the URL as it is now; `arguments` are those of `asyncpg.connect`.

    Raises whatever asyncpg, sockets and TLS raise (`errors.mapped_errors`).
    """
    try:
        return await asyncpg.connect(location.read(), **arguments)
    except ssl.SSLError:
        # A certificate that is not trusted is a ValueError as well.
        raise
    except ValueError as error:
        # Some of asyncpg's checks of a URL raise a plain one.
        raise asyncpg.ClientConfigurationError(str(error)) from error


async def prepare(connection: asyncpg.Connection) -> None:
    """Teach a new connection to read and write jsonb as Python values."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=encode_jsonb, decoder=decode_jsonb, format="binary"
    )
