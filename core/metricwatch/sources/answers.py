"""What the answer of a server other than 200 means.

Pure: status, headers and the beginning of a body in, an error out. The words of the server are
what helps most, so they are kept, on one line and cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from metricwatch.sources.errors import (
    QueryTimeout,
    SourceError,
    SourceMalformed,
    SourceRefused,
    SourceTooLarge,
    SourceUnauthorized,
    SourceUnavailable,
    quote,
)
from metricwatch.sources.retry import parse_retry_after

# How Prometheus and VictoriaMetrics say that a query is too big for their own limits.
_TOO_LARGE = (
    "too many samples",
    "too many points",
    "maximum resolution",
    "-search.max",
    "query processing would load",
)


# How they say that it took too long; with 503 or with 422.
_TIMED_OUT = ("timed out", "timeout exceeded", "deadline exceeded")


class _Failure(msgspec.Struct):
    error: str = ""
    error_type: str = msgspec.field(name="errorType", default="")


def error_of(
    status: int, headers: Mapping[str, str], body: bytes, *, address: str, secret: str | None
) -> SourceError:
    """Returns the error that an answer other than 200 stands for.

    Args:
        status: the HTTP status.
        headers: of the answer; names in any case.
        body: the beginning of the answer.
        address: scheme, host and path prefix of the server, for the sentence.
        secret: name of the Secret with the credentials, if there is one.
    """
    said = _said(body)
    match status:
        case 401 | 403:
            return SourceUnauthorized(_unauthorized(status, said, address, secret))
        case 422 | 503 if any(words in said for words in _TIMED_OUT):
            return QueryTimeout(f"The query takes {address} too long: {said}")
        case 400 | 422 if "unsupported path" in said:
            return SourceMalformed(f"{address} has no Prometheus API here: {said}")
        case 400 | 422 if any(words in said for words in _TOO_LARGE):
            return SourceTooLarge(f"The query is too large for {address}: {said}")
        case 400 | 422:
            return SourceRefused(f"{address} refuses the query: {said or status}")
        case 408 | 425 | 429 | 500 | 502 | 503 | 504:
            wait = parse_retry_after(headers.get("retry-after"), now=datetime.now(UTC))
            return SourceUnavailable(
                f"{address} cannot answer now (HTTP {status}): {said or 'it says nothing more'}",
                retry_after=wait,
            )
        case _ if 300 <= status < 400:
            return SourceMalformed(
                f"{address} redirects (HTTP {status}) instead of answering; use the address it "
                "redirects to."
            )
        case _:
            return SourceMalformed(
                f"{address} answers HTTP {status} where a Prometheus API is expected; the url has "
                f"no /api/v1 and has any path prefix. The server says: {said or 'nothing'}"
            )


def _unauthorized(status: int, said: str, address: str, secret: str | None) -> str:
    hint = (
        f"check Secret {secret}" if secret else "name a Secret with credentials in source.authRef"
    )
    return f"{address} does not let us in (HTTP {status}): {said or 'no reason given'}; {hint}."


def _said(body: bytes) -> str:
    """The sentence in an answer: of the API's JSON, or plain text; a web page says nothing."""
    try:
        failure = msgspec.json.decode(body, type=_Failure)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode("utf-8", errors="replace").strip()
        return "" if text.startswith("<") else quote(text)
    return quote(failure.error or failure.error_type)
