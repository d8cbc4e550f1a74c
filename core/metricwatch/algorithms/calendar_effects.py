"""What is different while something is on: a public holiday, or an event that the user named.

An occasion is a pure function of the wall clock, so it needs no list of what is to come. Its
effect is the median over the times it was on, cut into nodes, and is shrunk by what ordinary times
of the same length do by chance (James & Stein 1961): one occurrence that stood out is believed,
one that did not is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.profile import block_means, moving_level
from metricwatch.algorithms.robust import median, typical_deviation
from metricwatch.algorithms.wall_clock import DAY, Seconds, days_and_months, month_bounds
from metricwatch.resources.seasonal import EventRepeat
from metricwatch.series import Grid

MOST_NODES = 24
_WEEKDAY_OF_1970 = 3
"""Days since 1970 plus this, modulo 7, are 0 on a Monday."""
_FIXED = {EventRepeat.DAILY: DAY, EventRepeat.WEEKLY: 7 * DAY}
_SHORTEST = {
    EventRepeat.DAILY: DAY,
    EventRepeat.WEEKLY: 7 * DAY,
    EventRepeat.MONTHLY: 28 * DAY,
    EventRepeat.YEARLY: 365 * DAY,
}
_ABSENT = -(2**62)
_LEVEL_SPANS = 3
_MOST_REST = 1.5


@dataclass(frozen=True, slots=True)
class Event:
    """Something at a known time, once or again and again, both before and after `start`.

    Attributes:
        name: events of one name have one effect.
        start: wall-clock seconds at which one occurrence begins.
        duration: seconds.
        repeat: after what it comes back; a month without that day has none.
    """

    name: str
    start: int
    duration: int
    repeat: EventRepeat

    @property
    def rare(self) -> bool:
        """Whether it is on for at most half of the time."""
        return 2 * self.duration <= _SHORTEST.get(self.repeat, 2 * self.duration)

    def elapsed(self, wall: Seconds) -> Seconds:
        """Returns for how long it has been on at each time, -1 where it is not, int64[T]."""
        if self.repeat is EventRepeat.NEVER:
            elapsed = wall - self.start
        elif self.repeat in _FIXED:
            elapsed = (wall - self.start) % _FIXED[self.repeat]
        else:
            elapsed = wall - self._latest_of_calendar(wall)
        return np.where((elapsed >= 0) & (elapsed < self.duration), elapsed, -1)

    def _latest_of_calendar(self, wall: Seconds) -> Seconds:
        """Returns when the latest occurrence of a monthly or yearly event began."""
        own_day, in_month, _, own_month = (
            int(part[0]) for part in days_and_months(np.array([self.start]))
        )
        *_, month = days_and_months(wall)
        every = 1 if self.repeat is EventRepeat.MONTHLY else 12
        turn = own_month + (month - own_month) // every * every
        latest = np.full(len(wall), _ABSENT)
        for candidate in (turn - every, turn):
            first, length = month_bounds(candidate)
            begins = (first + in_month) * DAY + self.start - own_day * DAY
            there = (in_month < length) & (begins <= wall)
            latest = np.where(there, begins, latest)
        return latest


class Occasion(Protocol):
    """Something that is on at times."""

    @property
    def nodes(self) -> int:
        """Into how many parts its effect is cut."""
        ...

    @property
    def longest(self) -> int:
        """Seconds that it lasts at most."""
        ...

    def phase(self, wall: Seconds) -> tuple[Seconds, Seconds]:
        """Returns which occurrence is on at each wall-clock time, and its node, -1 for none."""
        ...


@dataclass(frozen=True, slots=True)
class NamedEvent:
    """All events of one name.

    Attributes:
        name: their name.
        events: at least one.
        nodes: parts of their effect.
    """

    name: str
    events: tuple[Event, ...]
    nodes: int

    @property
    def longest(self) -> int:
        """Seconds of the longest of them."""
        return max(event.duration for event in self.events)

    @property
    def rare(self) -> bool:
        """Whether each is on for at most half of the time."""
        return all(event.rare for event in self.events)

    def phase(self, wall: Seconds) -> tuple[Seconds, Seconds]:
        """Returns the start of the occurrence and the node, both int64[T], node -1 for none."""
        begun, node = np.zeros_like(wall), np.full_like(wall, -1)
        for event in self.events:
            elapsed = event.elapsed(wall)
            on = elapsed >= 0
            begun = np.where(on, wall - elapsed, begun)
            node = np.where(on, elapsed * self.nodes // event.duration, node)
        return begun, node


@dataclass(frozen=True, slots=True)
class Holidays:
    """Public holidays of one country.

    Attributes:
        days: days since 1970, rising.
        rest_day: 0 for Monday to 6 for Sunday: the day of the week that a holiday is taken for.
        nodes: parts of a day.
    """

    days: tuple[int, ...]
    rest_day: int
    nodes: int

    @property
    def longest(self) -> int:
        """A day."""
        return DAY

    def phase(self, wall: Seconds) -> tuple[Seconds, Seconds]:
        """Returns the day and the node in it, both int64[T], node -1 on no holiday."""
        day, second = np.divmod(wall, DAY)
        on = np.isin(day, np.array(self.days, dtype=np.int64))
        return day, np.where(on, second * self.nodes // DAY, -1)

    def as_rest_days(self, wall: Seconds) -> Seconds:
        """Returns the wall-clock times with every holiday moved to the rest day of its week."""
        day, node = self.phase(wall)
        weekday = (day + _WEEKDAY_OF_1970) % 7
        return np.where(node >= 0, wall + (self.rest_day - weekday) * DAY, wall)


def nodes_for(duration: int, step: int) -> int:
    """Returns into how many parts an effect of so many seconds is cut at this step."""
    return max(1, min(MOST_NODES, duration // step))


def without_level(
    values: FloatArray, grid: Grid, on: NDArray[np.bool_], *, longest: int
) -> FloatArray:
    """Returns what is left of the values without the level of the ordinary times around them.

    Args:
        values: float64[S, T], NaN where there is no sample.
        grid: T ticks.
        on: bool[T], when an occasion is on.
        longest: seconds that one lasts at most.
    """
    ordinary = np.where(on, np.nan, values)
    return values - moving_level(ordinary, grid, span=_LEVEL_SPANS * max(longest, DAY))


def learn_effect(left: FloatArray, occasion: Occasion, wall: Seconds, step: int) -> FloatArray:
    """Returns what an occasion adds at each of its nodes, float64[S, nodes].

    Args:
        left: float64[S, T] without level, profiles and trend, NaN where there is no sample.
        occasion: what is on at times.
        wall: int64[T], wall-clock seconds of the ticks.
        step: seconds between ticks.
    """
    turn, node = occasion.phase(wall)
    on = node >= 0
    effect = np.zeros((len(left), occasion.nodes))
    if not on.any():
        return effect
    starts = np.unique(turn[on])
    where = np.searchsorted(starts, turn[on]) * occasion.nodes + node[on]
    order = np.argsort(where, kind="stable")
    present, means = block_means(left[:, on][:, order], where[order])
    flat = np.full((len(left), len(starts) * occasion.nodes), np.nan)
    flat[:, present] = means
    folds = flat.reshape(len(left), len(starts), -1).transpose(0, 2, 1)
    centre = median(folds)
    count = np.count_nonzero(~np.isnan(folds), axis=2)
    scatter = typical_deviation((folds - centre[..., None]).reshape(len(left), -1))
    chance = np.maximum(_by_chance(left, on, occasion, step), scatter)[:, None]
    known = count > 0
    nodes = np.maximum(known.sum(axis=1), 1)[:, None]
    square = np.where(known, centre**2, 0.0).sum(axis=1)[:, None] / nodes
    noise = np.where(known, chance**2 / np.maximum(count, 1), 0.0).sum(axis=1)[:, None] / nodes
    share = np.maximum(square - noise, 0.0) / np.maximum(square, 1e-300)
    return np.asarray(np.nan_to_num(centre) * share)


def learn_rest(
    left: FloatArray, difference: FloatArray, holidays: Holidays, wall: Seconds
) -> FloatArray:
    """Returns how much of a rest day a holiday is, float64[S] from 0 to 1.5.

    One holiday exactly like a rest day is taken for granted; each one seen counts as much.

    Args:
        left: float64[S, T] without level, profiles and trend.
        difference: float64[S, T], what the weekly profile would add were every holiday a rest day.
        holidays: when they are.
        wall: int64[T], wall-clock seconds of the ticks.
    """
    day, node = holidays.phase(wall)
    weight, seen = np.ones(len(left)), np.ones(len(left))
    for holiday in np.unique(day[node >= 0]):
        part = difference[:, day == holiday]
        found = left[:, day == holiday]
        known = ~np.isnan(found)
        energy = np.where(known, part**2, 0.0).sum(axis=1)
        shared = np.where(known, part * np.nan_to_num(found), 0.0).sum(axis=1)
        counts = energy > 0
        one = np.clip(shared / np.where(counts, energy, 1.0), 0.0, _MOST_REST)
        weight += np.where(counts, one, 0.0)
        seen += counts
    return np.asarray(weight / seen)


def _by_chance(
    left: FloatArray, on: NDArray[np.bool_], occasion: Occasion, step: int
) -> FloatArray:
    """Returns how far ordinary means over the length of a node are out, float64[S]."""
    length = max(1, occasion.longest // occasion.nodes // step)
    ordinary = left[:, ~on]
    if not ordinary.shape[1]:
        return np.zeros(len(left))
    _, means = block_means(ordinary, np.arange(ordinary.shape[1], dtype=np.int64) // length)
    return typical_deviation(means)
