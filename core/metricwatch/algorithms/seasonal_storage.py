"""What a seasonal bank knows as JSON values and tensors, and back with every value checked."""

from __future__ import annotations

import zoneinfo
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import Header, Tensors, take_tensor
from metricwatch.algorithms.calendar_effects import (
    MOST_NODES,
    Event,
    Holidays,
    NamedEvent,
)
from metricwatch.algorithms.phase_spread import MOST_NODES as MOST_SPREAD_NODES
from metricwatch.algorithms.profile import Profile
from metricwatch.algorithms.seasonal_learning import Knowledge
from metricwatch.algorithms.seasonal_pattern import EventEffect, HolidayEffect, Pattern
from metricwatch.algorithms.trend import MOST_KNOTS, Trend
from metricwatch.algorithms.wall_clock import DAY, MONTH_NODES, Rhythm
from metricwatch.resources.seasonal import EventRepeat

MOST_PERIODS = 4
MOST_EVENTS = 64
MOST_HOLIDAYS = 5000
MOST_PROFILE_NODES = 288
_MOST_SECONDS = 10**11
"""Some 3,000 years: what is within can be added up and multiplied by nodes without overflow."""


def header_of(known: Knowledge) -> dict[str, Any]:
    """Returns all that is no array over series, as JSON values."""
    pattern = known.pattern
    rhythms = [profile.rhythm.period for profile in pattern.profiles]
    header: dict[str, Any] = {
        "time_zone": pattern.zone,
        "periods": [period for period in rhythms if period is not None],
        "monthly": None in rhythms,
        "trend": None,
        "holidays": None,
        "events": [_event_header(effect.event) for effect in pattern.events],
    }
    if pattern.trend is not None:
        trend = pattern.trend
        header["trend"] = {"start": trend.start, "spacing": trend.spacing, "fade": trend.fade}
    if pattern.holidays is not None:
        holidays = pattern.holidays.holidays
        header["holidays"] = {"days": list(holidays.days), "rest_day": holidays.rest_day}
    return header


def tensors_of(known: Knowledge) -> dict[str, NDArray[Any]]:
    """Returns all arrays, the first axis of each S."""
    pattern = known.pattern
    tensors: dict[str, NDArray[Any]] = {
        "centre": known.centre,
        "level": known.level,
        "spread": known.spread,
        "spread_ratio": known.ratio.nodes.T,
    }
    for index, profile in enumerate(pattern.profiles):
        name = "profile_month" if profile.rhythm.period is None else f"profile_{index}"
        tensors[name] = profile.nodes.T
    if pattern.trend is not None:
        tensors |= {"trend": pattern.trend.knots.T, "slope": pattern.trend.slope}
    if pattern.holidays is not None:
        tensors |= {"rest": pattern.holidays.rest, "holiday": pattern.holidays.nodes.T}
    for index, effect in enumerate(pattern.events):
        tensors[f"event_{index}"] = effect.nodes.T
    return tensors


def knowledge_from(header: Header, tensors: Tensors) -> Knowledge:
    """Returns what `header_of` and `tensors_of` were made of.

    Raises:
        ValueError: they do not fit together, or hold something that no fit makes.
    """
    series = len(tensors["centre"]) if "centre" in tensors else 0
    zone = _zone(header.get("time_zone"))
    spread = take_tensor(tensors, "spread", (series,), np.float64)
    ratio = _nodes(tensors, "spread_ratio", series, MOST_SPREAD_NODES, np.float16)
    if not (spread > 0).all() or not (ratio > 0).all():
        raise ValueError("tensors spread and spread_ratio must be above 0")
    pattern = Pattern(
        zone=zone,
        profiles=_profiles(header, tensors, series, zone),
        trend=_trend(header.get("trend"), tensors, series),
        holidays=_holidays(header.get("holidays"), tensors, series),
        events=_events(header.get("events"), tensors, series),
    )
    return Knowledge(
        centre=take_tensor(tensors, "centre", (series,), np.float64),
        level=take_tensor(tensors, "level", (series,), np.float64),
        spread=spread,
        pattern=pattern,
        ratio=Profile(Rhythm(DAY, zone), ratio),
    )


def whole(value: Any, name: str, *, least: int, most: int) -> int:
    """Returns a stored whole number.

    Raises:
        ValueError: it is none, or out of bounds.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, expected a whole number from {least} to {most}")
    return value


def _event_header(event: NamedEvent) -> dict[str, Any]:
    times = [[one.start, one.duration, one.repeat.value] for one in event.events]
    return {"name": event.name, "times": times}


def _profiles(header: Header, tensors: Tensors, series: int, zone: str) -> tuple[Profile, ...]:
    periods, monthly = (
        _listed(header.get("periods"), "periods", MOST_PERIODS),
        header.get("monthly"),
    )
    if monthly not in (True, False):
        raise ValueError(f"monthly is {monthly!r}, expected true or false")
    profiles = []
    for index, value in enumerate(periods):
        period = whole(value, "period", least=1, most=_MOST_SECONDS)
        nodes = _nodes(tensors, f"profile_{index}", series, MOST_PROFILE_NODES, np.float32)
        profiles.append(Profile(Rhythm(period, zone), nodes))
    if monthly:
        nodes = take_tensor(tensors, "profile_month", (series, MONTH_NODES), np.float32)
        profiles.append(Profile(Rhythm(None, zone), np.ascontiguousarray(nodes.T)))
    return tuple(profiles)


def _trend(stored: Any, tensors: Tensors, series: int) -> Trend | None:
    if stored is None:
        return None
    values = _fields(stored, "trend", "start", "spacing", "fade")
    return Trend(
        start=whole(values[0], "start of trend", least=-_MOST_SECONDS, most=_MOST_SECONDS),
        spacing=whole(values[1], "spacing of trend", least=1, most=_MOST_SECONDS),
        knots=_nodes(tensors, "trend", series, MOST_KNOTS, np.float32),
        slope=take_tensor(tensors, "slope", (series,), np.float32),
        fade=whole(values[2], "fade of trend", least=1, most=_MOST_SECONDS),
    )


def _holidays(stored: Any, tensors: Tensors, series: int) -> HolidayEffect | None:
    if stored is None:
        return None
    values = _fields(stored, "holidays", "days", "rest_day")
    days = [
        whole(day, "day of a holiday", least=-_MOST_SECONDS // DAY, most=_MOST_SECONDS // DAY)
        for day in _listed(values[0], "days of holidays", MOST_HOLIDAYS)
    ]
    nodes = _nodes(tensors, "holiday", series, MOST_NODES, np.float32)
    rest_day = whole(values[1], "rest_day", least=0, most=6)
    return HolidayEffect(
        holidays=Holidays(tuple(days), rest_day, len(nodes)),
        rest=take_tensor(tensors, "rest", (series,), np.float32),
        nodes=nodes,
    )


def _events(stored: Any, tensors: Tensors, series: int) -> tuple[EventEffect, ...]:
    effects = []
    for index, entry in enumerate(_listed(stored, "events", MOST_EVENTS)):
        name, times = _fields(entry, "event", "name", "times")
        if type(name) is not str:
            raise ValueError(f"name of an event is {name!r}, expected text")
        events = [_event(name, time) for time in _listed(times, "times of an event", MOST_EVENTS)]
        if not events:
            raise ValueError(f"event {name} has no times")
        nodes = _nodes(tensors, f"event_{index}", series, MOST_NODES, np.float32)
        effects.append(EventEffect(NamedEvent(name, tuple(events), len(nodes)), nodes))
    return tuple(effects)


def _event(name: str, stored: Any) -> Event:
    if not isinstance(stored, list) or len(stored) != 3:
        raise ValueError(f"time of event {name} is {stored!r}, expected start, duration, repeat")
    return Event(
        name=name,
        start=whole(stored[0], "start of event", least=-_MOST_SECONDS, most=_MOST_SECONDS),
        duration=whole(stored[1], "duration of event", least=1, most=_MOST_SECONDS),
        repeat=EventRepeat(stored[2]),
    )


def _zone(name: Any) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, TypeError, ValueError, OSError, AttributeError):
        raise ValueError(
            f"time_zone is {name!r}, expected the name of one that is known"
        ) from None
    return str(name)


def _listed(value: Any, name: str, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"{name} is {value!r:.100}, expected a list of at most {most}")
    return value


def _fields(value: Any, name: str, *fields: str) -> Sequence[Any]:
    if not isinstance(value, dict) or set(value) != set(fields):
        raise ValueError(f"{name} is {value!r:.100}, expected {' and '.join(fields)}")
    return [value[field] for field in fields]


def _nodes(
    tensors: Tensors, name: str, series: int, most: int, dtype: type[np.floating[Any]]
) -> NDArray[Any]:
    """Returns a tensor [S, n] turned to [n, S], 1 <= n <= most."""
    count = tensors[name].shape[-1] if name in tensors and tensors[name].ndim == 2 else 0
    if not 1 <= count <= most:
        raise ValueError(f"tensor {name} has {count} nodes, expected 1 to {most}")
    return np.ascontiguousarray(take_tensor(tensors, name, (series, count), dtype).T)
