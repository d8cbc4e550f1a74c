"""Progress of a run as log lines: often enough to see it move, seldom enough to be read."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

import structlog

from metricwatch.algorithms import Progress

_SECONDS_BETWEEN_LINES = 2.0


class ProgressLog:
    """Writes a line every two seconds at most, but always the first and the last; thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log: Any = structlog.get_logger("metricwatch_trainer")
        self._clock = clock
        self._next = -1.0
        self._lock = Lock()

    def reading(self, watch: str) -> Callable[[int, int], None]:
        """Returns what a source calls with the ticks read and the ticks there are."""

        def told(done: int, of: int) -> None:
            if self._is_due(last=done >= of):
                self._log.info("reading history", watch=watch, ticks=done, of=of)

        return told

    def fitting(self, watch: str, *, before: int, of: int) -> Callable[[Progress], None]:
        """Returns what a fit calls.

        Args:
            watch: for people.
            before: series of this watch fitted by earlier calls.
            of: series of this watch.
        """

        def told(progress: Progress) -> None:
            done = before + progress.series
            if not self._is_due(last=done >= of):
                return
            fields = {
                "epoch": progress.epoch,
                "epochs": progress.epochs,
                "loss": None if progress.loss is None else round(progress.loss, 4),
                "seconds_left": _rounded(progress.seconds_left),
            }
            known = {name: value for name, value in fields.items() if value is not None}
            self._log.info(
                "fitting", watch=watch, family=progress.family, series=done, of=of, **known
            )

        return told

    def measuring(self, watch: str) -> Callable[[int, int], None]:
        """Returns what the gate calls with the chunks measured and the chunks there are."""

        def told(done: int, of: int) -> None:
            if self._is_due(last=done >= of):
                self._log.info("measuring", watch=watch, chunks=done, of=of)

        return told

    def _is_due(self, *, last: bool) -> bool:
        with self._lock:
            now = self._clock()
            if not last and now < self._next:
                return False
            self._next = now + _SECONDS_BETWEEN_LINES
            return True


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
