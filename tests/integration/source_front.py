"""A proxy in front of a real metrics server, which answers in its place what a test says."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from tests.integration.scripted_server import Answer


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
    front: SourceFront

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["content-length"]))
            answer = front.answer(target, self.path, form)
            # Who asked may not have waited for it.
            try:
                self.send_response(answer.status)
                length = len(answer.body) if answer.announced is None else answer.announced
                self.send_header("Content-Length", str(length))
                for name, text in answer.headers.items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(answer.body)
            except ConnectionError:
                pass
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Tests say what they need themselves."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    front = SourceFront(f"http://127.0.0.1:{server.server_port}")
    front.go_on()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield front
    finally:
        front.go_on()
        server.shutdown()
        server.server_close()
        thread.join()
