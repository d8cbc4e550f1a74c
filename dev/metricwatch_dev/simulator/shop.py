"""A simulated shop: pure functions of seed and time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from metricwatch_dev.simulator.signals import DAY, Floats, Incident, Labels, Times

REQUESTS, LATENCY, ERRORS, CPU = (
    "shop_http_requests_per_second",
    "shop_http_latency_p95_seconds",
    "shop_http_error_ratio",
    "shop_cpu_usage_cores",
)
# What an incident of magnitude m multiplies each metric with.
EFFECTS: dict[str, dict[str, Callable[[float], float]]] = {
    "latency": {LATENCY: lambda m: m, CPU: lambda m: 1 + 0.1 * (m - 1)},
    "errors": {ERRORS: lambda m: m, REQUESTS: lambda m: 1 / (1 + 0.02 * m)},
    "traffic": {REQUESTS: lambda m: 1 / m, CPU: lambda m: 0.5 + 0.5 / m},
    "cpu": {CPU: lambda m: m, LATENCY: lambda m: 1 + 0.2 * (m - 1)},
}


class Shop:
    """Requests, latency, errors and CPU of a few pods: daily and weekly rhythm, and noise."""

    def __init__(self, *, seed: int, pods: int, interval: int) -> None:
        self.seed = seed
        self.interval = interval
        self.kinds = tuple(EFFECTS)
        self.labels = [
            {"__name__": name, "app": "shop", "pod": f"shop-{pod}"}
            for name in (REQUESTS, LATENCY, ERRORS, CPU)
            for pod in range(pods)
        ]

    def values(self, times: Times) -> Floats:
        """Return float64[S, T]."""
        load = shop_load(times)
        return np.stack([self._series(labels, load, times) for labels in self.labels])

    def disturb(self, values: Floats, incident: Incident) -> Floats:
        """Return the values as the incident makes them."""
        disturbed = values.copy()
        for row, labels in enumerate(self.labels):
            effect = EFFECTS[incident.kind].get(labels["__name__"])
            if effect is not None and incident.concerns(labels):
                disturbed[row] *= effect(incident.magnitude)
        return disturbed

    def _series(self, labels: Labels, load: Floats, times: Times) -> Floats:
        name, pod = labels["__name__"], labels["pod"]
        key = stable_key(f"{self.seed}/{name}/{pod}")
        share = 0.85 + 0.3 * float(uniform(stable_key(f"{self.seed}/{pod}"), times[:1] * 0)[0])
        slow, fast = smooth_noise(key, times, period=600), gaussian(key, times)
        if name == REQUESTS:
            return np.asarray(140 * share * load * np.exp(0.03 * slow + 0.03 * fast))
        if name == LATENCY:
            return np.asarray((0.08 + 0.06 * load**2) * np.exp(0.04 * slow + 0.05 * fast))
        if name == ERRORS:
            return np.asarray((0.003 + 0.002 * load) * np.exp(0.1 * slow + 0.15 * fast))
        return np.asarray((0.1 + 0.5 * share * load) * np.exp(0.03 * slow + 0.03 * fast))


def shop_load(times: Times) -> Floats:
    """Return the load, about 0.2 to 1.2, that the time of day and week brings.

    >>> monday_noon, monday_night = 4 * DAY + DAY // 2, 4 * DAY + DAY // 8
    >>> noon, night = shop_load(np.array([monday_noon, monday_night]))
    >>> bool(noon > 2 * night)
    True
    """
    day = 2 * np.pi * (times % DAY) / DAY
    daily = 0.62 - 0.38 * np.cos(day - 0.6) + 0.12 * np.sin(2 * day)
    # The epoch was a Thursday; factors hold at noon, and fade into each other.
    weekly = np.array([1.0, 1.08, 0.82, 0.74, 0.96, 1.0, 1.0])
    position = (times / DAY) - 0.5
    return np.asarray(daily * np.interp(position % 7, np.arange(8), np.append(weekly, weekly[0])))


def stable_key(text: str) -> int:
    """Return a 64-bit number that is the same for the same text in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniform(key: int, counters: Times) -> Floats:
    """Return numbers in (0, 1) that depend on key and counter only (SplitMix64's finaliser)."""
    with np.errstate(over="ignore"):
        bits = counters.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return np.asarray(((bits >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)


def gaussian(key: int, counters: Times) -> Floats:
    """Return standard normal numbers that depend on key and counter only (Box and Muller)."""
    first, second = uniform(key, counters), uniform(key ^ 0x5DEECE66D, counters)
    return np.asarray(np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second))


def smooth_noise(key: int, times: Times, *, period: int) -> Floats:
    """Return noise that wanders: normal numbers every `period` seconds, cosines between them."""
    knot, rest = times // period, (times % period) / period
    weight = (1 - np.cos(np.pi * rest)) / 2
    return np.asarray(gaussian(key, knot) * (1 - weight) + gaussian(key, knot + 1) * weight)
