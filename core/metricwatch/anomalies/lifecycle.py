"""From verdicts to anomalies: one per series at a time, opened, updated, closed.

State is arrays over S series, so a tick of ten thousand quiet series makes no Python object at
all; only series whose anomaly changes get one. `advance` is deterministic and looks at one series
at a time: replicas, shards and replays agree, and an anomaly's key is its series and its start.

Rules, in ticks of the watch's interval (a missing sample is a tick that is not anomalous):

- A **run** holds while `anomalous` of the last `of` ticks were anomalous. It starts at the
  earliest of them, and opens an anomaly once it has lasted `min_duration`.
- An open anomaly **closes** as resolved after `cooldown` in which every sample scored below
  `policy.CALM`; its end is the first of them.
- When data stops it closes as **expired**, or, when missing data is an anomaly itself, opens or
  stays.
- In maintenance nothing opens and nothing adds to an open anomaly; it may still end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from metricwatch.anomalies.anomaly import Action, Anomaly, Change, Kind, State
from metricwatch.anomalies.components import Component
from metricwatch.anomalies.policy import CALM, GONE_FOR_GOOD, Policy
from metricwatch.anomalies.verdicts import Verdicts

ABOVE, BELOW, MISSING = 1, -1, 2
_DIRECTIONS = {ABOVE: "above", BELOW: "below", MISSING: "missing"}
_CODES = {name: code for code, name in _DIRECTIONS.items()}


def _times() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


def _flags() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


def _numbers() -> NDArray[np.float64]:
    return np.zeros(0, np.float64)


@dataclass(slots=True)
class Lifecycle:
    """What is remembered of S series between two ticks. A time of 0 means never.

    `window[s]` holds which of the latest `of` ticks were anomalous, the newest last, and
    `components` the channels to blame at the peak, of the series that are systems.
    """

    time: int = 0
    window: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 1), np.bool_))
    open: NDArray[np.bool_] = field(default_factory=_flags)
    collective: NDArray[np.bool_] = field(default_factory=_flags)
    direction: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    samples: NDArray[np.int64] = field(default_factory=_times)
    run_start: NDArray[np.int64] = field(default_factory=_times)
    last_seen: NDArray[np.int64] = field(default_factory=_times)
    last_anomalous: NDArray[np.int64] = field(default_factory=_times)
    calm_since: NDArray[np.int64] = field(default_factory=_times)
    peak_at: NDArray[np.int64] = field(default_factory=_times)
    peak_score: NDArray[np.float64] = field(default_factory=_numbers)
    peak_rarity: NDArray[np.float64] = field(default_factory=_numbers)
    peak_value: NDArray[np.float64] = field(default_factory=_numbers)
    peak_expected: NDArray[np.float64] = field(default_factory=_numbers)
    peak_lower: NDArray[np.float64] = field(default_factory=_numbers)
    peak_upper: NDArray[np.float64] = field(default_factory=_numbers)
    peak_typical: NDArray[np.float64] = field(default_factory=_numbers)
    components: dict[int, tuple[Component, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, series: int) -> Lifecycle:
        """A fresh one for so many series."""
        fresh = cls()
        fresh.grow(series)
        return fresh

    @property
    def series(self) -> int:
        """How many series."""
        return len(self.open)

    def grow(self, series: int) -> None:
        """Add series at the end until there are so many."""
        more = series - self.series
        if more > 0:
            for name in _COLUMNS:
                column = getattr(self, name)
                nothing = np.zeros((more, *column.shape[1:]), column.dtype)
                setattr(self, name, np.concatenate([column, nothing]))

    def take(self, index: NDArray[np.intp]) -> Lifecycle:
        """A copy that holds the series of `index`, in that order."""
        components = {
            position: self.components[series]
            for position, series in enumerate(index.tolist())
            if series in self.components
        }
        columns = {name: getattr(self, name)[index] for name in _COLUMNS}
        return Lifecycle(self.time, **columns, components=components)

    def copy(self) -> Lifecycle:
        """An independent copy."""
        columns = {name: getattr(self, name).copy() for name in _COLUMNS}
        return Lifecycle(self.time, **columns, components=dict(self.components))

    def adopt(self, anomalies: Mapping[int, Anomaly]) -> None:
        """Continue exactly these open anomalies (by series index), whoever opened them.

        What this lifecycle thought was open and is not among them starts from nothing, so that it
        can not open a second time with the same start.
        """
        disowned = self.open.copy()
        disowned[list(anomalies)] = False
        self.open[disowned] = False
        self.window[disowned] = False
        self.run_start[disowned] = 0
        for series, anomaly in anomalies.items():
            if self.calm_since[series] <= anomaly.last_anomalous_at:
                self.calm_since[series] = 0
            self.open[series] = True
            self.collective[series] = anomaly.kind is Kind.COLLECTIVE
            self.direction[series] = _CODES[anomaly.direction]
            self.samples[series] = anomaly.samples
            self.run_start[series] = anomaly.started_at
            self.last_anomalous[series] = anomaly.last_anomalous_at
            self.last_seen[series] = max(self.last_seen[series], anomaly.last_anomalous_at)
            self.peak_at[series] = anomaly.peak_at
            self.components.pop(series, None)
            if anomaly.components:
                self.components[series] = anomaly.components
            for name in PEAK:
                getattr(self, name)[series] = getattr(anomaly, name)

    def anomaly(
        self, series: int, policy: Policy, *, state: State, ended_at: int | None
    ) -> Anomaly:
        """The anomaly of one series as it stands."""
        return Anomaly(
            started_at=int(self.run_start[series]),
            last_anomalous_at=int(self.last_anomalous[series]),
            peak_at=int(self.peak_at[series]),
            ended_at=ended_at,
            state=state,
            kind=Kind.COLLECTIVE if self.collective[series] else Kind.POINT,
            severity=policy.severity_of(float(self.peak_score[series])),
            direction=_DIRECTIONS[int(self.direction[series])],
            samples=int(self.samples[series]),
            components=self.components.get(series, ()),
            **{name: float(getattr(self, name)[series]) for name in PEAK},
        )


_COLUMNS = tuple(
    entry.name for entry in fields(Lifecycle) if entry.name not in ("time", "components")
)
PEAK = tuple(name for name in _COLUMNS if name.startswith("peak_") and name != "peak_at")
"""What is told of the worst sample of an anomaly: each of verdicts has it without the `peak_`."""


def advance(
    policy: Policy, lifecycle: Lifecycle, verdicts: Verdicts, *, late: bool = False
) -> tuple[Change, ...]:
    """Takes one tick into account and says what it changed, in the order of the series.

    Args:
        policy: The settings in force at this tick.
        lifecycle: Changed in place; it grows when the verdicts hold more series.
        verdicts: A tick later than the last one.
        late: Passed on to the changes.

    Raises:
        ValueError: The tick is not later than the last one: it would count twice.
    """
    if verdicts.time <= lifecycle.time:
        raise ValueError(f"tick {verdicts.time} was already counted (up to {lifecycle.time})")
    lifecycle.grow(verdicts.series)
    verdicts = verdicts.padded(lifecycle.series)
    time, life = verdicts.time, lifecycle
    quiet = policy.in_maintenance(time)
    seen = ~np.isnan(verdicts.value)
    life.last_seen[seen] = time
    anomalous = np.zeros(life.series, np.bool_) if quiet else verdicts.score > 1.0
    _shift(life, policy, anomalous, time)
    _count(life, verdicts, anomalous)
    opened = _open(life, policy, verdicts, anomalous)
    stale = ~seen & (life.last_seen > 0) & (time - life.last_seen > policy.stale_after)
    if policy.missing_is_anomaly:
        missing = stale & (not quiet)
        opened |= _open_missing(life, policy, verdicts, missing)
        anomalous |= missing
        stale &= time - life.last_seen > GONE_FOR_GOOD
    life.collective |= life.open & (
        life.last_anomalous - life.run_start >= policy.collective_after
    )
    calm = _calm(life, policy, verdicts)
    changes = _changes(life, policy, time, opened, anomalous, calm, stale, late)
    _end(life, calm | stale)
    # A series that is gone is not missing again and again; its return starts afresh.
    life.last_seen[stale] = 0
    life.time = time
    return changes


def _shift(life: Lifecycle, policy: Policy, anomalous: NDArray[np.bool_], time: int) -> None:
    """Moves the window of the last `of` ticks on, over a gap as well."""
    ticks = max((time - life.time) // policy.interval, 1)
    window = np.zeros((life.series, policy.of), np.bool_)
    kept = min(life.window.shape[1], policy.of - ticks)
    if kept > 0:
        end = policy.of - ticks
        window[:, end - kept : end] = life.window[:, -kept:]
    window[:, -1] = anomalous
    life.window = window


def _count(life: Lifecycle, verdicts: Verdicts, anomalous: NDArray[np.bool_]) -> None:
    """Adds anomalous samples to their run or anomaly, and forgets runs that came to nothing."""
    over = ~life.open & ~life.window.any(axis=1)
    life.run_start[over] = 0
    life.samples[over] = 0
    life.peak_score[over] = 0.0
    life.samples += anomalous
    life.last_anomalous[anomalous] = verdicts.time
    higher = anomalous & ~(verdicts.score <= life.peak_score)
    if higher.any():
        _set_peak(life, verdicts, higher)


def _set_peak(life: Lifecycle, verdicts: Verdicts, where: NDArray[np.bool_]) -> None:
    life.peak_at[where] = verdicts.time
    for name in PEAK:
        getattr(life, name)[where] = getattr(verdicts, name.removeprefix("peak_"))[where]
    _set_components(life, verdicts, where)
    above = verdicts.value[where] > verdicts.expected[where]
    by_value = np.where(above, ABOVE, BELOW)
    side = verdicts.side[where]
    life.direction[where] = np.where(side == 0, by_value, side)


def _set_components(life: Lifecycle, verdicts: Verdicts, where: NDArray[np.bool_]) -> None:
    if verdicts.blame is None and not life.components:
        return
    for series in np.flatnonzero(where).tolist():
        ranked = () if verdicts.blame is None else verdicts.blame.ranked(series)
        if ranked:
            life.components[series] = ranked
        else:
            life.components.pop(series, None)


def _open(
    life: Lifecycle, policy: Policy, verdicts: Verdicts, may: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Opens what has held long enough; returns which."""
    count = life.window.sum(axis=1)
    holds = count >= policy.anomalous
    life.run_start[~holds & ~life.open] = 0
    begins = holds & ~life.open & (life.run_start == 0)
    ticks_back = policy.of - 1 - life.window[begins].argmax(axis=1)
    life.run_start[begins] = verdicts.time - ticks_back * policy.interval
    # Anomalous samples that never made a run may have left a peak or a count from before this one.
    life.samples[begins] = count[begins]
    _set_peak(life, verdicts, begins & (life.peak_at < life.run_start))
    lasted = verdicts.time - life.run_start >= policy.min_duration
    opened: NDArray[np.bool_] = may & holds & ~life.open & lasted
    life.open |= opened
    life.collective[opened] = verdicts.long[opened]
    return opened


def _open_missing(
    life: Lifecycle, policy: Policy, verdicts: Verdicts, may: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Opens anomalies of series without data, from when it stopped, and keeps others open."""
    opened = may & ~life.open
    life.open |= opened
    life.calm_since[opened] = 0
    life.collective[opened] = False
    life.samples[opened] = 0
    life.run_start[opened] = life.last_seen[opened] + policy.interval
    life.peak_at[opened] = verdicts.time
    for name in PEAK:
        getattr(life, name)[opened] = getattr(verdicts, name.removeprefix("peak_"))[opened]
    for series in np.flatnonzero(opened).tolist():
        life.components.pop(series, None)
    life.peak_score[opened] = 1.0
    life.direction[opened] = MISSING
    life.last_anomalous[may & life.open] = verdicts.time
    return opened


def _calm(life: Lifecycle, policy: Policy, verdicts: Verdicts) -> NDArray[np.bool_]:
    """Notes since when series are calm; returns which open anomalies that ends."""
    # Where samples are not judged, such as those of a channel, only missing ones are an anomaly.
    back = ~np.isnan(verdicts.value) & np.isnan(verdicts.score) & (life.direction == MISSING)
    calm = (verdicts.score < CALM) | back
    life.calm_since[verdicts.score >= CALM] = 0
    life.calm_since[calm & (life.calm_since == 0)] = verdicts.time
    ended: NDArray[np.bool_] = (
        life.open & calm & (verdicts.time - life.calm_since >= policy.cooldown)
    )
    return ended


def _changes(
    life: Lifecycle,
    policy: Policy,
    time: int,
    opened: NDArray[np.bool_],
    anomalous: NDArray[np.bool_],
    calm: NDArray[np.bool_],
    stale: NDArray[np.bool_],
    late: bool,
) -> tuple[Change, ...]:
    changes = []
    for index in np.flatnonzero(life.open & (anomalous | opened | calm | stale)):
        series = int(index)
        action, state, ended_at = Action.UPDATED, State.OPEN, None
        if calm[series]:
            action, state, ended_at = Action.CLOSED, State.RESOLVED, int(life.calm_since[series])
        elif stale[series]:
            action, state = Action.CLOSED, State.EXPIRED
            ended_at = max(int(life.last_seen[series]), int(life.last_anomalous[series]))
        elif opened[series]:
            action = Action.OPENED
        anomaly = life.anomaly(series, policy, state=state, ended_at=ended_at)
        changes.append(Change(action, series, time, anomaly, late))
    return tuple(changes)


def _end(life: Lifecycle, ended: NDArray[np.bool_]) -> None:
    life.open[ended] = False
    life.window[ended] = False
    life.run_start[ended] = 0
    life.peak_score[ended] = 0.0
    life.samples[ended] = 0
