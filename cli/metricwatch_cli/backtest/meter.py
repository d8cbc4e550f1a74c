"""How far a run is, on standard error: a line that rewrites itself, or one now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

_TERMINAL_SECONDS = 0.2
_LOG_SECONDS = 5.0
_FIRST_GUESS_SECONDS = 1.0


@dataclass(slots=True)
class Meter:
    """Shows progress of a known amount of work.

    Attributes:
        what: name of the work, such as `backtest`.
        of: how much there is, in any unit.
        stream: where to write; None shows nothing.
        clock: seconds, for tests.
    """

    what: str
    of: float
    stream: TextIO | None
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _shown: float = field(init=False)
    _width: int = 0

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._shown = -1e9

    @property
    def _terminal(self) -> bool:
        return self.stream is not None and self.stream.isatty()

    def show(self, done: float) -> None:
        """Shows how far it is, if the last time was long enough ago.

        Args:
            done: of the work.
        """
        now = self.clock()
        pause = _TERMINAL_SECONDS if self._terminal else _LOG_SECONDS
        if self.stream is None or now - self._shown < pause:
            return
        self._shown = now
        self._write(self._line(done, now - self._began))

    def _line(self, done: float, spent: float) -> str:
        share = min(done / self.of, 1.0) if self.of else 1.0
        line = f"{self.what}: {share:4.0%}"
        if 0.0 < share < 1.0 and spent > _FIRST_GUESS_SECONDS:
            line += f", {format_left(spent / share - spent)} left"
        return line

    def _write(self, line: str) -> None:
        assert self.stream is not None  # noqa: S101 - the caller checked
        if self._terminal:
            self.stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def end(self) -> None:
        """Wipes the line, so that what comes next begins on a clean one."""
        if self.stream is not None and self._terminal and self._width:
            self.stream.write("\r" + " " * self._width + "\r")
            self.stream.flush()


def open_stream(*, wanted: bool | None) -> TextIO | None:
    """Returns where progress goes: by default only to a terminal."""
    show = sys.stderr.isatty() if wanted is None else wanted
    return sys.stderr if show else None


def format_left(seconds: float) -> str:
    """Returns minutes and seconds, hours where there are any.

    >>> format_left(75.2), format_left(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
