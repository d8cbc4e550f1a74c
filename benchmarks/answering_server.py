"""A server on the loopback that answers for any number of series as Prometheus does."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from tiled_models import STEP, daily, labels_of, noise

_KINDS = 64
"""Histories that differ; series share them, live samples they do not."""
_PATTERNS = 8
_TIME = b"1000000000"


class Answers:
    """Bodies, prepared as far as they can be: what answers takes time from what is measured.

    They are ordinary to a model that knows the day: of a live one the time of day is that at which
    the server began. With `off` they are so much too high, all of them.
    """

    def __init__(self, series: int, off: float) -> None:
        self._metrics = [json.dumps(dict(labels)).encode() for labels in labels_of(series)]
        rng = np.random.default_rng(2)
        samples = noise(rng, series, _PATTERNS) + daily(np.asarray(time.time())) + off
        self._live = [self._vector(samples[:, one]) for one in range(_PATTERNS)]
        self._past = noise(rng, _KINDS, _PATTERNS)

    def _vector(self, values: np.ndarray) -> bytes:
        entries = b",".join(
            b'{"metric":%s,"value":[%s,"%.12g"]}' % (metric, _TIME, value)
            for metric, value in zip(self._metrics, values.tolist(), strict=True)
        )
        return _answer(b"vector", entries)

    def vector(self, at: int) -> bytes:
        """The answer to an instant query."""
        return self._live[at // STEP % _PATTERNS].replace(_TIME, str(at).encode())

    def matrix(self, start: int, end: int, step: int) -> bytes:
        """The answer to a range query."""
        ticks = np.arange(start, end + 1, step)
        values = self._past[:, ticks // step % _PATTERNS] + daily(ticks)
        kinds = [
            json.dumps(
                [[at, f"{value:.12g}"] for at, value in zip(ticks.tolist(), row, strict=True)]
            ).encode()
            for row in values.tolist()
        ]
        entries = b",".join(
            b'{"metric":%s,"values":%s}' % (metric, kinds[number % _KINDS])
            for number, metric in enumerate(self._metrics)
        )
        return _answer(b"matrix", entries)


def _answer(kind: bytes, entries: bytes) -> bytes:
    data = b'{"resultType":"%s","result":[%s]}' % (kind, entries)
    return b'{"status":"success","data":%s}' % data


@contextlib.contextmanager
def answering(series: int, *, nice: int = 0, off: float = 0.0) -> Iterator[str]:
    """Serves in a process of its own; yields the URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_serve, args=(series, port, ready, nice, off), daemon=True)
    process.start()
    try:
        assert ready.wait(120)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def _serve(series: int, port: int, ready: Any, nice: int, off: float) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    answers = Answers(series, off)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Answers a query or a range query."""
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if self.path.endswith("/query"):
                body = answers.vector(int(form["time"][0]))
            else:
                step = int(form["step"][0].removesuffix("s"))
                body = answers.matrix(int(form["start"][0]), int(form["end"][0]), step)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    ready.set()
    server.serve_forever()
