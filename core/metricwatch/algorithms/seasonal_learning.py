"""From history to everything that a seasonal bank knows, many series at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.calendar_effects import (
    Event,
    Holidays,
    NamedEvent,
    learn_effect,
    learn_rest,
    nodes_for,
    without_level,
)
from metricwatch.algorithms.phase_spread import learn_phase_spread
from metricwatch.algorithms.profile import Profile, learn_profile
from metricwatch.algorithms.public_holidays import public_holidays
from metricwatch.algorithms.robust import median, value_step
from metricwatch.algorithms.seasonal_level import DayLevel, blocks_of_day, follow
from metricwatch.algorithms.seasonal_pattern import EventEffect, HolidayEffect, Pattern
from metricwatch.algorithms.trend import learn_trend
from metricwatch.algorithms.wall_clock import DAY, MONTH_NODES, Rhythm, Seconds, wall_seconds
from metricwatch.resources.seasonal import SeasonalParameters, SeasonalTrend
from metricwatch.series import Grid

_PERIODS_COVERED = 1.5
_MONTHS_COVERED = 2.5
_SHORTEST_PERIOD_NODES = 288
_LONGER_PERIOD_NODES = 168
_SAMPLES_OF_STEPS = 1000
"""So many samples show in which steps a series moves."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be learned, the same for all series.

    Attributes:
        zone: whose wall clock counts.
        rhythms: with the most nodes of each, by rising period.
        trend: how the level may move.
        holidays: None where no country is named.
        events: one for each name.
    """

    zone: str
    rhythms: tuple[tuple[Rhythm, int], ...]
    trend: SeasonalTrend
    holidays: Holidays | None
    events: tuple[NamedEvent, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """What a bank of S series is made of.

    Attributes:
        centre: float64[S], taken out before anything is kept in float32.
        level: float64[S], relative to centre and pattern, at the end of the history.
        spread: float64[S], of an ordinary residual, above 0.
        pattern: what the clock and the calendar say.
        ratio: of the spread at each hour of the day to the overall one.
    """

    centre: FloatArray
    level: FloatArray
    spread: FloatArray
    pattern: Pattern
    ratio: Profile


def plan_for(parameters: SeasonalParameters, grid: Grid) -> Plan:
    """Returns what a history of this length can teach.

    Raises:
        UnknownCountryError: no public holidays are known for the country.
        ModuleNotFoundError: a country is named where the package holidays is not installed.
    """
    zone = parameters.time_zone
    covered = grid.count * grid.step
    wanted = {round(period.seconds) for period in parameters.periods}
    periods = sorted(
        period for period in wanted if 2 * grid.step <= period <= covered / _PERIODS_COVERED
    )
    rhythms = [
        (Rhythm(period, zone), _LONGER_PERIOD_NODES if index else _SHORTEST_PERIOD_NODES)
        for index, period in enumerate(periods)
    ]
    if parameters.monthly and covered >= _MONTHS_COVERED * MONTH_NODES * DAY:
        rhythms.append((Rhythm(None, zone), MONTH_NODES))
    return Plan(
        zone=zone,
        rhythms=tuple(rhythms),
        trend=parameters.trend,
        holidays=public_holidays(parameters.country, grid) if parameters.country else None,
        events=_named_events(parameters, grid.step),
    )


def _named_events(parameters: SeasonalParameters, step: int) -> tuple[NamedEvent, ...]:
    by_name: dict[str, list[Event]] = {}
    for entry in parameters.events:
        start = np.array([round(entry.start.timestamp())], dtype=np.int64)
        event = Event(
            name=entry.name,
            start=int(wall_seconds(start, parameters.time_zone)[0]),
            duration=round(entry.duration.seconds),
            repeat=entry.repeat,
        )
        by_name.setdefault(entry.name, []).append(event)
    return tuple(
        NamedEvent(name, tuple(events), nodes_for(max(e.duration for e in events), step))
        for name, events in sorted(by_name.items())
    )


def learn(values: FloatArray, grid: Grid, plan: Plan) -> Knowledge:
    """Returns what the history teaches.

    Args:
        values: float64[S, T], NaN where there is no sample.
        grid: T ticks.
        plan: what is to be learned.
    """
    times = grid.timestamps()
    centre = np.nan_to_num(median(values))
    left = values - centre[:, None]
    # What is there before anything is learned about occasions says when they are on.
    pattern = _with_occasions(Pattern(plan.zone), plan, len(values))
    rare = pattern.extraordinary(times)
    profiles = []
    for rhythm, nodes in plan.rhythms:
        profile = learn_profile(_ordinary(left, rare), grid, rhythm=rhythm, most_nodes=nodes)
        left -= profile.at(times).T
        profiles.append(profile)
    pattern = replace(pattern, profiles=tuple(profiles))
    if plan.trend is not SeasonalTrend.NONE:
        bends = plan.trend is SeasonalTrend.CHANGEPOINTS
        trend = learn_trend(_ordinary(left, rare), grid, bends=bends)
        if trend is not None:
            left -= trend.at(times).T
        pattern = replace(pattern, trend=trend)
    if plan.holidays or plan.events:
        pattern = _learn_occasions(left, grid, pattern)
        left = values - centre[:, None] - pattern.at(times, len(values)).T
    ordinary = _ordinary(left, rare)
    level = _last_level(ordinary, grid.step)
    spread, ratio = _learn_spread(left, ordinary, level, grid, plan.zone)
    floor = value_step(values[:, :: max(1, grid.count // _SAMPLES_OF_STEPS)])
    return Knowledge(centre, level, np.maximum(spread, floor), pattern, ratio)


def _ordinary(left: FloatArray, rare: NDArray[np.bool_]) -> FloatArray:
    """Returns float64[S, T] without the ticks at which something rare is on."""
    return np.where(rare, np.nan, left) if rare.any() else left


def _with_occasions(pattern: Pattern, plan: Plan, series: int) -> Pattern:
    """Returns the pattern with holidays and events that do nothing yet."""

    def nothing(nodes: int) -> NDArray[np.float32]:
        return np.zeros((nodes, series), dtype=np.float32)

    holidays = None
    if plan.holidays is not None:
        rest = np.zeros(series, dtype=np.float32)
        holidays = HolidayEffect(plan.holidays, rest, nothing(plan.holidays.nodes))
    events = tuple(EventEffect(event, nothing(event.nodes)) for event in plan.events)
    return replace(pattern, holidays=holidays, events=events)


def _learn_occasions(left: FloatArray, grid: Grid, pattern: Pattern) -> Pattern:
    """Returns the pattern with what holidays and events add to the rest of it.

    Args:
        left: float64[S, T], what profiles and trend leave.
        grid: T ticks.
        pattern: with profiles, and with occasions that do nothing yet.
    """
    times = grid.timestamps()
    wall = wall_seconds(times, pattern.zone)
    occasions = [effect.event for effect in pattern.events]
    longest = max((event.longest for event in occasions), default=DAY)
    bare = without_level(left, grid, pattern.extraordinary(times), longest=longest)
    holidays = pattern.holidays
    if holidays is not None:
        difference = pattern.rest_difference(times).T
        rest = learn_rest(bare, difference, holidays.holidays, wall)
        bare = bare - rest[:, None] * difference
        nodes = learn_effect(bare, holidays.holidays, wall, grid.step)
        bare = bare - _shown(nodes, holidays.holidays.phase(wall)[1])
        holidays = replace(holidays, rest=rest.astype(np.float32), nodes=_by_phase(nodes))
    events = []
    for event in occasions:
        nodes = learn_effect(bare, event, wall, grid.step)
        bare = bare - _shown(nodes, event.phase(wall)[1])
        events.append(EventEffect(event, _by_phase(nodes)))
    return replace(pattern, holidays=holidays, events=tuple(events))


def _shown(nodes: FloatArray, node: Seconds) -> FloatArray:
    """Returns nodes [S, n] at each tick, float64[S, T], 0 where `node` int64[T] is -1."""
    return np.asarray(np.where(node >= 0, nodes[:, np.maximum(node, 0)], 0.0))


def _by_phase(nodes: FloatArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(nodes.T, dtype=np.float32)


def _last_level(left: FloatArray, step: int) -> FloatArray:
    """Returns the median over the last day that has samples, 0 without any, float64[S]."""
    day = max(blocks_of_day(step), DAY // step)
    level = median(left[:, -day:])
    silent = np.isnan(level)
    earlier = left[silent]
    known = ~np.isnan(earlier)
    to_come = known[:, ::-1].cumsum(axis=1)[:, ::-1]
    level[silent] = np.nan_to_num(median(np.where(to_come <= day, earlier, np.nan)))
    return level


def _learn_spread(
    left: FloatArray, ordinary: FloatArray, level: FloatArray, grid: Grid, zone: str
) -> tuple[FloatArray, Profile]:
    """Returns the spread of residuals as they would have been live, and its ratio by hour."""
    state = DayLevel(_first_level(ordinary, grid.step, level), step=grid.step)
    columns = np.ascontiguousarray(ordinary.T)
    followed = follow(state, grid.timestamps(), columns)
    return learn_phase_spread(left - followed.T, grid, zone)


def _first_level(left: FloatArray, step: int, otherwise: FloatArray) -> FloatArray:
    day = max(blocks_of_day(step), DAY // step)
    first = median(left[:, :day])
    return np.where(np.isnan(first), otherwise, first)
