"""/healthz, /readyz and /metrics, served by the main thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

Check = Callable[[], str]
"""Gives what is wrong, or an empty string."""


async def serve_endpoints(
    *, port: int, registry: CollectorRegistry, healthy: Check, ready: Check
) -> web.AppRunner:
    """Starts to answer; `cleanup()` of the result stops it.

    Raises:
        OSError: The port is taken.
    """

    async def metrics(_: web.Request) -> web.Response:
        # Formatting thousands of samples must not hold up the Lease, which shares this loop.
        body = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", _answer(healthy))
    application.router.add_get("/readyz", _answer(ready))
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        # All interfaces: the kubelet and Prometheus come from outside the pod.
        await web.TCPSite(runner, host=None, port=port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


def _answer(check: Check) -> Any:
    async def answer(_: web.Request) -> web.Response:
        problem = check()
        return web.Response(text=f"{problem or 'ok'}\n", status=500 if problem else 200)

    return answer
