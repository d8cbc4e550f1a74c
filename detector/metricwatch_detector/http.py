"""An HTTP/1.1 server for a few GET paths: small enough to be read, robust enough to be scraped.

It serves Prometheus and the kubelet, nobody else: one request per connection, a bounded head, a
time limit, compression at level 1 (a higher one costs eight times the CPU for a tenth of the
size).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import structlog

_log = structlog.get_logger(__name__)
_SECONDS = 10.0
_MOST_HEAD_BYTES = 16 * 1024
_WORTH_COMPRESSING = 1400
_MOST_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Response:
    """What a path answers."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


class HttpServer:
    """Serves `routes` (path to function) on a port until closed."""

    def __init__(self, routes: Mapping[str, Callable[[], Response]]) -> None:
        self._routes = routes
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self, *, port: int, host: str | None = None) -> Self:
        """Listens on `port`, 0 for any free one, on all addresses unless `host` says otherwise."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_MOST_HEAD_BYTES)
        return self

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None, "not started"  # noqa: S101
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Stops listening; answers that are under way are finished."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(_SECONDS):
                if self._open <= _MOST_CONNECTIONS:
                    writer.write(await self._answer(reader))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # the client went away or never asked: nobody to tell
        finally:
            self._open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            too_long = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return _message(Response(b"the request is too long\n", too_long), b"")
        request, _, fields = head.partition(b"\r\n")
        words = request.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _message(Response(b"this is no HTTP\n", HTTPStatus.BAD_REQUEST), b"")
        response = self._respond(words[0], words[1].split(b"?")[0].decode("latin-1"))
        encoding = b""
        if len(response.body) > _WORTH_COMPRESSING and _accepts_gzip(fields):
            encoding = b"Content-Encoding: gzip\r\n"
            packed = await asyncio.to_thread(zlib.compress, response.body, 1, 16 + zlib.MAX_WBITS)
            response = Response(packed, response.status, response.content_type)
        return _message(response, encoding, head_only=words[0] == b"HEAD")

    def _respond(self, method: bytes, path: str) -> Response:
        route = self._routes.get(path)
        if route is None:
            known = ", ".join(self._routes)
            return Response(f"not here; try {known}\n".encode(), HTTPStatus.NOT_FOUND)
        if method not in (b"GET", b"HEAD"):
            return Response(b"only GET\n", HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return route()
        except Exception:  # noqa: BLE001 - logged; the server goes on
            _log.exception("an answer failed", path=path)
            return Response(b"internal error\n", HTTPStatus.INTERNAL_SERVER_ERROR)


def _accepts_gzip(fields: bytes) -> bool:
    for line in fields.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"accept-encoding":
            offers = [offer.replace(b" ", b"") for offer in value.split(b",")]
            return any(offer == b"gzip" or offer.startswith(b"gzip;") for offer in offers) and (
                b"gzip;q=0" not in offers
            )
    return False


def _message(response: Response, encoding: bytes, *, head_only: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        "Connection: close\r\n"
    ).encode("latin-1")
    return head + encoding + b"\r\n" + (b"" if head_only else response.body)
