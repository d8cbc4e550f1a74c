"""What a start leaves behind in the process goes back to the system.

Listing thousands of objects, or reading the history of thousands of series, takes memory that
nobody needs afterwards, and the collector of cycles would look through what stays for ever again
and again, for longer than a status should take.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

_malloc_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)


def settle() -> None:
    """Leaves what is here now out of all later collections; it goes when nothing refers to it."""
    gc.freeze()
    trim()


def trim() -> None:
    """Gives free memory back, where the C library can do that: glibc keeps it otherwise."""
    if _malloc_trim is not None:
        _malloc_trim(0)
