"""What every layer of tests needs."""

import asyncio

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Start without an event loop: Python 3.11 makes one up when asked for the current one.

    pytest-asyncio asks, nobody closes that loop, and its warning would fail the whole session.
    """
    asyncio.set_event_loop(None)
