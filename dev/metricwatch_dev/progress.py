"""Progress for people: what is being done now, and how long it took.

Lines are complete in themselves, because steps run in parallel and their lines interleave.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()


def say(line: str) -> None:
    """Print one line to standard error, where it does not mix with results."""
    with _lock:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say that `what` begins, and afterwards how long it took or that it failed."""
    say(f"  …  {what}")
    began = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"  ✗  {what}: failed after {elapsed(time.monotonic() - began)}")
        raise
    say(f"  ✓  {what} ({elapsed(time.monotonic() - began)})")


def elapsed(seconds: float) -> str:
    """Return a duration for people.

    >>> elapsed(0.24), elapsed(12.3), elapsed(125)
    ('0.2 s', '12 s', '2 min 5 s')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
