"""Chunks that are alike as few large ones: a tick costs a hundred calls for each, large or small.

An artifact holds a thousand series so that it can be packed, sent and refused by itself. Scoring
has no such reason, and ten chunks as one take half the time (docs/performance.md).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import family_named
from metricwatch.algorithms.base import Tensors
from metricwatch.artifact import ModelChunk
from metricwatch.scoring import Scoring

MOST_TOGETHER = 10_000
"""Series. Beyond that calls cost nothing any more, and arrays outgrow the caches."""


class Joiner:
    """Takes chunks of one watch one by one, so that only a few exist twice at a time."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[ModelChunk]] = {}
        self._joined: list[ModelChunk] = []

    def add(self, chunk: ModelChunk) -> None:
        """Takes a chunk whose state is fresh; chunks of systems stay as they are."""
        if chunk.systems:
            self._joined.append(chunk)
            return
        alike = self._waiting.setdefault(_kind(chunk), [])
        if sum(one.series for one in alike) + chunk.series > MOST_TOGETHER:
            self._joined.append(_join(alike))
            alike.clear()
        alike.append(chunk)

    def chunks(self) -> tuple[ModelChunk, ...]:
        """Returns all that was added, in as few chunks as may be."""
        return (*self._joined, *(_join(alike) for alike in self._waiting.values()))


def _kind(chunk: ModelChunk) -> str:
    """Returns what chunks have to agree on to be one: all but what is each series' own."""
    tensors = {
        f"{part}.{name}": (str(value.dtype), value.shape[1:])
        for part, owner in (("bank", chunk.bank), ("scoring", chunk.scoring))
        for name, value in owner.tensors().items()
    }
    own = (chunk.watch_uid, chunk.interval, chunk.family)
    headers = (chunk.bank.header(), chunk.scoring.header())
    return json.dumps([*own, *headers, tensors], sort_keys=True)


def _join(chunks: list[ModelChunk]) -> ModelChunk:
    first = chunks[0]
    if len(chunks) == 1:
        return first
    bank = family_named(first.family).restore(
        first.bank.header(), _stacked([chunk.bank.tensors() for chunk in chunks])
    )
    scoring = Scoring.restore(
        bank.streams,
        first.scoring.header(),
        _stacked([chunk.scoring.tensors() for chunk in chunks]),
    )
    labels = tuple(labels for chunk in chunks for labels in chunk.labels)
    return ModelChunk(first.watch_uid, first.interval, labels, bank, scoring)


def _stacked(parts: list[Tensors]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
