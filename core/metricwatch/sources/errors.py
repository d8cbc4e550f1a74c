"""What can go wrong between a source and us, in words a condition can show.

Every error is a sentence for people: it names the server and quotes what the server said, cut to a
readable length, and never holds a password, a token or the user part of a URL.
"""

from __future__ import annotations

from typing import ClassVar

from metricwatch.words import visible

_QUOTED_CHARACTERS = 300


class SourceError(Exception):
    """A source could not be read.

    Attributes:
        reason: one CamelCase word for a condition.
        retryable: the same call may succeed later although nobody changed the request.
    """

    reason: ClassVar[str] = "SourceError"
    retryable: ClassVar[bool] = False


class SourceUnavailable(SourceError):
    """No answer: connection refused or lost, timeout, 429, 5xx.

    Attributes:
        retry_after: seconds the server asked to wait, if it did.
    """

    reason = "SourceUnavailable"
    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueryTimeout(SourceUnavailable):
    """The server works on the query for longer than it may; a shorter range may succeed."""


class SourceUnauthorized(SourceError):
    """401, 403, or TLS that cannot be trusted.

    Putting the Secret right mends it without touching the resource.
    """

    reason = "SourceUnauthorized"
    retryable = True


class SecretMissing(SourceError):
    """The Secret, or a part of it that must be there, is not mounted, or cannot be used."""

    reason = "SecretMissing"
    retryable = True


class SourceRefused(SourceError):
    """The server understood us and says that the query is wrong (400, 422)."""

    reason = "QueryRefused"


class SourceNotAllowed(SourceError):
    """The server is not among those that whoever installed Metricwatch lets it read."""

    reason = "SourceNotAllowed"


class SourceMalformed(SourceError):
    """What answers is not a Prometheus API, or answers with what a series cannot be made of."""

    reason = "SourceMalformed"


class SourceTooLarge(SourceError):
    """The answer is larger than this process may hold, or than the server is allowed to make."""

    reason = "SourceTooLarge"


def quote(text: str) -> str:
    r"""Returns what a server said on one line and at most 300 characters long.

    What would move a terminal's cursor, change its colours or turn the direction of writing is
    shown and does nothing.

    >>> quote('  bad\n query \x1b[2J ')
    'bad query \\x1b[2J'
    """
    line = visible(" ".join(text.split()))
    return line if len(line) <= _QUOTED_CHARACTERS else f"{line[: _QUOTED_CHARACTERS - 1]}…"
