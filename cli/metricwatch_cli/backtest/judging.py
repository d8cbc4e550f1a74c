"""Alarms against labels, by event.

An event is a run of labelled rows, gaps of up to three rows joined; it is detected when an alarm
lies inside it. An episode is a run of alarms, gaps of up to ten rows joined; it is false when it
touches no event. One alarm never counts for more than the event it lies in: no point adjustment,
with which random scores look good (Kim et al., "Towards a Rigorous Evaluation of Time-Series
Anomaly Detection", AAAI 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from metricwatch.injection import Injected

Flags = NDArray[np.bool_]
Run = tuple[int, int]
"""First position and the one after the last."""
EPISODE_GAP = 10
EVENT_GAP = 3
WEEK = 604_800.0


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts that can be added up.

    Attributes:
        events: how many there were.
        delays: seconds from start to first alarm, of each event that was detected.
        episodes: how many there were.
        false_episodes: those that touch no event.
        weeks: how long was looked at.
    """

    events: int
    delays: tuple[float, ...]
    episodes: float
    false_episodes: float
    weeks: float

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally | None:
        """Returns the sum; None of nothing."""
        all_of = list(tallies)
        if not all_of:
            return None
        return cls(
            events=sum(one.events for one in all_of),
            delays=tuple(delay for one in all_of for delay in one.delays),
            episodes=sum(one.episodes for one in all_of),
            false_episodes=sum(one.false_episodes for one in all_of),
            weeks=sum(one.weeks for one in all_of),
        )

    @property
    def detected(self) -> int:
        """Events with an alarm inside."""
        return len(self.delays)

    @property
    def precision(self) -> float | None:
        """Share of the episodes that touch an event; None without any."""
        return 1.0 - self.false_episodes / self.episodes if self.episodes else None

    @property
    def recall(self) -> float | None:
        """Share of the events that were detected; None without any."""
        return self.detected / self.events if self.events else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; None without events, 0 where nothing was right."""
        if self.recall is None:
            return None
        both = (self.precision or 0.0) + self.recall
        return 2.0 * (self.precision or 0.0) * self.recall / both if both else 0.0

    @property
    def false_per_week(self) -> float | None:
        """False episodes a week, of one series."""
        return self.false_episodes / self.weeks if self.weeks else None

    @property
    def delay(self) -> float | None:
        """Median seconds from an event's start to its first alarm."""
        return median(self.delays) if self.delays else None


def find_runs(flags: Flags, *, gap: int) -> list[Run]:
    """Returns runs of true, those joined that are at most `gap` positions apart.

    >>> find_runs(np.array([1, 1, 0, 1, 0, 0, 1], bool), gap=1)
    [(0, 4), (6, 7)]
    """
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return []
    apart = starts[1:] - ends[:-1] > gap
    firsts = starts[np.concatenate([[True], apart])].tolist()
    lasts = ends[np.concatenate([apart, [True]])].tolist()
    return list(zip(firsts, lasts, strict=True))


def tally_rows(alarm: Flags, truth: Flags, times: NDArray[np.int64], *, interval: int) -> Tally:
    """Returns the counts of one series.

    Args:
        alarm: bool[N].
        truth: bool[N], labels.
        times: int64[N], unix seconds of the rows.
        interval: seconds between two samples.
    """
    events = find_runs(truth, gap=EVENT_GAP)
    episodes = find_runs(alarm, gap=EPISODE_GAP)
    return Tally(
        events=len(events),
        delays=_delays(alarm, events, times),
        episodes=len(episodes),
        false_episodes=_untouched(episodes, events),
        weeks=len(alarm) * interval / WEEK,
    )


def tally_injected(
    alarm: Flags,
    injected: Sequence[Injected],
    times: NDArray[np.int64],
    *,
    interval: int,
    known: Flags,
) -> dict[str, Tally]:
    """Returns the counts of one column by kind of anomaly.

    What follows an anomaly within the gap of an episode is its aftermath, such as the return from
    a shifted level, and no false alarm. No false alarm belongs to a kind, so all kinds share them
    by how many anomalies each has.

    Args:
        alarm: bool[T].
        injected: the anomalies of this column; others are passed over by the caller.
        times: int64[T], unix seconds.
        interval: seconds between two samples.
        known: bool[T], real incidents: alarms there are neither right nor wrong.
    """
    real = find_runs(known, gap=EVENT_GAP)
    put_in = [(one.start, one.end + EPISODE_GAP) for one in injected]
    episodes = [one for one in find_runs(alarm, gap=EPISODE_GAP) if _touches(one, put_in)]
    others = [one for one in find_runs(alarm, gap=EPISODE_GAP) if not _touches(one, put_in)]
    wrong = _untouched(others, real)
    weeks = len(alarm) * interval / WEEK
    tallies = {}
    for kind in sorted({one.kind for one in injected}):
        runs = [(one.start, one.end) for one in injected if one.kind == kind]
        reached = [(start, end + EPISODE_GAP) for start, end in runs]
        share = wrong * len(runs) / len(injected)
        right = sum(_touches(one, reached) for one in episodes)
        delays = _delays(alarm, runs, times)
        tallies[str(kind)] = Tally(len(runs), delays, right + share, share, weeks)
    return tallies


def _delays(alarm: Flags, events: Sequence[Run], times: NDArray[np.int64]) -> tuple[float, ...]:
    first = [(start, start + int(alarm[start:end].argmax())) for start, end in events]
    return tuple(
        float(times[at] - times[start])
        for (start, at), (_, end) in zip(first, events, strict=True)
        if at < end and alarm[at]
    )


def _touches(run: Run, others: Sequence[Run]) -> bool:
    return any(start < run[1] and run[0] < end for start, end in others)


def _untouched(episodes: Sequence[Run], events: Sequence[Run]) -> int:
    return sum(not _touches(one, events) for one in episodes)
