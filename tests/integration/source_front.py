"""A proxy in front of a real metrics server, which answers in its place what a test says."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from tests.integration.scripted_server import Answer, answering


@dataclass
class SourceFront:
    """Passes questions on while nothing else is said.

    Attributes:
        fault: what everybody is answered instead.
        asked: when each question came, by the monotonic clock.
    """

    url: str
    fault: Answer | None = None
    asked: list[float] = field(default_factory=list)
    _answering: threading.Event = field(default_factory=threading.Event)

    def hang(self) -> None:
        """Takes questions and answers none."""
        self._answering.clear()

    def go_on(self) -> None:
        """Answers those that hang, and the others."""
        self._answering.set()

    def answer(self, target: str, path: str, form: bytes) -> Answer:
        """The answer of the server, or the one it is given."""
        self.asked.append(time.monotonic())
        self._answering.wait()
        if self.fault is not None:
            return self.fault
        kind = {"content-type": "application/x-www-form-urlencoded"}
        response = httpx.post(f"{target}{path}", content=form, headers=kind, timeout=30)
        return Answer(response.status_code, response.content)


@contextmanager
def fronted(target: str) -> Iterator[SourceFront]:
    """Runs a front for the duration of the block."""
    front = SourceFront("")

    def answer(path: str, _: Mapping[str, str], form: bytes) -> Answer:
        return front.answer(target, path, form)

    front.go_on()
    with answering(answer) as front.url:
        try:
            yield front
        finally:
            front.go_on()
