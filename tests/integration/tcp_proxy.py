"""A network between two processes that a test can cut, stop or make slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 16 * 1024


@dataclass(slots=True)
class TcpProxy:
    """Passes bytes on to a port of this machine.

    Attributes:
        port: where it listens.
        is_cut: whether connections are refused and those there were are gone.
        delay: seconds that every piece takes, each way.
        bytes_per_second: how much passes on each way; everything when None.
    """

    target: int
    port: int = 0
    is_cut: bool = False
    delay: float = 0.0
    bytes_per_second: float | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        """Resets every connection, and every new one."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Lets connections through again."""
        self.is_cut = False

    def freeze(self) -> None:
        """Swallows what is sent, as a network does whose cable was pulled."""
        self._open.clear()

    def thaw(self) -> None:
        """Delivers what was held up, and what follows."""
        self._open.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until one side ends it."""
        if self.is_cut:
            writer.transport.abort()
            return
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, other_writer}
        ways = [
            asyncio.create_task(self._pass_on(reader, other_writer)),
            asyncio.create_task(self._pass_on(other_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers -= {writer, other_writer}
            for one in (writer, other_writer):
                one.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while content := await reader.read(_CHUNK):
                await self._open.wait()
                pause = self.delay
                if self.bytes_per_second is not None:
                    pause += len(content) / self.bytes_per_second
                if pause:
                    await asyncio.sleep(pause)
                writer.write(content)
                await writer.drain()


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[TcpProxy]:
    """A proxy in front of a port for the length of the block."""
    proxy = TcpProxy(port)
    proxy.thaw()
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
