"""Series side by side with copies of themselves, so that one walk tries several things. Pure.

A walk costs by the tick more than by the series when there are few, and nothing in it depends on
what other series there are: several rounds of anomalies are walked as if they were more series.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np

from metricwatch.artifact import ModelChunk
from metricwatch.series import Labels, Panel

_COPY = "__copy__"


def copy_of(labels: Labels, number: int) -> Labels:
    """Returns the labels of a copy; number 0 is the series itself.

    >>> copy_of((("pod", "a"),), 1)
    (('__copy__', '1'), ('pod', 'a'))
    """
    return labels if number == 0 else tuple(sorted((*labels, (_COPY, str(number)))))


def copies_of(
    chunks: Sequence[ModelChunk], labels: set[Labels], *, copies: int = 1
) -> tuple[ModelChunk, ...]:
    """Returns fresh chunks of the series among `labels` and of their copies, itself the first.

    Systems come whole or not at all.
    """
    parts: list[ModelChunk] = []
    for chunk in chunks:
        rows = [row for row, one in enumerate(chunk.labels) if one in labels]
        if rows and chunk.systems:
            parts += (_system_copy(chunk, number) for number in range(copies))
        elif rows:
            many = chunk.select(rows * copies)
            numbers = np.repeat(np.arange(copies), len(rows)).tolist()
            parts.append(replace(many, labels=tuple(map(copy_of, many.labels, numbers))))
    return tuple(parts)


def side_by_side(panels: Sequence[Panel]) -> Panel:
    """Returns one panel of the same series several times over, each time with its own samples."""
    if len(panels) == 1:
        return panels[0]
    return Panel(
        grid=panels[0].grid,
        labels=tuple(
            copy_of(one, number) for number, panel in enumerate(panels) for one in panel.labels
        ),
        values=np.concatenate([panel.values for panel in panels]),
    )


def _system_copy(chunk: ModelChunk, number: int) -> ModelChunk:
    return replace(
        deepcopy(chunk),
        labels=tuple(copy_of(one, number) for one in chunk.labels),
        systems=tuple(copy_of(one, number) for one in chunk.systems),
    )
