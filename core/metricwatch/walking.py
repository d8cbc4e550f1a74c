"""Walking forward through data with the code of the detector, span by span. No I/O.

What a detector would have said about the past: every sample is judged by what was learned before
it, anomalies open and close by the policy in force, and only what was no anomaly teaches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from metricwatch.anomalies import Change, Lifecycle, Policy, SpanVerdicts, advance_span
from metricwatch.scorer import Scorer
from metricwatch.series import Grid, Labels

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Where C columns of data are among the slots of a scorer.

    Attributes:
        slots: int[C], where the samples of each go in.
        scored: int[C], where its score comes out: that of its system if it belongs to one.
        count: slots in all.
    """

    slots: NDArray[np.intp]
    scored: NDArray[np.intp]
    count: int

    @classmethod
    def of(cls, scorer: Scorer, labels: Sequence[Labels]) -> Self:
        """Returns the columns of `labels`; unknown ones come after all that are known."""
        known = {one: slot for slot, one in enumerate(scorer.known)}
        position = dict(known)
        for one in labels:
            position.setdefault(one, len(position))
        system_of = scorer.system_of()
        scored = [known[system_of[one]] if one in system_of else position[one] for one in labels]
        slots = np.array([position[one] for one in labels], np.intp)
        return cls(slots, np.array(scored, np.intp), len(position))

    def placed(self, values: Floats) -> Floats:
        """Returns float64[slots, T] of float64[C, T]; what the data does not have is missing."""
        slots = np.full((self.count, values.shape[1]), np.nan)
        slots[self.slots] = values
        return slots


@dataclass(frozen=True, slots=True, eq=False)
class Stride:
    """What was said about B ticks, over all slots.

    Attributes:
        span: where in the grid.
        verdicts: of its ticks.
        alarm: bool[S, B], an anomaly was open then and this sample was part of it.
        changes: of anomalies, in the order of time.
    """

    span: slice
    verdicts: SpanVerdicts
    alarm: Flags
    changes: tuple[Change, ...]


def warm_up(scorer: Scorer, policy: Policy, grid: Grid, values: Floats) -> None:
    """Brings a scorer up to the end of a history: with as much of it as its banks ask for.

    Args:
        scorer: changed in place.
        policy: the settings in force.
        grid: of the history.
        values: float64[S, T] over all slots.
    """
    count = min(scorer.warmup, grid.count)
    first = grid.count - count
    scorer.warm(grid.part(first, count), values[:, first:], alert=policy.threshold)


def strides(
    scorer: Scorer, policy: Policy, lifecycle: Lifecycle, grid: Grid, values: Floats
) -> Iterator[Stride]:
    """Scores every tick of a grid and learns from it; yields what was said, span by span.

    Args:
        scorer: up to date with what came before; changed in place.
        policy: the settings in force.
        lifecycle: of its slots; changed in place.
        grid: T ticks.
        values: float64[S, T] over all slots.
    """
    for span, verdicts in scorer.judge_spans(policy, grid, values):
        within, changes = advance_span(policy, lifecycle, verdicts)
        scorer.learn_span(within)
        yield Stride(span, verdicts, within & (verdicts.score > 1.0), changes)
