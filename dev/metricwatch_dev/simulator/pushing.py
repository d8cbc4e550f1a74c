"""History and live samples on their way into VictoriaMetrics."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from metricwatch_dev.simulator.signals import DAY, Floats, Incident, Labels, Signals, Times

LONGEST_CATCH_UP = 3_600


def import_lines(labels: list[Labels], times: Times, values: Floats) -> Iterator[bytes]:
    """Yield one JSON line a series, as VictoriaMetrics imports them; NaN is left out."""
    for row, series in zip(values, labels, strict=True):
        there = np.isfinite(row)
        if there.any():
            line = {
                "metric": series,
                "values": row[there].tolist(),
                "timestamps": (times[there] * 1000).tolist(),
            }
            yield json.dumps(line).encode() + b"\n"


class VictoriaMetrics:
    """The server that gets the samples."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def push(self, labels: list[Labels], times: Times, values: Floats) -> None:
        """Import samples; raises OSError when the server is away or refuses them."""
        body = b"".join(import_lines(labels, times, values))
        self._call("/api/v1/import", body)

    def newest(self, name: str, *, within: int) -> int | None:
        """Return the time of the newest sample of a metric, or None when there is none."""
        # VictoriaMetrics remembers that a filter matched nothing, and goes on saying so after the
        # first samples: a filter that it never saw is looked up.
        unseen = f'asked!="{time.time_ns()}"'
        query = f"max(tlast_over_time({name}{{{unseen}}}[{within}s]))"
        form = urllib.parse.urlencode({"query": query}).encode()
        result = json.loads(self._call("/api/v1/query", form))["data"]["result"]
        return int(float(result[0]["value"][1])) if result else None

    def _call(self, path: str, body: bytes) -> bytes:
        request = urllib.request.Request(self._url + path, data=body)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content


class Simulator:
    """Backfills, then pushes every tick; an incident changes what is pushed from now on."""

    def __init__(self, signals: Signals, server: VictoriaMetrics) -> None:
        self.signals = signals
        self.server = server
        self.stop = threading.Event()
        self.incident: Incident | None = None
        self.pushed_until = 0
        self.backfilled = False

    def backfill(self, *, seconds: int, now: int) -> None:
        """Import history up to now, or what is missing of it, a day at a time."""
        interval = self.signals.interval
        end = now // interval * interval
        start = end - seconds // interval * interval
        newest = self.server.newest(self.signals.labels[0]["__name__"], within=seconds + DAY)
        first = start if newest is None else max(start, newest + interval)
        began = time.monotonic()
        # Even a fraction of a day is a step, so that the last one ends exactly now.
        edges = [*range(first, end, DAY), end + interval]
        for lower, upper in pairwise(edges):
            times = np.arange(lower, upper, interval, dtype=np.int64)
            self.server.push(self.signals.labels, times, self.signals.values(times))
            done = (upper - first) / max(1, end + interval - first)
            say("backfill", percent=round(100 * done), seconds=round(time.monotonic() - began, 1))
        self.pushed_until = max(end, newest or 0)
        self.backfilled = True

    def push_due(self, *, now: int) -> None:
        """Push every tick up to now that was not pushed yet, at most the last hour's."""
        interval = self.signals.interval
        end = now // interval * interval
        first = max(self.pushed_until + interval, end - LONGEST_CATCH_UP)
        times = np.arange(first, end + 1, interval, dtype=np.int64)
        if not len(times):
            return
        values = self.signals.values(times)
        incident = self.incident
        if incident is not None:
            disturbed = self.signals.disturb(values, incident)
            values = np.where(times >= incident.since, disturbed, values)
        self.server.push(self.signals.labels, times, values)
        self.pushed_until = end

    def begin(self, request: dict[str, Any], *, now: int) -> Incident:
        """Start an incident; raises ValueError with a sentence when it is not one."""
        kind, magnitude = request.get("kind"), request.get("magnitude", 4)
        where = request.get("where", {})
        if kind not in self.signals.kinds:
            raise ValueError(f"kind must be one of {', '.join(self.signals.kinds)}")
        if not isinstance(magnitude, int | float) or not 0 < magnitude < 1e6:
            raise ValueError("magnitude must be a positive number")
        incident = Incident(str(kind), float(magnitude), now, dict(where))
        if not any(incident.concerns(labels) for labels in self.signals.labels):
            raise ValueError(f"no series has the labels {where}")
        self.incident = incident
        return incident

    def state(self) -> dict[str, Any]:
        """Return what `GET /` shows."""
        return {
            "backfilled": self.backfilled,
            "incident": None if self.incident is None else asdict(self.incident),
            "interval": self.signals.interval,
            "kinds": self.signals.kinds,
            "pushedUntil": self.pushed_until,
            "series": self.signals.labels,
        }

    def run(self, *, backfill_seconds: int) -> None:
        """Backfill and go on until stopped; a server that is away is tried again every second."""
        while not self.stop.is_set():
            now = int(time.time())
            pause = self.signals.interval - time.time() % self.signals.interval
            try:
                if not self.backfilled:
                    self.backfill(seconds=backfill_seconds, now=now)
                self.push_due(now=now)
            except OSError as problem:
                say("server is away", problem=str(problem))
                pause = 1.0
            self.stop.wait(pause)


def say(message: str, **fields: Any) -> None:
    """Print one JSON line."""
    print(json.dumps({"message": message, **fields}), flush=True)
