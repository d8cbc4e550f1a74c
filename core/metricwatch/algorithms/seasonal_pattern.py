"""What a series does by the clock and the calendar alone: profiles, trend, holidays and events.

Everything here is a function of time. A bank of S series asks for some ticks at once, and gets one
row for each: looking up phases costs the same for one tick as for many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.calendar_effects import Holidays, NamedEvent
from metricwatch.algorithms.profile import Profile
from metricwatch.algorithms.trend import Trend
from metricwatch.algorithms.wall_clock import DAY, Seconds, wall_seconds

WEEK = 7 * DAY


@dataclass(frozen=True, slots=True, eq=False)
class HolidayEffect:
    """What holidays do to S series.

    Attributes:
        holidays: when they are.
        rest: float32[S], how much of a rest day a holiday is, for what repeats weekly.
        nodes: float32[n, S], what is added to that.
    """

    holidays: Holidays
    rest: NDArray[np.float32]
    nodes: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class EventEffect:
    """What the events of one name do to S series: float32[n, S] of added `nodes`."""

    event: NamedEvent
    nodes: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """The parts that are added up, each of S series.

    Attributes:
        zone: whose wall clock holidays and events are in.
        profiles: by rising period, the calendar month last.
        trend: None for a level that only the carried state follows.
        holidays: None where no country was named.
        events: one for each name.
    """

    zone: str
    profiles: tuple[Profile, ...] = ()
    trend: Trend | None = None
    holidays: HolidayEffect | None = None
    events: tuple[EventEffect, ...] = ()

    def at(self, times: Seconds, series: int) -> FloatArray:
        """Returns the sum of all parts at `times` int64[T], float64[T, S]."""
        total = np.zeros((len(times), series))
        for profile in self.profiles:
            total += profile.at(times)
        if self.trend is not None:
            total += self.trend.at(times)
        wall = wall_seconds(times, self.zone)
        if self.holidays is not None:
            _, node = self.holidays.holidays.phase(wall)
            _add(total, self.holidays.nodes, node)
            total += self.holidays.rest * self.rest_difference(times)
        for effect in self.events:
            _, node = effect.event.phase(wall)
            _add(total, effect.nodes, node)
        return total

    def rest_difference(self, times: Seconds) -> FloatArray:
        """Returns what the weekly profile would add were each holiday a rest day.

        float64[T, S], or [T, 1] of zeros without holidays or without a weekly profile.
        """
        weekly = next((item for item in self.profiles if item.rhythm.period == WEEK), None)
        if self.holidays is None or weekly is None:
            return np.zeros((len(times), 1))
        wall = wall_seconds(times, self.zone)
        moved = self.holidays.holidays.as_rest_days(wall) - wall
        difference = np.zeros((len(times), weekly.nodes.shape[1]))
        on = np.flatnonzero(moved)
        if len(on):
            difference[on] = weekly.at(times[on] + moved[on]) - weekly.at(times[on])
        return difference

    def extraordinary(self, times: Seconds) -> NDArray[np.bool_]:
        """Returns when something rare is on, bool[T]: it says nothing about an ordinary level."""
        wall = wall_seconds(times, self.zone)
        on = np.zeros(len(times), dtype=np.bool_)
        if self.holidays is not None:
            on |= self.holidays.holidays.phase(wall)[1] >= 0
        for effect in self.events:
            if effect.event.rare:
                on |= effect.event.phase(wall)[1] >= 0
        return on


def _add(total: FloatArray, nodes: NDArray[np.float32], node: Seconds) -> None:
    """Adds float32[n, S] at `node` int64[T] to float64[T, S] in place, nothing where it is -1."""
    on = np.flatnonzero(node >= 0)
    if len(on):
        total[on] += nodes[node[on]]
