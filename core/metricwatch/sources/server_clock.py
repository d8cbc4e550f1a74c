"""How far the clock of a server is ahead of ours, from what its answers say. Pure.

The samples of a source carry times of its clock, so ticks have to follow that one, however wrong
the clock of a process is. The Date header (RFC 9110 §6.6.1) comes with every answer and costs
nothing, but a proxy on the way may have written it: it only says that asking is worthwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

TOLERANCE_SECONDS = 2.0
"""Clocks this close agree: a server may write the Date of a second ago."""

_WIDEST_SECONDS = 10.0
"""An answer that took longer says too little of when it was written."""


@dataclass(slots=True)
class ServerClock:
    """What is known of one server's clock.

    Attributes:
        ahead: seconds to add to our time to have the server's; 0 while both agree.
    """

    ahead: float = 0.0

    def is_doubtful(self, date: str | None, *, sent: float, received: float) -> bool:
        """Whether the Date of an answer contradicts what is known.

        Args:
            date: the header, if there was one.
            sent: when we asked, unix seconds of our clock.
            received: when the answer began.

        >>> ServerClock().is_doubtful("Thu, 01 Jan 1970 00:05:00 GMT", sent=0.0, received=1.0)
        True
        """
        moment = _moment(date)
        # The header has no fractions: the server's clock was anywhere within that second.
        return moment is not None and not self._agrees(moment - received, moment + 1.0 - sent)

    def hear(self, moment: float, *, sent: float, received: float) -> None:
        """Takes the time that the server gave when it was asked for it."""
        earliest, latest = moment - received, moment - sent
        if latest - earliest > _WIDEST_SECONDS or self._agrees(earliest, latest):
            return
        # Rather too little than too much: a tick that is asked for too early has no sample yet.
        ahead = float(math.floor(earliest))
        self.ahead = 0.0 if abs(ahead) <= TOLERANCE_SECONDS else ahead

    def _agrees(self, earliest: float, latest: float) -> bool:
        slack = TOLERANCE_SECONDS
        return earliest - slack <= self.ahead <= latest + slack


def _moment(date: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
