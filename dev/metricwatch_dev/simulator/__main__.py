"""Runs a simulation: `python -m metricwatch_dev.simulator --url http://victoriametrics:8428`.

`POST /incident {"kind": "latency", "magnitude": 4, "where": {"pod": "shop-1"}}` makes something go
wrong, `DELETE /incident` ends it, `GET /` says what is going on.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from metricwatch_dev.simulator.pushing import Simulator, VictoriaMetrics, say
from metricwatch_dev.simulator.replay import Replay
from metricwatch_dev.simulator.shop import Shop
from metricwatch_dev.simulator.signals import DAY, Signals

LONGEST_BODY = 65_536


def make_handler(simulator: Simulator) -> type[BaseHTTPRequestHandler]:
    """Return the HTTP handler that controls this simulator."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/":
                return self._answer(404, {})
            return self._answer(200, simulator.state())

        def do_POST(self) -> None:
            if self.path != "/incident":
                return self._answer(404, {})
            try:
                incident = simulator.begin(json.loads(self._body()), now=int(time.time()))
            except (ValueError, AttributeError) as problem:
                return self._answer(400, {"error": str(problem)})
            say("incident begins", **asdict(incident))
            return self._answer(201, asdict(incident))

        def do_DELETE(self) -> None:
            simulator.incident = None
            say("incident ends")
            self._answer(200, {})

        def log_message(self, *_arguments: Any) -> None:
            """Keep probes out of the log."""

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(
                    min(int(self.headers.get("Content-Length", 0)), LONGEST_BODY)
                )
            # The API server's proxy passes a body on in chunks.
            body = b""
            while size := int(self.rfile.readline(16), 16):
                body += self.rfile.read(min(size, LONGEST_BODY - len(body)))
                self.rfile.readline(2)
            return body

        def _answer(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--url", required=True, help="VictoriaMetrics, e.g. http://localhost:8428")
    parser.add_argument("--port", type=int, default=8080, help="where incidents are controlled")
    parser.add_argument("--backfill-days", type=float, default=14)
    parser.add_argument("--interval", type=int, default=15, help="seconds between samples")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pods", type=int, default=5)
    parser.add_argument("--csv", type=Path, nargs="+", help="replay timestamp,<series>… files")
    parser.add_argument("--row-seconds", type=int, help="time between rows; default: the file's")
    parser.add_argument("--history", type=float, default=0.8, help="part of the rows before now")
    parser.add_argument("--origin", type=int, help="unix time to go live at; default: now")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM."""
    options = parse_arguments(arguments)
    signals: Signals
    seconds = int(options.backfill_days * DAY)
    if options.csv:
        origin = options.origin or int(time.time())
        replay = Replay(
            options.csv, row_seconds=options.row_seconds, origin=origin, history=options.history
        )
        seconds = min(seconds, replay.history_seconds + max(0, int(time.time()) - origin))
        signals = replay
    else:
        signals = Shop(seed=options.seed, pods=options.pods, interval=options.interval)
    simulator = Simulator(signals, VictoriaMetrics(options.url))
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: simulator.stop.set())
    httpd = ThreadingHTTPServer(("", options.port), make_handler(simulator))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    say("simulating", series=len(signals.labels), interval=signals.interval)
    simulator.run(backfill_seconds=seconds)
    httpd.shutdown()
    httpd.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
