"""A server that answers what a test says, and keeps what it was asked."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

EMPTY = b'{"status":"success","data":{"resultType":"vector","result":[]}}'


@dataclass(frozen=True)
class Answer:
    """One answer; `announced` is the length it claims when that is not the true one."""

    status: int = 200
    body: bytes = EMPTY
    headers: Mapping[str, str] = field(default_factory=dict)
    announced: int | None = None


@dataclass(frozen=True)
class Request:
    """What was asked."""

    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]


@dataclass
class ScriptedServer:
    """Gives its answers in order, the last one for ever."""

    url: str
    answers: list[Answer]
    requests: list[Request] = field(default_factory=list)

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def answering(answer: Callable[[str, Mapping[str, str], bytes], Answer]) -> Iterator[str]:
    """Runs a server for the duration of the block; gives its URL.

    Args:
        answer: to a path, headers (in small letters) and a form. It may take its time, and who
            asked may not wait for it.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            found = answer(self.path, headers, form)
            with contextlib.suppress(ConnectionError):
                self._send(found)
            self.close_connection = True

        def _send(self, found: Answer) -> None:
            self.send_response(found.status)
            announced = len(found.body) if found.announced is None else found.announced
            self.send_header("Content-Length", str(announced))
            for name, text in found.headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, *_: object) -> None:
            """Tests say what they need themselves."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def scripted(*answers: Answer) -> Iterator[ScriptedServer]:
    """Runs a server for the duration of the block."""
    script = ScriptedServer("", list(answers))

    def answer(path: str, headers: Mapping[str, str], form: bytes) -> Answer:
        fields = {name: values[0] for name, values in parse_qs(form.decode()).items()}
        script.requests.append(Request(path, headers, fields))
        return script.next_answer()

    with answering(answer) as url:
        script.url = url
        yield script
