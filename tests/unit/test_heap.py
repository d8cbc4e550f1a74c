"""Memory that a start leaves behind goes back, and what stays is not looked through again."""

from __future__ import annotations

import gc
import subprocess
import sys

from metricwatch import heap

_FRAGMENTED = """
from pathlib import Path
from metricwatch import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

blocks = [bytearray(2000) for _ in range(30_000)]
# The last block holds on to all that lies below it, as far as the C library is concerned.
del blocks[:-1]
before = resident()
heap.trim()
print(before - resident())
"""


def test_what_is_there_is_left_out_of_later_collections() -> None:
    before = gc.get_freeze_count()
    try:
        kept = [[number] for number in range(1000)]
        heap.settle()
        assert gc.get_freeze_count() - before >= len(kept)
    finally:
        gc.unfreeze()


def test_free_memory_is_given_back() -> None:
    command = [sys.executable, "-c", _FRAGMENTED]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    # 60 MB were free: thousands of pages.
    assert int(answer.stdout) > 5000
