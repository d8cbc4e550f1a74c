"""Why a step failed, sorted by what helps.

```
ApiError
├── Retryable        the same request may succeed later
│   ├── Conflict     somebody else was first
│   ├── Forbidden    a right, or room in a quota, is missing
│   └── Away         the API server cannot be reached
├── NotFound         the object is not there
├── Expired          what was asked about is so long ago that nobody knows
└── Terminal         only another spec, or another right, helps
```

Everything else that escapes a reconcile is a bug: it is logged with its traceback and backed off.
"""

from __future__ import annotations


class ApiError(Exception):
    """The API server did not do what it was asked to.

    Args:
        message: A sentence for people.
        reason: One CamelCase word for a condition or a metric.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Retryable(ApiError):
    """Trying again may help; `delay` is the least wait in seconds, where it is known."""

    def __init__(self, message: str, *, reason: str, delay: float | None = None) -> None:
        super().__init__(message, reason=reason)
        self.delay = delay


class Conflict(Retryable):
    """Somebody else changed or created the object first."""


class Forbidden(Retryable):
    """A right or room in a quota is missing; mended by an administrator without telling us."""


class Away(Retryable):
    """No answer from the API server."""


class Fenced(Retryable):
    """Nothing was asked: by our own clock another replica may lead by now."""


class NotFound(ApiError):
    """The object is not there."""


class Expired(ApiError):
    """The API server no longer knows what happened since then."""


class Terminal(ApiError):
    """The API server refuses the request for what it says."""
