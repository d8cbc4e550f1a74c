"""A version that learned from history in disorder is refused, all the way from a real source.

What happens when a migration or a backfill of the metrics server goes wrong: the newest samples
are right, those before them are in any order. The next training run learns nonsense from them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import httpx
import numpy as np
from tests.integration.live_fixture import MODEL, Live, comes_to_rest, live
from tests.integration.operator_fixture import operator_plane, stage

__all__ = ["live", "operator_plane", "stage"]

METRIC = "orders"
INTERVAL = 5
PERIOD = 600
WINDOW = 2 * 3600
# The gate holds back 15 % of the window: that much and a little more stays in order.
IN_ORDER = round(0.2 * WINDOW)
AHEAD = 1200


def orders(now: int, *, shuffled: bool) -> Iterator[str]:
    """Three series with a rhythm and little noise, the older samples in any order if asked."""
    times = np.arange(now - WINDOW - PERIOD, now + AHEAD, INTERVAL)
    for shop in range(3):
        chance = np.random.default_rng(shop)
        values = 100 + 20 * np.sin(2 * np.pi * times / PERIOD + shop)
        values += chance.normal(size=times.size)
        if shuffled:
            chance.shuffle(values[: np.searchsorted(times, now - IN_ORDER)])
        for moment, value in zip(times.tolist(), values.tolist(), strict=True):
            yield f'{METRIC}{{shop="{shop}"}} {value!r} {moment * 1000}'


def spoil(live: Live, now: int) -> None:
    """Replaces all samples by the same ones in disorder."""
    with httpx.Client(base_url=live.source.url, timeout=60) as source:
        wanted = {"match[]": METRIC}
        source.post("/api/v1/admin/tsdb/delete_series", params=wanted).raise_for_status()
    live.source.import_text(orders(now, shuffled=True))


async def answers(live: Live, number: int) -> list[str]:
    """What keeps a version from having come to its end."""
    versions = live.stage.namespace.get("AnomalyModel", MODEL)["status"].get("versions") or [{}]
    newest = versions[0]
    over = newest.get("version") == number and newest.get("state") in {"Rejected", "Serving"}
    return [] if over else [f"the newest version is {newest}"]


async def test_a_version_that_learned_from_shuffled_history_is_refused(live: Live) -> None:
    now = int(time.time()) // INTERVAL * INTERVAL
    live.source.import_text(orders(now, shuffled=False))
    live.start_operator()
    live.stage.add_model(
        MODEL,
        source={"type": "victoriametrics", "url": live.source.url},
        algorithm={"type": "autoregressive"},
        training={"window": f"{WINDOW}s"},
    )
    live.stage.add_watch(MODEL, model=MODEL, query=METRIC, interval=f"{INTERVAL}s", delay="2s")
    await comes_to_rest(live, lambda: answers(live, 1))

    spoil(live, now)
    # The annotation counts whole seconds.
    await asyncio.sleep(1.1)
    live.retrain()
    await comes_to_rest(live, lambda: answers(live, 2))

    status = live.stage.namespace.get("AnomalyModel", MODEL)["status"]
    refused, serving = status["versions"][:2]
    assert (refused["version"], refused["state"]) == (2, "Rejected")
    # Its bounds are as wide as the disorder: it sees little, and expects what does not come.
    assert refused["reason"] in {"RecallTooLow", "ErrorTooLarge"}, refused
    assert (serving["version"], serving["state"]) == (1, "Serving")
    assert status["servingVersion"] == 1
