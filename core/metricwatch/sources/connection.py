"""One server over HTTP: TLS, credentials that rotate, retries, and answers of bounded size.

Everything that can go wrong on the way leaves as a `SourceError`. What is asked and what the
answer means is decided elsewhere. Requests are POST forms, because an expression may be longer
than a URL may be.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import structlog

from metricwatch.sources.answers import error_of
from metricwatch.sources.auth import Fingerprint, fingerprint, load_credentials
from metricwatch.sources.config import SourceConfig
from metricwatch.sources.decompression import ACCEPTED, WrongEncoding, read_bounded
from metricwatch.sources.errors import (
    QueryTimeout,
    SourceError,
    SourceTooLarge,
    SourceUnauthorized,
    SourceUnavailable,
    quote,
)
from metricwatch.sources.retry import RetryPolicy
from metricwatch.sources.server_clock import ServerClock
from metricwatch.trust import advice_about

_CONNECT_SECONDS = 10.0
_CONNECTIONS = 16
_ERROR_BYTES = 64 * 1024

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Generation:
    """One client for one content of the Secret, closed when its last request is over."""

    client: httpx.AsyncClient
    made_from: Fingerprint
    requests: int = 0
    retired: bool = field(default=False)


class Connection:
    """Requests to one server.

    Attributes:
        clock: what is known of the server's clock; whoever asks the server for its time tells it.
        clock_is_doubtful: whether the latest answer contradicts that.
    """

    def __init__(self, config: SourceConfig, *, retry: RetryPolicy) -> None:
        self._config = config
        self._retry = retry
        self._secret = config.auth_secret or config.auth_directory
        self._current: _Generation | None = None
        self._base = config.url.rstrip("/")
        if config.tenant:
            self._base += f"/select/{config.tenant}/prometheus"
        self._address = _address(config.url)
        self.clock = ServerClock()
        self.clock_is_doubtful = False

    async def post(self, path: str, form: Mapping[str, str]) -> bytes:
        """Returns the body of a 200 answer.

        Args:
            path: below the prefix of the API, like /api/v1/query.
            form: the parameters.

        Raises:
            SourceError: after retries where waiting may help, at once where it does not.
        """
        began = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(path, form)
            except QueryTimeout:
                raise
            except SourceUnavailable as error:
                wait = self._retry.delay(
                    attempt,
                    elapsed=time.monotonic() - began,
                    jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
                    retry_after=error.retry_after,
                )
                if wait is None:
                    raise
                _log.info("source retry", message=str(error), attempt=attempt, wait=round(wait, 2))
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Closes the connections."""
        if self._current is not None:
            await self._retire(self._current)
            self._current = None

    async def _attempt(self, path: str, form: Mapping[str, str]) -> bytes:
        # The server is asked to stop at timeout_seconds and to say so; sending the answer comes on
        # top of it.
        limit = self._config.timeout_seconds
        sent = time.time()
        try:
            async with (
                asyncio.timeout(2 * limit + _CONNECT_SECONDS),
                self._client() as client,
                client.stream("POST", f"{self._base}{path}", data=dict(form)) as response,
            ):
                self.clock_is_doubtful = self.clock.is_doubtful(
                    response.headers.get("date"), sent=sent, received=time.time()
                )
                return await self._read(response)
        except TimeoutError as error:
            raise QueryTimeout(
                f"{self._address} did not finish its answer of a query limited to {limit:g} s."
            ) from error
        except httpx.ReadTimeout as error:
            raise QueryTimeout(
                f"{self._address} did not answer a query limited to {limit:g} s."
            ) from error
        except httpx.TimeoutException as error:
            raise SourceUnavailable(
                f"{self._address} did not answer in time ({_kind(error)})."
            ) from error
        except (httpx.TransportError, ssl.SSLError) as error:
            # httpx lets an alert that comes after the handshake, which is when TLS 1.3 servers
            # refuse our certificate, through as it is.
            raise self._unreachable(error) from error
        except WrongEncoding as error:
            raise SourceUnavailable(f"{self._address} answers with {error}.") from error

    def _unreachable(self, error: Exception) -> SourceError:
        said = quote(str(error)) or _kind(error)
        where = f"in Secret {self._secret}" if self._secret else "in a Secret named by authRef"
        refused = _distrust(error)
        if refused is not None:
            advice = advice_about(refused) or (
                "The authority of its certificate belongs into ca.crt, our certificate, if it "
                f"wants one, into tls.crt and tls.key, {where}"
            )
            return SourceUnauthorized(f"TLS with {self._address} fails: {said}. {advice}.")
        hint = ""
        if self._base.startswith("https:") and not isinstance(error, httpx.ConnectError):
            # The alert of TLS 1.3 is lost when the server closes before we have sent everything.
            hint = (
                f" A server that wants a client certificate expects tls.crt and tls.key {where}."
            )
        return SourceUnavailable(f"{self._address} cannot be reached: {said}.{hint}")

    async def _read(self, response: httpx.Response) -> bytes:
        if response.status_code != 200:
            raise await self._refusal(response)
        limit = self._config.max_response_bytes
        body = await _body(response, most=limit)
        if len(body) > limit:
            raise SourceTooLarge(
                f"The answer of {self._address} is larger than {limit / 2**20:.0f} MiB; watch "
                "fewer series: aggregate in the query or narrow its selectors."
            )
        return body

    async def _refusal(self, response: httpx.Response) -> SourceError:
        body = await _body(response, most=_ERROR_BYTES)
        return error_of(
            response.status_code,
            response.headers,
            body[:_ERROR_BYTES],
            address=self._address,
            secret=self._secret,
        )

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client made from what the Secret holds now."""
        now = fingerprint(self._config.auth_directory)
        if self._current is None or self._current.made_from != now:
            previous, self._current = self._current, _Generation(self._open(), made_from=now)
            if previous is not None:
                _log.info("source credentials changed", secret=self._secret)
                await self._retire(previous)
        generation = self._current
        generation.requests += 1
        try:
            yield generation.client
        finally:
            generation.requests -= 1
            if generation.retired:
                await self._retire(generation)

    def _open(self) -> httpx.AsyncClient:
        credentials = load_credentials(
            self._config.auth_directory, secret=self._secret or "credentials"
        )
        limit = self._config.timeout_seconds
        return httpx.AsyncClient(
            auth=credentials.authorization,
            verify=credentials.tls,
            headers=[
                (b"Accept-Encoding", ACCEPTED.encode()),
                *((name.encode(), text.encode()) for name, text in self._config.headers.items()),
            ],
            timeout=httpx.Timeout(limit + _CONNECT_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=_CONNECTIONS),
        )

    async def _retire(self, generation: _Generation) -> None:
        generation.retired = True
        if generation.requests == 0:
            await generation.client.aclose()


async def _body(response: httpx.Response, *, most: int) -> bytes:
    encoding = response.headers.get("content-encoding", "")
    return await read_bounded(response.aiter_raw(), encoding=encoding, most=most)


def _address(url: str) -> str:
    """What a message may show of the url: no user, no query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def _distrust(error: BaseException | None) -> ssl.SSLError | None:
    """What TLS itself failed of; None when it was the network under it."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            over = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
            return None if over else error
        error = error.__cause__ or error.__context__
    return None


def _kind(error: Exception) -> str:
    return type(error).__name__
