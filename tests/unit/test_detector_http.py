"""The small HTTP server, over real sockets."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from http import HTTPStatus

import httpx
import pytest

from metricwatch_detector.http import HttpServer, Response

LONG = b"metricwatch_value 1\n" * 1000


def broken() -> Response:
    raise RuntimeError("out of order")


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    started = await HttpServer(
        {
            "/metrics": lambda: Response(LONG, content_type="text/plain; version=0.0.4"),
            "/healthz": lambda: Response(b"ok\n"),
            "/readyz": lambda: Response(b"not yet\n", HTTPStatus.SERVICE_UNAVAILABLE),
            "/broken": broken,
        }
    ).start(port=0, host="127.0.0.1")
    yield started
    await started.close()


async def ask(server: HttpServer, method: str, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        return await client.request(method, path, headers=headers)


async def raw(server: HttpServer, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_each_path_answers_with_its_own_status_and_type(server: HttpServer) -> None:
    metrics = await ask(server, "GET", "/metrics?name[]=x")
    assert metrics.content == LONG
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4"
    assert (await ask(server, "GET", "/healthz")).status_code == 200
    assert (await ask(server, "GET", "/readyz")).status_code == 503


async def test_a_scrape_is_compressed_when_asked_for(server: HttpServer) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: deflate, gzip;q=0.5\r\n\r\n"
    head, _, body = (await raw(server, request)).partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    assert gzip.decompress(body) == LONG
    assert len(body) < len(LONG) / 10


@pytest.mark.parametrize("encoding", ["identity", "gzip;q=0", "br"])
async def test_who_cannot_unpack_gets_it_plain(server: HttpServer, encoding: str) -> None:
    answer = await ask(server, "GET", "/metrics", **{"Accept-Encoding": encoding})
    assert "content-encoding" not in answer.headers
    assert answer.content == LONG


async def test_head_gives_the_length_without_the_body(server: HttpServer) -> None:
    answer = await raw(server, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert b"Content-Length: 3" in answer


async def test_other_paths_and_methods_are_refused(server: HttpServer) -> None:
    missing = await ask(server, "GET", "/secrets")
    assert missing.status_code == 404
    assert "/metrics" in missing.text
    assert (await ask(server, "POST", "/metrics")).status_code == 405


async def test_an_answer_that_fails_does_not_end_the_server(server: HttpServer) -> None:
    answer = await ask(server, "GET", "/broken")
    assert answer.status_code == 500
    assert "order" not in answer.text
    assert (await ask(server, "GET", "/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"what?\r\n\r\n", b"400"),
        (b"\r\n\r\n", b"400"),
        (b"GET /healthz SPDY/3\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", b"404"),
    ],
)
async def test_nonsense_gets_an_answer(server: HttpServer, request_: bytes, status: bytes) -> None:
    assert (await raw(server, request_)).split(b" ")[1] == status


async def test_a_client_that_goes_away_is_forgotten(server: HttpServer) -> None:
    for _ in range(100):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /me")
        writer.close()
    await asyncio.sleep(0.1)
    assert (await ask(server, "GET", "/healthz")).status_code == 200
