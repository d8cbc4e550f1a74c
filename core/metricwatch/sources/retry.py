"""When to ask a server again that could not answer, and when to give up.

Exponential backoff with full jitter, so that a thousand detectors do not come back in one moment
(M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015); what the server says
in Retry-After (RFC 9110 §10.2.3) is a lower bound. Pure: the caller sleeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long one call goes on trying.

    Attributes:
        budget_seconds: no attempt starts later than this after the first.
        first_seconds: upper bound of the first delay; it doubles from there.
        longest_seconds: upper bound of every delay that the server did not ask for.
    """

    budget_seconds: float = 10.0
    first_seconds: float = 0.25
    longest_seconds: float = 15.0

    def delay(
        self, attempt: int, *, elapsed: float, jitter: float, retry_after: float | None = None
    ) -> float | None:
        """Returns the seconds to wait before the next attempt, or None to give up.

        Args:
            attempt: attempts made so far, from 1.
            elapsed: seconds since the first attempt began.
            jitter: a random number in [0, 1).
            retry_after: seconds the server asked to wait, if it did.

        >>> RetryPolicy(budget_seconds=10).delay(3, elapsed=1.0, jitter=0.5)
        0.5
        >>> RetryPolicy(budget_seconds=10).delay(3, elapsed=9.9, jitter=0.5) is None
        True
        """
        # Capping the exponent keeps a long budget from overflowing a float.
        bound = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempt - 1, 32))
        wait = max(jitter * bound, retry_after or 0.0)
        return wait if elapsed + wait <= self.budget_seconds else None


def parse_retry_after(header: str | None, *, now: datetime) -> float | None:
    """Returns the seconds in a Retry-After header, or None when it says nothing usable.

    >>> parse_retry_after("120", now=datetime(2026, 1, 1, tzinfo=UTC))
    120.0
    >>> parse_retry_after("Thu, 01 Jan 2026 00:00:30 GMT", now=datetime(2026, 1, 1, tzinfo=UTC))
    30.0
    """
    if header is None:
        return None
    if header.strip().isdecimal() and len(header) <= 9:
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
