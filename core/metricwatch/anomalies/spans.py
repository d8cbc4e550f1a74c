"""Many ticks through the lifecycle at once: what as many calls of `advance` give, at less cost.

`advance` looks at all series for each tick. Nearly always nothing happens to nearly all of them,
so here a span is cut the other way: series to which nothing can happen in it are brought up to
date together, and each of the few others goes through its ticks alone, in numbers instead of
arrays. `advance` is what counts: a property test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from metricwatch.anomalies.anomaly import Action, Change, State
from metricwatch.anomalies.lifecycle import ABOVE, BELOW, MISSING, PEAK, Lifecycle
from metricwatch.anomalies.policy import CALM, GONE_FOR_GOOD, Policy
from metricwatch.anomalies.verdicts import SpanVerdicts

Flags = NDArray[np.bool_]
Times = NDArray[np.int64]


def advance_span(
    policy: Policy, lifecycle: Lifecycle, verdicts: SpanVerdicts
) -> tuple[Flags, tuple[Change, ...]]:
    """Takes a span of ticks into account.

    Args:
        policy: The settings in force.
        lifecycle: Changed in place; it grows when the verdicts hold more series.
        verdicts: Of ticks later than the last one.

    Returns:
        bool[S, B], which series had an open anomaly after each tick, and what changed, in the
        order of the ticks and of the series in each. An update is left out when a later change
        within the span says more of the same anomaly.

    Raises:
        ValueError: A tick is not later than the one before: it would count twice.
    """
    _check_order(lifecycle, verdicts.times)
    lifecycle.grow(verdicts.series)
    span = _Span.of(policy, lifecycle, verdicts.padded(lifecycle.series))
    eventful = span.eventful(lifecycle)
    rows = np.flatnonzero(eventful).tolist()
    tracks = [_Track.of(lifecycle, series) for series in rows]
    _pass_quietly(lifecycle, span, ~eventful)
    within = np.zeros(span.anomalous.shape, np.bool_)
    changes: list[Change] = []
    for series, track in zip(rows, tracks, strict=True):
        within[series] = track.through(span, lifecycle, changes)
        track.put(lifecycle)
    lifecycle.time = int(verdicts.times[-1])
    changes.sort(key=lambda change: (change.time, change.series))
    return within, tuple(changes)


def _check_order(lifecycle: Lifecycle, times: Times) -> None:
    before = lifecycle.time
    for time in times.tolist():
        if time <= before:
            raise ValueError(f"tick {time} was already counted (up to {before})")
        before = time


@dataclass(frozen=True, slots=True, eq=False)
class _Span:
    """A span of ticks, and what can be said of it without what went before.

    Attributes:
        policy: In force.
        said: Of all series.
        times: Of its ticks.
        quiet: Whether each tick is in maintenance.
        steps: Ticks since the one before, of each; no more than a window is long.
        seen: bool[S, B], there was a sample.
        anomalous: bool[S, B].
    """

    policy: Policy
    said: SpanVerdicts
    times: list[int]
    quiet: list[bool]
    steps: list[int]
    seen: Flags
    anomalous: Flags

    @classmethod
    def of(cls, policy: Policy, life: Lifecycle, said: SpanVerdicts) -> Self:
        """The span that follows what the lifecycle has seen."""
        quiet = policy.maintained(said.times)
        apart = np.diff(said.times, prepend=life.time) // policy.interval
        return cls(
            policy=policy,
            said=said,
            times=said.times.tolist(),
            quiet=quiet.tolist(),
            steps=np.clip(apart, 1, policy.of).tolist(),
            seen=~np.isnan(said.value),
            anomalous=(said.score > 1.0) & ~quiet,
        )

    def eventful(self, life: Lifecycle) -> Flags:
        """bool[S]: series to which more can happen than that a tick passes."""
        going_on = life.open | life.window.any(axis=1)
        return going_on | self.anomalous.any(axis=1) | self._stops(life)

    def _stops(self, life: Lifecycle) -> Flags:
        """bool[S]: series whose data has stopped at some tick of the span."""
        stops = np.zeros(life.series, np.bool_)
        rows = np.flatnonzero(~self.seen.all(axis=1))
        if len(rows):
            seen, times = self.seen[rows], self.said.times
            last = np.maximum.accumulate(np.where(seen, times, 0), axis=1)
            last = np.maximum(last, life.last_seen[rows, None])
            stale = ~seen & (last > 0) & (times - last > self.policy.stale_after)
            stops[rows] = stale.any(axis=1)
        return stops


def _pass_quietly(life: Lifecycle, span: _Span, quiet: Flags) -> None:
    """Brings series up to date that neither have an anomaly nor an anomalous sample."""
    if life.window.shape[1] != span.policy.of:
        life.window = np.zeros((life.series, span.policy.of), np.bool_)
    life.run_start[quiet] = 0
    life.samples[quiet] = 0
    life.peak_score[quiet] = 0.0
    times, score = span.said.times, span.said.score
    seen = quiet & span.seen.any(axis=1)
    life.last_seen[seen] = times[_last(span.seen[seen])]
    unjudged = span.seen & np.isnan(score) & (life.direction == MISSING)[:, None]
    calm = (score < CALM) | unjudged
    hot = score >= CALM
    heated = hot.any(axis=1)
    life.calm_since[quiet & heated] = 0
    calm[heated] &= np.arange(len(times)) > _last(hot[heated])[:, None]
    begins = quiet & (life.calm_since == 0) & calm.any(axis=1)
    life.calm_since[begins] = times[calm[begins].argmax(axis=1)]


def _last(flags: Flags) -> NDArray[np.intp]:
    """The last position of each row bool[N, B] that is true; each has one."""
    return np.asarray(flags.shape[1] - 1 - flags[:, ::-1].argmax(axis=1))


@dataclass(slots=True)
class _Track:
    """What a lifecycle remembers of one series, as numbers; `window` in bits, the newest last."""

    series: int
    window: int
    open: bool
    collective: bool
    direction: int
    samples: int
    run_start: int
    last_seen: int
    last_anomalous: int
    calm_since: int
    peak_at: int
    peak_score: float

    @classmethod
    def of(cls, life: Lifecycle, series: int) -> Self:
        """What is remembered of a series."""
        window = 0
        for flag in life.window[series].tolist():
            window = window << 1 | flag
        columns = {name: getattr(life, name)[series].item() for name in _NUMBERS}
        return cls(series=series, window=window, **columns)

    def put(self, life: Lifecycle) -> None:
        """Writes it back."""
        width = life.window.shape[1]
        life.window[self.series] = [self.window >> bit & 1 for bit in reversed(range(width))]
        for name in _NUMBERS:
            getattr(life, name)[self.series] = getattr(self, name)

    def through(self, span: _Span, life: Lifecycle, changes: list[Change]) -> list[bool]:
        """Goes through all ticks of a span; returns after which of them an anomaly was open."""
        score, seen = span.said.score[self.series].tolist(), span.seen[self.series].tolist()
        anomalous = span.anomalous[self.series].tolist()
        within, updated = [], 0
        for tick, time in enumerate(span.times):
            if seen[tick]:
                self.last_seen = time
            self._count(span, life, tick, anomalous=anomalous[tick])
            opened = self._open(span, life, tick, anomalous=anomalous[tick])
            missing, stale = self._stopped(span, time, seen=seen[tick], quiet=span.quiet[tick])
            if missing and not self.open:
                self._open_missing(span, life, tick)
                opened = True
            if missing:
                self.last_anomalous = time
            if self.last_anomalous - self.run_start >= span.policy.collective_after:
                self.collective |= self.open
            calm = self._calm(span.policy, time, score[tick], seen=seen[tick])
            if self.open and (opened or calm or stale):
                self.put(life)
                changes.append(self._change(span.policy, life, time, opened, calm, stale))
                updated = 0
            elif self.open and (anomalous[tick] or missing):
                updated = time
            if calm or stale:
                self._end()
            if stale:
                self.last_seen = 0
            within.append(self.open)
        if updated:
            # An anomaly stands as it did at its last anomalous tick.
            self.put(life)
            changes.append(self._change(span.policy, life, updated, False, False, False))
        return within

    def _count(self, span: _Span, life: Lifecycle, tick: int, *, anomalous: bool) -> None:
        of = span.policy.of
        self.window = (self.window << span.steps[tick] | anomalous) & ((1 << of) - 1)
        if not self.open and not self.window:
            self.run_start, self.samples, self.peak_score = 0, 0, 0.0
        if anomalous:
            self.samples += 1
            self.last_anomalous = span.times[tick]
            if not span.said.score[self.series, tick] <= self.peak_score:
                self._set_peak(span, life, tick)

    def _set_peak(self, span: _Span, life: Lifecycle, tick: int) -> None:
        said, series = span.said, self.series
        self._note_peak(span, life, tick)
        side = int(said.side[series, tick])
        above = said.value[series, tick] > said.expected[series, tick]
        self.direction = side or (ABOVE if above else BELOW)
        blame = said.blame_at(tick)
        ranked = () if blame is None else blame.ranked(series)
        if ranked:
            life.components[series] = ranked
        else:
            life.components.pop(series, None)

    def _note_peak(self, span: _Span, life: Lifecycle, tick: int) -> None:
        self.peak_at = span.times[tick]
        self.peak_score = span.said.score[self.series, tick].item()
        for name in _OF_PEAK:
            kept = getattr(span.said, name.removeprefix("peak_"))[self.series, tick]
            getattr(life, name)[self.series] = kept

    def _open(self, span: _Span, life: Lifecycle, tick: int, *, anomalous: bool) -> bool:
        """Opens what has held long enough; returns whether it did."""
        if self.open:
            return False
        policy, time = span.policy, span.times[tick]
        if self.window.bit_count() < policy.anomalous:
            self.run_start = 0
            return False
        if self.run_start == 0:
            self.run_start = time - (self.window.bit_length() - 1) * policy.interval
            self.samples = self.window.bit_count()
            if self.peak_at < self.run_start:
                self._set_peak(span, life, tick)
        if not anomalous or time - self.run_start < policy.min_duration:
            return False
        self.open, self.collective = True, bool(span.said.long[self.series, tick])
        return True

    def _stopped(self, span: _Span, time: int, *, seen: bool, quiet: bool) -> tuple[bool, bool]:
        """Whether missing data is an anomaly now, and whether there is nothing to wait for."""
        away = time - self.last_seen
        stale = not seen and self.last_seen > 0 and away > span.policy.stale_after
        if not span.policy.missing_is_anomaly:
            return False, stale
        return stale and not quiet, stale and away > GONE_FOR_GOOD

    def _open_missing(self, span: _Span, life: Lifecycle, tick: int) -> None:
        """Opens an anomaly of a series without data, from when it stopped."""
        self.open, self.collective = True, False
        self.calm_since, self.samples = 0, 0
        self.run_start = self.last_seen + span.policy.interval
        self._note_peak(span, life, tick)
        life.components.pop(self.series, None)
        self.peak_score = 1.0
        self.direction = MISSING

    def _calm(self, policy: Policy, time: int, score: float, *, seen: bool) -> bool:
        """Notes since when the series is calm; returns whether that ends its anomaly."""
        if score >= CALM:
            self.calm_since = 0
        back = seen and score != score and self.direction == MISSING
        if not (score < CALM or back):
            return False
        self.calm_since = self.calm_since or time
        return self.open and time - self.calm_since >= policy.cooldown

    def _change(
        self, policy: Policy, life: Lifecycle, time: int, opened: bool, calm: bool, stale: bool
    ) -> Change:
        action, state, ended_at = Action.UPDATED, State.OPEN, None
        if calm:
            action, state, ended_at = Action.CLOSED, State.RESOLVED, self.calm_since
        elif stale:
            action, state = Action.CLOSED, State.EXPIRED
            ended_at = max(self.last_seen, self.last_anomalous)
        elif opened:
            action = Action.OPENED
        anomaly = life.anomaly(self.series, policy, state=state, ended_at=ended_at)
        return Change(action, self.series, time, anomaly, late=False)

    def _end(self) -> None:
        self.open, self.window = False, 0
        self.run_start, self.samples, self.peak_score = 0, 0, 0.0


_NUMBERS = tuple(name for name in _Track.__slots__ if name not in ("series", "window"))
_OF_PEAK = tuple(name for name in PEAK if name not in _NUMBERS)
"""What is only kept to be told: it stays in the lifecycle."""
