"""A lock between processes, so that two of them never build the same thing."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metricwatch_dev.progress import say


@contextmanager
def file_lock(path: Path, *, waiting_for: str) -> Iterator[int]:
    """Hold an exclusive lock on `path`; the kernel releases it when this process ends.

    Yields its descriptor: a child that gets it holds the lock as well, for as long as it lives.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  …  another process is at work on {waiting_for}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
